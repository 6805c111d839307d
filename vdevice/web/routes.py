"""The one table of the API: what answers, who may ask, and the structs that go in and out."""

from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO, Literal, NamedTuple

from vdevice.web import registers, rules, strings, system, targets
from vdevice.web.call import Call
from vdevice.web.views import (
    Choice,
    Converter,
    Copy,
    Count,
    Draft,
    Event,
    EventRow,
    ModbusAnswer,
    NewToken,
    Registers,
    RegisterWrite,
    Rendered,
    RuleEdit,
    RuleMove,
    RuleSwitch,
    Saved,
    Session,
    State,
    System,
    TargetSettings,
    Text,
    TokenMade,
    TokenRow,
    Tried,
    Write,
    Written,
)

Needs = Literal["viewer", "admin"]
SAFE = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""

OWN_HEADER = "X-Vdevice"
"""What a change without a body is sent with: no other site can, without asking first whether it may."""


class Route(NamedTuple):
    """One operation. `query` names its parameters; `answer` is a struct, or bytes for a file."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Any]]
    needs: Needs
    answer: Any
    body: type | None = None
    query: tuple[str, ...] = ()


ROUTES = (
    Route("GET", "/state", targets.state, "viewer", State),
    Route("GET", "/targets/{number}", targets.read, "viewer", TargetSettings),
    Route("PUT", "/targets/{number}", targets.save, "admin", Saved, TargetSettings),
    Route("DELETE", "/targets/{number}", targets.clear, "admin", Saved, query=("tag",)),
    Route("POST", "/targets/{number}/copy", targets.copy, "admin", Saved, Copy),
    Route("POST", "/targets/{number}/render", targets.render, "admin", Rendered, Draft),
    Route("POST", "/targets/{number}/test", targets.test, "admin", Tried, Draft),
    Route("POST", "/targets/{number}/write", targets.write_string, "admin", Written, Write),
    Route("POST", "/targets/{number}/pause", targets.pause, "admin", Count),
    Route("POST", "/targets/{number}/resume", targets.resume, "admin", Count),
    Route("GET", "/strings", strings.select, "viewer", list[EventRow], query=("state", "target", "text", "limit")),
    Route("GET", "/strings/{id}", strings.read, "viewer", Event),
    Route("POST", "/strings/replay", strings.replay, "admin", Count, Choice),
    Route("POST", "/strings/discard", strings.discard, "admin", Count, Choice),
    Route("GET", "/registers", registers.read, "viewer", Registers, query=("space", "address", "count")),
    Route("POST", "/registers", registers.write, "admin", ModbusAnswer, RegisterWrite),
    Route("GET", "/map/{form}", registers.sheet, "viewer", Text),
    Route("GET", "/converter", rules.read, "viewer", Converter),
    Route("PUT", "/rules", rules.edit, "admin", Saved, RuleEdit),
    Route("POST", "/rules/move", rules.move, "admin", Saved, RuleMove),
    Route("POST", "/rules/switch", rules.switch, "admin", Saved, RuleSwitch),
    Route("POST", "/points/{name}/what-if", rules.what_if, "viewer", list[str], Write),
    Route("GET", "/system", system.read, "viewer", System),
    Route("GET", "/config", system.file, "viewer", Text),
    Route("GET", "/backup", system.backup, "admin", BinaryIO),
    Route("GET", "/session", system.session, "viewer", Session),
    Route("GET", "/tokens", system.tokens, "admin", list[TokenRow]),
    Route("POST", "/tokens", system.new_token, "admin", TokenMade, NewToken),
    Route("DELETE", "/tokens/{name}", system.revoke, "admin", Count),
)
"""Below /api/v1. Signing in and out, and the live stream, are the server's own: they are about cookies and connections."""
