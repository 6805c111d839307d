"""The statements of the outbox: plain functions on an open transaction, for the writer process and the command line.

A `Ledger` gathers what a transaction counts, so that each target's row is written once, however many events it had.
"""

import itertools
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from vdevice.clock import LEAST
from vdevice.model import Event, EventState, Outcome, Stored, Verdict, digest_of
from vdevice.outbox.messages import Finish, Put, Retry

_EVENT = (
    "seq, id, target, value, accepted_at, source_connection, source_parameter, source_value, description, since, attempts, "
    "next_at"
)
ROWS_A_STATEMENT = 500
"""SQLite takes 32,766 values a statement."""


class Counts(msgspec.Struct):
    """What a transaction adds to one target's counters."""

    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    discarded: int = 0


class Last(msgspec.Struct, frozen=True):
    """The last outcome of a target, as its status registers show it; None keeps what was there."""

    http_status: int
    error: int
    error_text: str
    latency_ms: int | None = None
    finished_at: int | None = None


class Ledger:
    """One open transaction: its connection, and what it counts until `flush`."""

    def __init__(self, connection: sqlite3.Connection, digests: dict[int, bytes]) -> None:
        self.connection = connection
        self.digests = digests
        self.counts: dict[int, Counts] = {}
        self.last: dict[int, Last] = {}

    def count(self, target: int) -> Counts:
        """Return the counts of a target, to add to."""
        return self.counts.setdefault(target, Counts())

    def flush(self) -> None:
        """Write what was counted, and begin to count anew."""
        _many(
            self.connection,
            "WITH new AS (VALUES {rows}) UPDATE target SET accepted = accepted + column2, delivered = delivered + column3, "
            "failed = failed + column4, discarded = discarded + column5, digest = coalesce(column6, digest) "
            "FROM new WHERE number = column1",
            [
                (target, c.accepted, c.delivered, c.failed, c.discarded, self.digests.get(target))
                for target, c in self.counts.items()
            ],
        )
        _many(
            self.connection,
            "WITH new AS (VALUES {rows}) UPDATE target SET http_status = column2, error = column3, error_text = column4, "
            "latency_ms = coalesce(column5, latency_ms), finished_at = coalesce(column6, finished_at) "
            "FROM new WHERE number = column1",
            [
                (target, last.http_status, last.error, last.error_text, last.latency_ms, last.finished_at)
                for target, last in self.last.items()
            ],
        )
        self.counts.clear()
        self.last.clear()


