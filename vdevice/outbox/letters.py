"""What a person does with the outbox: list, show, replay and discard events, beside a running device or without one."""

import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vdevice.config import Config
from vdevice.model import EventState
from vdevice.outbox import database
from vdevice.outbox.database import transaction
from vdevice.outbox.records import Ledger
from vdevice.registers import readings, text

ROWS_AT_ONCE, PAUSE_SECONDS = 1000, 0.02
"""A running device does not wait for all of 100,000 dead letters, or its PLCs would get exceptions meanwhile."""

MOST_FOUND = 100
"""Messages that the beginning of an id finds at most: whoever looks for one is told to name more of it."""

Row = dict[str, Any]
"""One event with all that is known of it; `seq` finds it again."""

EVENT = ("id", "target", "value", "accepted_at", "source_connection", "source_parameter", "source_value", "description")
"""What of a row is the event itself, in its order."""

_COLUMNS = (
    "seq, id, target, state, accepted_at, since, value, source_connection, source_parameter, source_value, attempts, next_at, "
    "finished_at, http_status, error, error_text, answer, description"
)


class SqliteLetters:
    """The events in an open SQLite outbox."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def select(
        self,
        states: Sequence[EventState],
        target: int | None = None,
        limit: int = 100,
        *,
        words: str = "",
        among: int = -1,
    ) -> list[Row]:
        """Return the newest events in these states, newest first; a limit of -1 is none.

        With `words`, those of the newest `among` whose value or reason holds them, in capitals or not.
        """
        marks = ", ".join("?" * len(states))
        fitting = f"state IN ({marks}) AND (? IS NULL OR target = ?)"
        given: tuple[Any, ...] = (*states, target, target)
        if words:
            # What does not hold them is never a row here: a search needs the memory of what it finds.
            self._connection.create_function("holds", 1, _holder(words))
            fitting = (
                f"seq IN (SELECT seq FROM event WHERE {fitting} ORDER BY seq DESC LIMIT ?) "
                "AND (holds(CAST(value AS BLOB)) OR holds(CAST(error_text AS BLOB)))"
            )
            given = (*given, among)
        return self._rows(f"SELECT {_COLUMNS} FROM event WHERE {fitting} ORDER BY seq DESC LIMIT ?", (*given, limit))

    def oldest(self) -> float:
        """Return since when the oldest string waits (UTC seconds), 0 where none does."""
        return float(
            self._connection.execute("SELECT coalesce(min(since), 0) FROM event WHERE state = 0").fetchone()[0]
        )

    def find(self, event_id: str) -> list[Row]:
        """Return the first `MOST_FOUND` events whose id starts with `event_id`, by id: the one that is it comes first."""
        # A range of the index: between it, and it with the greatest character behind, which stands in no id.
        between = (event_id, event_id + chr(sys.maxunicode))
        return self._rows(
            f"SELECT {_COLUMNS} FROM event WHERE id >= ? AND id < ? ORDER BY id, seq LIMIT {MOST_FOUND}", between
        )

    def replay(self, rows: Sequence[Row]) -> int:
        """Queue dead letters again, behind all that waits, with the same ids; return how many were dead letters."""
        return self._move(rows, (EventState.FAILED,), EventState.WAITING)

    def discard(self, rows: Sequence[Row], reason: str = "") -> int:
        """End waiting events and dead letters without delivery, for a reason if any; return how many there were."""
        return self._move(rows, (EventState.WAITING, EventState.FAILED), EventState.DISCARDED, reason)

    def pause(self, target: int, *, paused: bool) -> bool:
        """Let what waits for a target wait on, or be delivered again; False if it is so already."""
        statement = "UPDATE target SET paused = ? WHERE number = ? AND paused != ?"
        return bool(self._connection.execute(statement, (paused, target, paused)).rowcount)

    def _move(self, rows: Sequence[Row], sources: Sequence[EventState], to: EventState, reason: str = "") -> int:
        moved = 0
        for start in range(0, len(rows), ROWS_AT_ONCE):
            if start:
                # A device beside this, which waits for its turn, gets it.
                time.sleep(PAUSE_SECONDS)
            with transaction(self._connection):
                ledger = Ledger(self._connection, {})
                part = rows[start : start + ROWS_AT_ONCE]
                moved += sum(self._move_one(ledger, row["seq"], sources, to, reason) for row in part)
                ledger.flush()
        return moved

    def _move_one(self, ledger: Ledger, seq: int, sources: Sequence[EventState], to: EventState, reason: str) -> bool:
        row = self._connection.execute("SELECT target, state FROM event WHERE seq = ?", (seq,)).fetchone()
        if row is None or row[1] not in sources:
            return False
        counts = ledger.count(row[0])
        if row[1] == EventState.FAILED:
            counts.failed -= 1
        if to is EventState.DISCARDED:
            counts.discarded += 1
            self._connection.execute(
                "UPDATE event SET state = ?, finished_at = ?, error_text = coalesce(nullif(?, ''), error_text) WHERE seq = ?",
                (to, time.time(), reason, seq),
            )
        else:
            # Behind all others: a lane that has passed this place would never look back. Its age counts anew.
            self._connection.execute(
                "UPDATE event SET state = ?, seq = (SELECT max(seq) + 1 FROM event), attempts = 0, next_at = 0, "
                "since = ?, finished_at = NULL WHERE seq = ?",
                (to, time.time(), seq),
            )
        return True

    def _rows(self, statement: str, arguments: tuple[Any, ...]) -> list[Row]:
        cursor = self._connection.execute(statement, arguments)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _holder(words: str) -> Callable[[bytes | None], bool]:
    """Return what tells whether a text in UTF-8 holds some words: SQLite knows capitals only of ASCII."""
    wanted = words.lower()
    return lambda raw: wanted in (raw or b"").decode("utf-8", "replace").lower()


@contextlib.contextmanager
def opened(file: Path) -> Iterator[SqliteLetters]:
    """Open the events of an outbox that is there. Raises VdeviceError."""
    with database.opened(file, create=False) as connection:
        yield SqliteLetters(connection)


def reads_better_with(row: Row, config: Config, file: Path) -> str:
    """Return the settings that read a PLC's text clearly better; empty where its config `file` was changed since it came."""
    target = config.targets.get(row["target"])
    if target is None or row["source_parameter"] != target.name:
        return ""
    try:
        changed_at = file.stat().st_mtime
    except OSError:
        return ""
    return readings.advice_on(row["value"], text.coding_of(target)) if row["accepted_at"] > changed_at else ""
