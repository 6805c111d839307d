"""What Slack, Teams and Mattermost share: a payload that is a JSON object is the message, any other is its text."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.variables import Escape, substitute, substitute_json


def as_object(payload: str) -> dict[str, Any] | None:
    """Return the JSON object that a payload is, or None where it is text."""
    if not payload.lstrip().startswith("{"):
        return None
    try:
        parsed = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def render(payload: str, values: dict[str, str], escape: Escape | None, wrap: Callable[[str], dict[str, Any]]) -> bytes:
    """Return the JSON body of a chat message; `wrap` makes the message of a text."""
    if as_object(payload) is None:
        return to_json(wrap(substitute(payload, values, escape)))
    return substitute_json(payload, values, escape).encode("utf-8", "replace")


def to_json(message: dict[str, Any]) -> bytes:
    """Return a message as compact UTF-8 JSON."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


_UNKNOWN_NEXT = ("](", "(", "a:", "!", "*")
"""What another value behind this one may begin with."""


def places(pattern: re.Pattern[str], value: str, before: str, after: str) -> list[int]:
    """Return where in a value a pattern is found, with what it touches: `[x]` and a `(` behind it make a link.

    A pattern of no width is found at the end of the value as well.
    """
    tail = before[-40:]
    heads = _UNKNOWN_NEXT if after.startswith("$") else (after[:20],)
    found = {
        match.start() - len(tail)
        for head in heads
        for match in pattern.finditer(tail + value + head)
        if len(tail) <= match.start() and match.end() <= len(tail) + len(value)
    }
    return sorted(found)


def marked(value: str, marks: Iterable[tuple[int, str]]) -> str:
    """Return a value with marks put into it, each before the character of its place."""
    pieces, last = [], 0
    for place, mark in sorted(marks):
        pieces += [value[last:place], mark]
        last = place
    return "".join(pieces) + value[last:]


class Response(NamedTuple):
    """What a chat service's response is judged by; `own` says whether it came from one of the service's own hosts."""

    status: int
    text: str
    document: object
    own: bool

    @property
    def accepts(self) -> bool:
        """Whether it is one of the ways to say yes: `ok`, nothing, {"ok": true} and Rocket.Chat's {"success": true}."""
        if isinstance(self.document, dict):
            return self.document.get("ok") is True or self.document.get("success") is True
        return self.text.strip() in {"", "ok"}

    @property
    def refuses(self) -> bool:
        """Whether it is JSON that says no, whatever the status."""
        return isinstance(self.document, dict) and (
            self.document.get("ok") is False or self.document.get("success") is False
        )


def refused(status: int, words: str, *, later: bool = False) -> Outcome:
    """Return the outcome of a response that says no in the service's words; `later` where it may say yes next time."""
    return Outcome(Verdict.RETRY if later else Verdict.GIVE_UP, ErrorCode.SERVICE, status, words)
