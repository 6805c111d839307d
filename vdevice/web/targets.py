"""Handlers of the targets: their state, their settings, and what a person tries with them."""

import time
from urllib.parse import urlsplit

import structlog

from vdevice import __version__
from vdevice.config import Target, ownership
from vdevice.config.edit import Change, raw_of, settings_of, tag_of, with_target, with_targets
from vdevice.config.load import parse
from vdevice.config.ownership import Settings
from vdevice.errors import BuildError, ConfigError, OutboxFailingError, TextError
from vdevice.modbus.pdu import Refused
from vdevice.modbus.texts import Client
from vdevice.model import TARGETS, Event, Verdict, new_event_id
from vdevice.threads import in_thread
from vdevice.web.call import FILE_SECONDS, ApiError, Call, Device
from vdevice.web.saving import edited, save_text
from vdevice.web.views import (
    Copy,
    Count,
    DeviceRow,
    Doubt,
    Draft,
    Rendered,
    Saved,
    State,
    TargetRow,
    TargetSettings,
    Tried,
    Write,
    Written,
)
from vdevice.webhooks import files, http, masking, warnings
from vdevice.webhooks.request import Request

log = structlog.get_logger()


def state_of(device: Device) -> State:
    """Return the device and all targets at this moment."""
    board, config = device.board, device.config
    row = DeviceRow(
        config.device.id, __version__, board.uptime, board.waiting, board.connections.total(), board.healthy,
        board.outbox_full, board.outbox_failing, board.delivering, device.path.name if device.path else "",
    )  # fmt: skip
    return State(row, [_row(device, number) for number in TARGETS])


def _row(device: Device, number: int) -> TargetRow:
    state, target = device.board.targets[number], device.config.targets.get(number)
    return TargetRow(
        number,
        state.status.name.lower().replace("_", " "),
        state.enabled,
        state.paused,
        target.description if target else "",
        target.method if target else "",
        urlsplit(target.url.reveal()).netloc if target else "",
        state.queued,
        state.accepted,
        state.delivered,
        state.failed,
        state.refused,
        state.full,
        state.http_status,
        int(state.error),
        state.error_text,
        state.latency_ms,
        state.attempts,
        state.finished_at,
    )


async def state(call: Call) -> State:
    """Return the device and all 64 targets."""
    return state_of(call.device)


async def read(call: Call) -> TargetSettings:
    """Return the settings of a target, without its secrets, for a viewer without its URL; none where it is not configured."""
    _, text = await call.file()
    return TargetSettings(tag_of(text), settings_of(text, call.target, viewer=call.who.role != "admin"))


async def save(call: Call) -> Saved:
    """Save a target's settings, and apply them; the file keeps its comments and order."""
    given = call.take(TargetSettings)
    return await _save(call, given.tag, [(call.target, given.settings, None)], "saved", given.settings)


async def clear(call: Call) -> Saved:
    """Remove a target from the file; what waits for it becomes dead letters."""
    return await _save(call, call.query.get("tag", ""), [(call.target, None, None)], "cleared")


async def copy(call: Call) -> Saved:
    """Copy all settings of a target, secrets too, to others."""
    given = call.take(Copy)
    _, text = await call.file()
    settings = settings_of(text, call.target)
    if settings is None:
        raise ApiError(404, f"target {call.target} is not configured")
    if not given.to or not all(number in TARGETS for number in given.to):
        raise ApiError(422, "to names targets from 1 to 64")
    changes: list[Change] = [(number, settings, call.target) for number in dict.fromkeys(given.to)]
    return await _save(call, given.tag or tag_of(text), changes, "copied")


async def _save(call: Call, tag: str, changes: list[Change], what: str, given: Settings | None = None) -> Saved:
    _, before = await call.file()
    details = {"host": _host(call, given), "changed": _changed(before, call.target, given)} if given else {}

    def changed(text: str) -> str:
        if given:
            _check_owner(call, text, given)
        return with_targets(text, changes)

    return await save_text(call, tag, what, changed, targets=[number for number, _, _ in changes], **details)


