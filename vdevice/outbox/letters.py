"""What a person does with the outbox: list, show, replay and discard events, beside a running device or without one."""

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from vdevice.model import EventState
from vdevice.outbox.database import transaction
from vdevice.outbox.records import Ledger

_COLUMNS = (
    "seq, id, target, state, accepted_at, since, value, source_connection, source_parameter, source_value, attempts, next_at, "
    "finished_at, http_status, error, error_text, answer, description"
)


def select(
    connection: sqlite3.Connection, states: Sequence[EventState], target: int | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the newest events in these states, newest first, as dicts by column."""
    marks = ", ".join("?" * len(states))
    return _rows(
        connection,
        f"SELECT {_COLUMNS} FROM event WHERE state IN ({marks}) AND (? IS NULL OR target = ?) ORDER BY seq DESC LIMIT ?",
        (*states, target, target, limit),
    )


def find(connection: sqlite3.Connection, event_id: str) -> list[dict[str, Any]]:
    """Return the events whose id starts with `event_id`."""
    return _rows(
        connection,
        f"SELECT {_COLUMNS} FROM event WHERE substr(id, 1, ?) = ? ORDER BY seq",
        (len(event_id), event_id),
    )


def replay(connection: sqlite3.Connection, seqs: Sequence[int]) -> int:
    """Queue dead letters again, behind all that waits, with the same ids; return how many were dead letters."""
    return _move(connection, seqs, (EventState.FAILED,), EventState.WAITING)


def discard(connection: sqlite3.Connection, seqs: Sequence[int]) -> int:
    """End waiting events and dead letters without delivery; return how many there were."""
    return _move(connection, seqs, (EventState.WAITING, EventState.FAILED), EventState.DISCARDED)


def _move(connection: sqlite3.Connection, seqs: Sequence[int], sources: Sequence[EventState], to: EventState) -> int:
    moved = 0
    with transaction(connection):
        ledger = Ledger(connection, {})
        for seq in seqs:
            row = connection.execute("SELECT target, state FROM event WHERE seq = ?", (seq,)).fetchone()
            if row is None or row[1] not in sources:
                continue
            counts = ledger.count(row[0])
            if row[1] == EventState.FAILED:
                counts.failed -= 1
            if to is EventState.DISCARDED:
                counts.discarded += 1
                connection.execute("UPDATE event SET state = ?, finished_at = ? WHERE seq = ?", (to, time.time(), seq))
            else:
                # Behind all others: a lane that has passed this place would never look back. Its age counts anew.
                connection.execute(
                    "UPDATE event SET state = ?, seq = (SELECT max(seq) + 1 FROM event), attempts = 0, next_at = 0, "
                    "since = ?, finished_at = NULL WHERE seq = ?",
                    (to, time.time(), seq),
                )
            moved += 1
        ledger.flush()
    return moved


def _rows(connection: sqlite3.Connection, statement: str, arguments: tuple[Any, ...]) -> list[dict[str, Any]]:
    cursor = connection.execute(statement, arguments)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
