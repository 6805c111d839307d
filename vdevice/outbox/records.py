"""The statements of the outbox: plain functions on an open transaction, for the writer thread and the command line.

A `Ledger` gathers what a transaction counts, so that each target's row is written once, however many events it had.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from vdevice.model import ErrorCode, Event, EventState, Outcome, Stored, Verdict

_EVENT = (
    "seq, id, target, value, accepted_at, source_connection, source_parameter, source_value, since, attempts, next_at"
)


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
        self.connection.executemany(
            "UPDATE target SET accepted = accepted + ?, delivered = delivered + ?, failed = failed + ?, "
            "discarded = discarded + ?, digest = coalesce(?, digest) WHERE number = ?",
            [
                (c.accepted, c.delivered, c.failed, c.discarded, self.digests.get(target), target)
                for target, c in self.counts.items()
            ],
        )
        self.connection.executemany(
            "UPDATE target SET http_status = ?, error = ?, error_text = ?, latency_ms = coalesce(?, latency_ms), "
            "finished_at = coalesce(?, finished_at) WHERE number = ?",
            [
                (last.http_status, last.error, last.error_text, last.latency_ms, last.finished_at, target)
                for target, last in self.last.items()
            ],
        )
        self.counts.clear()
        self.last.clear()


def put(ledger: Ledger, events: Iterable[Event], changed_only: frozenset[int]) -> list[Stored]:
    """Store events in order; of a target in `changed_only` only what differs from its last accepted string."""
    stored = []
    for event in events:
        digest = hashlib.blake2b(event.value.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if event.target in changed_only and ledger.digests.get(event.target) == digest:
            continue
        cursor = ledger.connection.execute(
            "INSERT INTO event (id, target, accepted_at, since, value, source_connection, source_parameter, source_value) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.id,
                event.target,
                event.accepted_at,
                event.accepted_at,
                event.value,
                event.source_connection,
                event.source_parameter,
                event.source_value,
            ),
        )
        ledger.digests[event.target] = digest
        ledger.count(event.target).accepted += 1
        stored.append(Stored(cursor.lastrowid or 0, event, event.accepted_at))
    return stored


def retry(ledger: Ledger, stored: Stored, outcome: Outcome) -> bool:
    """Record a failed attempt (`stored` holds the new attempts and next_at); False if the event waits no more."""
    cursor = ledger.connection.execute(
        "UPDATE event SET attempts = ?, next_at = ?, http_status = ?, error = ?, error_text = ?, answer = ? "
        "WHERE seq = ? AND state = 0",
        (stored.attempts, stored.next_at, outcome.http_status, outcome.error, outcome.text, outcome.answer, stored.seq),
    )
    if cursor.rowcount:
        ledger.last[stored.event.target] = Last(outcome.http_status, outcome.error, outcome.text)
    return bool(cursor.rowcount)


def finish(ledger: Ledger, stored: Stored, outcome: Outcome, now: float) -> bool:
    """Record how an event ended, delivered or given up; False if it was ended already."""
    delivered = outcome.verdict is Verdict.DELIVERED
    state = EventState.DELIVERED if delivered else EventState.FAILED
    cursor = ledger.connection.execute(
        "UPDATE event SET state = ?, finished_at = ?, attempts = ?, http_status = ?, error = ?, error_text = ?, "
        "answer = ? WHERE seq = ? AND state = 0",
        (
            state,
            now,
            stored.attempts,
            outcome.http_status,
            outcome.error,
            outcome.text,
            outcome.answer,
            stored.seq,
        ),
    )
    if not cursor.rowcount:
        return False
    target = stored.event.target
    counts = ledger.count(target)
    latency = None
    if delivered:
        counts.delivered += 1
        latency = max(int((now - stored.since) * 1000), 0)
    else:
        counts.failed += 1
    if latency is None and target in ledger.last:
        latency = ledger.last[target].latency_ms
    ledger.last[target] = Last(outcome.http_status, outcome.error, outcome.text, latency, int(now))
    return True


def fail_waiting(ledger: Ledger, target: int, text: str, now: float) -> int:
    """Make dead letters of all that waits for a target which is gone; return how many there were."""
    cursor = ledger.connection.execute(
        "UPDATE event SET state = ?, finished_at = ?, http_status = 0, error = ?, error_text = ? "
        "WHERE target = ? AND state = 0",
        (EventState.FAILED, now, ErrorCode.TARGET, text, target),
    )
    if cursor.rowcount:
        ledger.count(target).failed += cursor.rowcount
        ledger.last[target] = Last(0, ErrorCode.TARGET, text, None, int(now))
    return cursor.rowcount


def fetch(ledger: Ledger, target: int, after: int, limit: int) -> list[Stored]:
    """Return the next events that wait for a target, in order, behind seq `after`."""
    rows = ledger.connection.execute(
        f"SELECT {_EVENT} FROM event WHERE target = ? AND state = 0 AND seq > ? ORDER BY seq LIMIT ?",
        (target, after, limit),
    )
    return [_stored(row) for row in rows]


def _stored(row: tuple[Any, ...]) -> Stored:
    seq, event_id, target, value, accepted_at, connection, parameter, source_value, since, attempts, next_at = row
    event = Event(event_id, target, value, accepted_at, connection, parameter, source_value)
    return Stored(seq, event, since, attempts, next_at)


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


def targets(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the counters and the last outcome of all targets."""
    cursor = connection.execute(
        "SELECT number, accepted, delivered, failed, discarded, http_status, latency_ms, error, error_text, finished_at "
        "FROM target ORDER BY number"
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def digests(connection: sqlite3.Connection) -> dict[int, bytes]:
    """Return the digest of each target's last accepted string."""
    return dict(connection.execute("SELECT number, digest FROM target WHERE digest IS NOT NULL").fetchall())