def _check_owner(call: Call, text: str, given: Settings) -> None:
    """Raise ConfigError where the settings take a secret of the machine elsewhere, or one that the page may not take."""
    config, number = call.device.config, call.target
    if found := ownership.problems(f"targets.{number}", given, raw_of(text, number) or {}, config.web, config.folder):
        raise ConfigError(found)


def _host(call: Call, given: Settings) -> str:
    """Return where settings send to, for the audit; where a URL is kept or comes from elsewhere, that of the running target."""
    url = given.get("url")
    target = call.device.config.targets.get(call.target)
    url = url if isinstance(url, str) else target.url.reveal() if target else ""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _changed(text: str, number: int, given: Settings) -> list[str]:
    """Return the names of the settings that are not as they stand in the file."""
    there = settings_of(text, number) or {}
    return sorted(key for key in {*given, *there} if given.get(key) != there.get(key))


async def _drafted(call: Call) -> tuple[Target, Request, list[str]]:
    """Return the target that unsaved settings make, its request for the sample, and the names of the changed settings.

    Raises ConfigError, ApiError.
    """
    draft, number = call.take(Draft), call.target
    path, text = await call.file()
    changed = _changed(text, number, draft.settings)
    _check_owner(call, text, draft.settings)
    text = await edited(path.name, text, lambda old: with_target(old, number, draft.settings))
    config = await in_thread(path.name, FILE_SECONDS, lambda: parse(text, path.resolve().parent))
    target, now = config.targets[number], time.time()
    event = Event(
        new_event_id(now), number, draft.value, now, config.client_name(call.address), target.name, draft.value
    )
    try:
        return target, await files.reading(target, lambda: http.build(config, target, event, now)), changed
    except BuildError as error:
        raise ApiError(422, str(error)) from None


async def render(call: Call) -> Rendered:
    """Show the request that unsaved settings would make of a sample string; problems are those of `vdevice check`."""
    target, request, _ = await _drafted(call)
    doubts = [Doubt(one.path, masking.mask(target, one.message)) for one in warnings.of_target(target)]
    return Rendered(masking.shown(target, request), doubts)


async def test(call: Call) -> Tried:
    """Send a sample string with unsaved settings now, once, past the outbox; return the answer."""
    target, request, changed = await _drafted(call)
    host = urlsplit(target.url.reveal()).netloc
    log.info(
        "audit",
        who=call.who.name,
        address=call.address,
        what="tested",
        targets=[target.number],
        host=host,
        changed=changed,
    )
    started = time.monotonic()
    headers, outcome = await call.device.sender.answer(target, request)
    return Tried(
        outcome.verdict is Verdict.DELIVERED,
        outcome.http_status,
        outcome.text,
        outcome.answer.decode("utf-8", "replace"),
        {name.lower(): masking.mask(target, value) for name, value in headers.items()},
        int((time.monotonic() - started) * 1000),
    )


async def write_string(call: Call) -> Written:
    """Write a string to a target, as a Modbus write of it would: it is on disk when this is answered."""
    given, number = call.take(Write), call.target
    client = Client(call.address, call.device.config.client_name(call.address))
    try:
        stored = await call.device.unit.writes.string(number, given.value, client)
    except TextError as error:
        raise ApiError(422, str(error)) from None
    except OutboxFailingError as error:
        raise ApiError(503, str(error)) from None
    except Refused as refused:
        words = {
            2: (404, "the target is not configured"),
            6: (503, "the outbox has no room for this target; write again"),
        }
        raise ApiError(*words.get(refused.code, (409, "the target is disabled"))) from None
    return Written([item.event.id for item in stored])


async def pause(call: Call) -> Count:
    """Let what waits for a target wait on."""
    return await _pause(call, paused=True)


async def resume(call: Call) -> Count:
    """Deliver again what waits for a target."""
    return await _pause(call, paused=False)


async def _pause(call: Call, *, paused: bool) -> Count:
    number = call.target
    if number not in call.device.config.targets:
        raise ApiError(404, f"target {number} is not configured")

    changed = await call.letters(lambda letters: letters.pause(number, paused=paused))
    call.device.board.targets[number].paused = paused
    log.info("audit", who=call.who.name, address=call.address, what="paused" if paused else "resumed", targets=[number])
    return Count(int(changed))
