"""A SQLite outbox as one side of a move."""

import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from vdevice.errors import VdeviceError
from vdevice.model import EventState
from vdevice.outbox import database, locks
from vdevice.outbox.contents import SAME, Contents, Totals
from vdevice.outbox.letters import SqliteLetters

_KEPT = (
    "id", "target", "state", "accepted_at", "since", "value", "source_connection", "source_parameter", "source_value",
    "attempts", "next_at", "finished_at", "http_status", "error", "error_text", "answer", "description",
)  # fmt: skip


class SqliteMovable:
    """An open outbox that no device runs on."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> str:
        """Return the id of the move out of here that is under way; a new one where there is none."""
        with database.transaction(self._connection):
            row = self._connection.execute("SELECT id FROM move WHERE own").fetchone()
            name = row[0] if row else uuid.uuid4().hex
            self._connection.execute("INSERT OR IGNORE INTO move (id, own) VALUES (?, 1)", (name,))
        return str(name)

    def contents(self) -> Contents:
        """Return all that is to be carried over."""
        letters = SqliteLetters(self._connection)
        rows = self._connection.execute(
            "SELECT number, accepted, delivered, failed, discarded, lower(hex(digest)), http_status, error, error_text, "
            "latency_ms, finished_at, paused FROM target WHERE accepted > 0 OR paused"
        )
        return Contents(
            waiting=letters.select([EventState.WAITING], None, -1)[::-1],
            failed=letters.select([EventState.FAILED], None, -1)[::-1],
            totals={row[0]: msgspec.convert(row[1:], Totals, strict=False) for row in rows},
        )

    def bring(self, contents: Contents, move: str, brought: Callable[[int], None]) -> int:
        """Take in what is not here yet, in one transaction; return how many events that were."""
        with database.transaction(self._connection):
            known_move = self._connection.execute("SELECT own FROM move WHERE id = ?", (move,)).fetchone()
            if known_move == (1,):
                raise VdeviceError(SAME)
            new = contents.without({row[0] for row in self._connection.execute("SELECT id FROM event")})
            if known_move is None:
                self._connection.execute("INSERT INTO move (id, own) VALUES (?, 0)", (move,))
                for number, totals in new.totals.items():
                    self._count(number, totals)
            rows = [*new.failed, *new.waiting]
            self._connection.executemany(
                f"INSERT INTO event ({', '.join(_KEPT)}) VALUES ({', '.join('?' * len(_KEPT))})",
                [[row[name] for name in _KEPT] for row in rows],
            )
        brought(len(contents.failed) + len(contents.waiting))
        return len(rows)

    def missing(self, contents: Contents, move: str) -> int:
        """Read back, from the file that has the outbox's name now, what a move brought; return how much is not there."""
        place = self._connection.execute("PRAGMA database_list").fetchone()[2]
        with contextlib.closing(sqlite3.connect(f"{Path(place).as_uri()}?mode=ro", uri=True)) as file:
            is_counted = file.execute("SELECT count(*) FROM move WHERE id = ?", (move,)).fetchone()[0]
            found = dict(file.execute("SELECT id, value FROM event").fetchall())
        return contents.missing(found) + (0 if is_counted else len(contents.totals))

    def _count(self, number: int, totals: Totals) -> None:
        self._connection.execute(
            "UPDATE target SET accepted = accepted + ?, delivered = delivered + ?, failed = failed + ?, "
            "discarded = discarded + ?, digest = coalesce(?, digest), paused = paused OR ? WHERE number = ?",
            (
                totals.accepted, totals.delivered, totals.failed, totals.discarded,
                bytes.fromhex(totals.digest) or None, totals.paused, number,
            ),
        )  # fmt: skip
        self._connection.execute(
            "UPDATE target SET http_status = ?, error = ?, error_text = ?, latency_ms = ?, finished_at = ? "
            "WHERE number = ? AND finished_at <= ?",
            (
                totals.http_status, totals.error, totals.error_text, totals.latency_ms, totals.finished_at,
                number, totals.finished_at,
            ),
        )  # fmt: skip

    def clear(self, contents: Contents) -> None:
        """Remove what was carried over, the counters, and the id of the move."""
        with database.transaction(self._connection):
            rows = [*contents.waiting, *contents.failed]
            self._connection.executemany("DELETE FROM event WHERE seq = ?", [(row["seq"],) for row in rows])
            self._connection.execute(
                "UPDATE target SET accepted = 0, delivered = 0, failed = 0, discarded = 0, digest = NULL, http_status = 0, "
                "latency_ms = 0, error = 0, error_text = '', finished_at = 0, paused = 0"
            )
            self._connection.execute("DELETE FROM move WHERE own")


@contextlib.contextmanager
def opened(file: Path) -> Iterator[SqliteMovable]:
    """Open an outbox that no device runs on; make it where it is missing. Raises VdeviceError."""
    with locks.running_lock(file), database.opened(file) as connection:
        yield SqliteMovable(connection)
