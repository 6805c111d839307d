"""Handlers of the strings in the outbox: every one in its life, dead letters replayed and discarded."""

import time
from collections.abc import Callable
from typing import get_args

import structlog

from vdevice.board import Try
from vdevice.errors import BuildError, StalledError, TextError
from vdevice.model import Event as StoredEvent
from vdevice.model import EventState
from vdevice.outbox.api import Letters
from vdevice.outbox.letters import EVENT, Row, reads_better_with
from vdevice.registers import text as texts
from vdevice.threads import in_thread
from vdevice.web.call import FILE_SECONDS, ApiError, Call
from vdevice.web.views import Attempt, Choice, Count, Event, EventRow, StateName
from vdevice.webhooks import files, http, masking

MOST = 10_000
"""Strings that one answer holds at most."""

MOST_IDS = 1000
"""Strings that one request names at most: each is looked for."""

SEARCHED = 20_000
"""The newest strings, in which a text is looked for."""

log = structlog.get_logger()


def _view(row: Row) -> EventRow:
    return EventRow(
        row["id"],
        row["target"],
        _name(row["state"]),
        row["value"],
        row["accepted_at"],
        row["finished_at"] or 0.0,
        row["attempts"],
        row["next_at"],
        row["http_status"],
        row["error"],
        row["error_text"],
        row["source_connection"],
        row["source_parameter"],
    )


def _name(state: int) -> StateName:
    name: StateName = get_args(StateName)[state]
    return name


async def select(call: Call) -> list[EventRow]:
    """Return the newest strings first: `state` (several with commas), `target`, `text` and `limit` narrow them."""
    names = [name for name in call.query.get("state", "").split(",") if name]
    if any(name not in get_args(StateName) for name in names):
        raise ApiError(422, f"state is one of {', '.join(get_args(StateName))}")
    states = [EventState[name.upper()] for name in names] or list(EventState)
    target = call.number("target", 0, 0, 64) or None
    limit, words = call.number("limit", 200, 1, MOST), call.query.get("text", "")

    def work(letters: Letters) -> list[EventRow]:
        return [_view(row) for row in letters.select(states, target, limit, words=words, among=SEARCHED)]

    # One after the other: each holds all that it finds.
    async with call.device.searching:
        return await call.letters(work)


async def read(call: Call) -> Event:
    """Return a string whole, with its registers, the request that it would become now, and the last answer."""
    wanted = call.match["id"]
    found = await call.letters(lambda letters: letters.find(wanted))
    if len(found) != 1 or found[0]["id"] != wanted:
        raise ApiError(404, "there is no such string, or not any more")
    (row,) = found
    target = call.device.config.targets.get(row["target"])
    try:
        registers = texts.encode(row["value"], texts.coding_of(target)).hex(" ", 2)
    except TextError:
        registers = ""
    return Event(
        _view(row),
        row["source_value"],
        row["description"],
        registers,
        await _reads_better_with(call, row),
        await _request(call, row),
        _text(row["answer"] or b""),
        [_attempt(one) for one in call.device.board.tries if one.event_id == wanted],
    )


async def _reads_better_with(call: Call, row: Row) -> str:
    path, config = call.device.path, call.device.config
    if path is None:
        return ""
    return await in_thread(path.name, FILE_SECONDS, lambda: reads_better_with(row, config, path))


def _attempt(one: Try) -> Attempt:
    outcome = one.outcome
    return Attempt(one.at, int(one.seconds * 1000), outcome.http_status, outcome.text, _text(outcome.answer))


def _text(answer: bytes) -> str:
    return answer.decode("utf-8", "replace")


async def _request(call: Call, row: Row) -> str:
    config, target = call.device.config, call.device.config.targets.get(row["target"])
    if target is None:
        return ""
    event = StoredEvent(*(row[name] for name in EVENT))
    try:
        request = await files.reading(target, lambda: http.build(config, target, event, time.time()))
    except (BuildError, StalledError) as error:
        return str(error)
    return masking.shown(target, request, viewer=call.who.role != "admin")


async def replay(call: Call) -> Count:
    """Queue dead letters again, behind all that waits."""
    return await _end(call, "replayed", [EventState.FAILED], lambda letters, rows, _: letters.replay(rows))


async def discard(call: Call) -> Count:
    """End waiting strings or dead letters without delivery, for a reason if any."""
    states = [EventState.FAILED, EventState.WAITING]
    return await _end(call, "discarded", states, lambda letters, rows, reason: letters.discard(rows, reason))


async def _end(call: Call, what: str, states: list[EventState], end: Callable[[Letters, list[Row], str], int]) -> Count:
    choice = call.take(Choice)
    if bool(choice.ids) == choice.everything:
        raise ApiError(422, "name ids, or choose everything that fits")

    ids = list(dict.fromkeys(choice.ids))
    if len(ids) > MOST_IDS:
        raise ApiError(422, f"name at most {MOST_IDS} ids at once")

    def work(letters: Letters) -> int:
        if ids:
            rows = [row for one in ids for row in letters.find(one) if row["id"] == one]
        else:
            # Everything is all dead letters; what waits is discarded by its id only.
            rows = letters.select([EventState.FAILED], choice.target, -1, words=choice.text)
        # The oldest first: what was written first goes out first again.
        fitting = sorted((row for row in rows if row["state"] in states), key=lambda row: row["seq"])
        return end(letters, fitting, choice.reason)

    count = await call.letters(work)
    # Once this is answered, no attempt begins that does not know of it.
    call.device.look_again()
    log.info("audit", who=call.who.name, address=call.address, what=what, strings=count)
    return Count(count)