def _many(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run one statement for many rows, put at its `{rows}`: much cheaper than one a row. Returns the last row inserted."""
    last = 0
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        part = rows[start : start + ROWS_A_STATEMENT]
        marks = f"({', '.join('?' * len(part[0]))})"
        cursor = connection.execute(
            statement.format(rows=", ".join([marks] * len(part))), [cell for row in part for cell in row]
        )
        last = cursor.lastrowid or 0
    return last


def put(ledger: Ledger, requests: Sequence[Put]) -> list[list[int]]:
    """Store the events of some requests in order; return their numbers, request by request, 0 for one that was left out."""
    kept = [[_is_new(ledger, event, request.changed_only) for event in request.events] for request in requests]
    events = [
        event for request, new in zip(requests, kept, strict=True) for event in itertools.compress(request.events, new)
    ]
    last = _many(
        ledger.connection,
        "INSERT INTO event (id, target, accepted_at, since, value, source_connection, source_parameter, source_value, "
        "description, next_at) VALUES {rows}",
        [
            (
                e.id,
                e.target,
                e.accepted_at,
                e.accepted_at,
                e.value,
                e.source_connection,
                e.source_parameter,
                e.source_value,
                e.description,
                e.due_at,
            )
            for e in events
        ],
    )
    # One transaction writes at a time, so the numbers of its rows follow each other.
    numbers = itertools.count(last - len(events) + 1)
    return [[next(numbers) if new else 0 for new in request] for request in kept]


def _is_new(ledger: Ledger, event: Event, changed_only: frozenset[int]) -> bool:
    digest = digest_of(event.value)
    if event.target in changed_only and ledger.digests.get(event.target) == digest:
        return False
    ledger.digests[event.target] = digest
    ledger.count(event.target).accepted += 1
    return True


def retry(ledger: Ledger, tried: Retry) -> bool:
    """Record a failed attempt; False if the event waits no more."""
    outcome = tried.outcome
    cursor = ledger.connection.execute(
        "UPDATE event SET attempts = ?, next_at = ?, http_status = ?, error = ?, error_text = ?, answer = ? "
        "WHERE seq = ? AND state = 0",
        (tried.attempts, tried.next_at, outcome.http_status, outcome.error, outcome.text, outcome.answer, tried.seq),
    )
    if cursor.rowcount:
        _show(ledger, tried.target, outcome)
    return bool(cursor.rowcount)


def finish(ledger: Ledger, endings: Sequence[Finish]) -> list[bool]:
    """Record how events ended, delivered or given up, and when; False for each that had ended already."""
    waiting = _still_waiting(ledger.connection, [ending.seq for ending in endings]) if endings else set()
    rows = []
    for ending in endings:
        outcome = ending.outcome
        if ending.seq not in waiting:
            continue
        delivered = outcome.verdict is Verdict.DELIVERED
        state = EventState.DELIVERED if delivered else EventState.FAILED
        rows.append(
            (
                ending.seq,
                state,
                ending.now,
                ending.attempts,
                outcome.http_status,
                outcome.error,
                outcome.text,
                outcome.answer,
            )
        )
        _count_ending(ledger, ending)
    _many(
        ledger.connection,
        "WITH new AS (VALUES {rows}) UPDATE event SET state = column2, finished_at = column3, attempts = column4, "
        "http_status = column5, error = column6, error_text = column7, answer = column8 FROM new WHERE seq = column1",
        rows,
    )
    return [ending.seq in waiting for ending in endings]


def _still_waiting(connection: sqlite3.Connection, seqs: list[int]) -> set[int]:
    row = connection.execute(
        "SELECT json_group_array(seq) FROM event WHERE seq IN (SELECT value FROM json_each(?)) AND state = 0",
        (json.dumps(seqs),),
    ).fetchone()
    return set(json.loads(row[0]))


def _count_ending(ledger: Ledger, ending: Finish) -> None:
    counts, latency = ledger.count(ending.target), None
    if ending.outcome.verdict is Verdict.DELIVERED:
        counts.delivered += 1
        latency = max(int((ending.now - ending.since) * 1000), 0)
    else:
        counts.failed += 1
    _show(ledger, ending.target, ending.outcome, latency, int(ending.now))


def _show(
    ledger: Ledger, target: int, outcome: Outcome, latency_ms: int | None = None, finished_at: int | None = None
) -> None:
    """Note an outcome as the target's last one; what it does not tell is that of the one before."""
    before = ledger.last.get(target)
    if before:
        latency_ms = before.latency_ms if latency_ms is None else latency_ms
        finished_at = before.finished_at if finished_at is None else finished_at
    ledger.last[target] = Last(outcome.http_status, outcome.error, outcome.text, latency_ms, finished_at)


def fetch(ledger: Ledger, target: int, after: int, limit: int, now: float) -> tuple[list[Stored], float | None]:
    """Return the next events that wait for a target, in order, behind seq `after`, and when the next delayed one is due.

    Delayed ones, which were not tried yet, are left out until they are due.
    """
    rows = ledger.connection.execute(
        f"SELECT {_EVENT} FROM event WHERE target = ? AND state = 0 AND seq > ? AND (attempts > 0 OR next_at <= ?) "
        "ORDER BY seq LIMIT ?",
        (target, after, now, limit),
    ).fetchall()
    due = ledger.connection.execute(
        "SELECT next_at FROM event WHERE target = ? AND state = 0 AND attempts = 0 AND next_at > 0 AND next_at > ? "
        "ORDER BY next_at LIMIT 1",
        (target, now),
    ).fetchone()
    return [_stored(row) for row in rows], due[0] if due else None


def _stored(row: tuple[Any, ...]) -> Stored:
    seq, since, attempts, next_at = row[0], *row[-3:]
    return Stored(seq, Event(*row[1:-3]), since, attempts, next_at)


def purge(ledger: Ledger, delivered_before: float, failed_before: float, limit: int) -> int:
    """Delete at most `limit` events whose time to be kept is over; return how many there were."""
    deleted = 0
    for state, before in (
        (EventState.DELIVERED, delivered_before),
        (EventState.FAILED, failed_before),
        (EventState.DISCARDED, failed_before),
    ):
        deleted += ledger.connection.execute(
            "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE state = ? AND state > 0 AND finished_at < ? LIMIT ?)",
            (state, before, limit - deleted),
        ).rowcount
    return deleted


def shift(ledger: Ledger, jump: float, now: float, started: float) -> None:
    """Let the times that were noted before a jump of the clock follow it: `is_before` of clock.py, in SQL."""
    before = f"< ?1 - ?2 + {LEAST / 2}" if jump > 0 else f"> ?1 + {LEAST / 2}"
    ledger.connection.execute(
        f"UPDATE event SET since = since + ?2, next_at = CASE WHEN next_at > 0 THEN next_at + ?2 ELSE 0 END "
        f"WHERE state = 0 AND since {before}",
        (now, jump),
    )
    ledger.connection.execute(
        f"UPDATE event SET finished_at = finished_at + ?2 WHERE state > 0 AND finished_at >= ?3 AND finished_at {before}",
        (now, jump, started),
    )


def targets(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the counters and the last outcome of all targets."""
    cursor = connection.execute(
        "SELECT number, accepted, delivered, failed, discarded, http_status, latency_ms, error, error_text, finished_at, "
        "paused FROM target ORDER BY number"
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def digests(connection: sqlite3.Connection) -> dict[int, bytes]:
    """Return the digest of each target's last accepted string."""
    return dict(connection.execute("SELECT number, digest FROM target WHERE digest IS NOT NULL").fetchall())
