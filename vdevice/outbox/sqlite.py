"""The outbox on SQLite: one thread writes, and all that waits while it commits goes into its next commit.

Jobs run on the thread in the order in which they were handed in; what they changed reaches the board, and then their
futures, on the event loop in the same order. A commit that fails fails all its jobs; nothing of them is stored.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from vdevice.board import Board
from vdevice.errors import OutboxFailingError, OutboxFullError
from vdevice.model import ErrorCode, Event, Outcome, Stored, Verdict
from vdevice.outbox import database, records
from vdevice.outbox.records import Ledger

T = TypeVar("T")
JOBS_A_COMMIT = 512
PURGED_AT_ONCE = 500


class _Job(NamedTuple):
    """What the thread has to do: `batched` jobs of one `work` are done by one call, the others one by one."""

    work: Callable[..., Any]
    batched: tuple[Any, ...] | None
    future: asyncio.Future[Any]
    done: Callable[[Any], None] | None


class SqliteOutbox:
    """The open outbox of a running device; `async with` owns its file and its thread.

    `on_stored` is called on the event loop with what each commit stored, before its futures are done;
    `on_outside_change` when another process (the command line) has replayed or discarded events.
    """

    def __init__(self, file: Path, board: Board, max_messages: int) -> None:
        self.max_messages = max_messages
        self.on_stored: Callable[[list[Stored]], None] = lambda _stored: None
        self.on_outside_change: Callable[[], None] = lambda: None
        self._file = file
        self._board = board
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._arriving = 0
        self._digests: dict[int, bytes] = {}
        self._stack = contextlib.ExitStack()
        self._connection: sqlite3.Connection | None = None
        self._seen_version = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._stack.enter_context(database.running_lock(self._file))
        try:
            self._open()
            self._read_targets()
        except BaseException:
            self._stack.close()
            raise
        self._thread.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._jobs.put(None)
        await asyncio.shield(asyncio.to_thread(self._thread.join))
        self._close()
        self._stack.close()

    def put(self, events: Sequence[Event], changed_only: frozenset[int] = frozenset()) -> asyncio.Future[list[Stored]]:
        """Store the events of one request, all or none; the future is done once they are on disk.

        Events of a target in `changed_only` are left out where they repeat its last accepted string. Raises
        OutboxFullError now; the future raises OutboxFailingError.
        """
        count = len(events)
        if self._board.waiting + self._arriving + count > self.max_messages:
            self._board.outbox_full = True
            raise OutboxFullError(f"{self.max_messages} strings wait (outbox.max_messages)")
        self._arriving += count

        def done(stored: list[Stored] | None) -> None:
            self._arriving -= count
            for item in stored or ():
                self._board.count(item.event.target, accepted=1)
            if stored:
                self.on_stored(stored)

        return self._submit(records.put, done, (events, changed_only))

    def retry(self, stored: Stored, outcome: Outcome) -> asyncio.Future[bool]:
        """Record a failed attempt whose event goes on waiting; False if it waits no more."""
        return self._submit(lambda ledger: records.retry(ledger, stored, outcome))

    def finish(self, stored: Stored, outcome: Outcome, now: float) -> asyncio.Future[bool]:
        """Record how an event ended; False if it was ended already."""
        target, delivered = stored.event.target, outcome.verdict is Verdict.DELIVERED

        def done(changed: bool | None) -> None:  # noqa: FBT001 (a job's result)
            if changed:
                self._board.count(target, delivered=delivered, failed=not delivered)
                self._board.ended(target, outcome, now, now - stored.since)

        return self._submit(records.finish, done, (stored, outcome, now))

    def fetch(
        self, target: int, after: int, limit: int, now: float
    ) -> asyncio.Future[tuple[list[Stored], float | None]]:
        """Return the next events that wait for a target, in order, behind seq `after`, and when a delayed one is due."""
        return self._submit(lambda ledger: records.fetch(ledger, target, after, limit, now))

    def fail_waiting(self, target: int, text: str, now: float) -> asyncio.Future[int]:
        """Make dead letters of all that waits for a target; return how many there were."""

        def done(count: int | None) -> None:
            if count:
                self._board.count(target, failed=count)
                self._board.ended(target, Outcome(Verdict.GIVE_UP, ErrorCode.TARGET, text=text), now, 0)

        return self._submit(lambda ledger: records.fail_waiting(ledger, target, text, now), done)

    def purge(self, delivered_before: float, failed_before: float) -> asyncio.Future[int]:
        """Delete some events whose time to be kept is over; return how many, 0 when none is left."""
        return self._submit(lambda ledger: records.purge(ledger, delivered_before, failed_before, PURGED_AT_ONCE))

    def probe(self) -> asyncio.Future[Any]:
        """Write when the last commit failed, so that the outbox recovers by itself; see what others changed."""
        failing = self._board.outbox_failing

        def done(rows: list[dict[str, Any]] | None) -> None:
            if rows:
                self._show(rows)
                self.on_outside_change()

        return self._submit(lambda ledger: self._probe(ledger, write=failing), done)

    # On the event loop.

    def _submit(
        self,
        work: Callable[..., Any],
        done: Callable[[Any], None] | None = None,
        batched: tuple[Any, ...] | None = None,
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(_Job(work, batched, future, done))
        return future

    def _committed(self, jobs: list[_Job], results: list[Any]) -> None:
        self._board.outbox_failing = False
        for job, result in zip(jobs, results, strict=True):
            if job.done:
                job.done(result)
            if not job.future.done():
                job.future.set_result(result)
        self._board.outbox_full = self._board.waiting + self._arriving >= self.max_messages

    def _failed(self, jobs: list[_Job], error: BaseException) -> None:
        self._board.outbox_failing = True
        for job in jobs:
            if job.done:
                job.done(None)
            if not job.future.done():
                failure = OutboxFailingError(f"the outbox cannot be written ({error}); see the disk it is on")
                failure.__cause__ = error
                job.future.set_exception(failure)
                # A future that nobody waits for any more (a client that left) is no error of its own.
                job.future.exception()

    # On the writer thread.

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            last = False
            while len(jobs) < JOBS_A_COMMIT and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    last = True
                    break
                jobs.append(following)
            try:
                results = self._commit(jobs)
            except Exception as error:  # noqa: BLE001 (the thread outlives every job; each future gets the error)
                self._after_failure(error)
                self._loop.call_soon_threadsafe(self._failed, jobs, error)
            else:
                self._loop.call_soon_threadsafe(self._committed, jobs, results)
            if last:
                return

    def _commit(self, jobs: list[_Job]) -> list[Any]:
        connection = self._connection or self._open()
        ledger = Ledger(connection, dict(self._digests))
        with database.transaction(connection):
            results = _work(ledger, jobs)
            ledger.flush()
        self._digests = ledger.digests
        return results

    def _after_failure(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        # A full disk or a held lock leaves the connection whole; after anything else it is opened anew.
        if code not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}:
            self._close()

    def _open(self) -> sqlite3.Connection:
        connection = database.connect(self._file)
        self._connection = connection
        self._digests = records.digests(connection)
        self._seen_version = connection.execute("PRAGMA data_version").fetchone()[0]
        return connection

    def _close(self) -> None:
        if self._connection:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _read_targets(self) -> None:
        if self._connection:
            self._show(records.targets(self._connection), outcomes=True)

    def _probe(self, ledger: Ledger, *, write: bool) -> list[dict[str, Any]] | None:
        """Return the counters where another process changed them, as they are at this place of the transaction."""
        if write:
            ledger.connection.execute("UPDATE target SET accepted = accepted WHERE number = 1")
        version = ledger.connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._seen_version:
            return None
        self._seen_version = version
        ledger.flush()
        return records.targets(ledger.connection)

    def _show(self, rows: list[dict[str, Any]], *, outcomes: bool = False) -> None:
        """Put the counters on the board, and at the start the last outcomes too."""
        waiting = 0
        for row in rows:
            state = self._board.targets[row["number"]]
            state.accepted, state.delivered = row["accepted"], row["delivered"]
            state.failed, state.discarded = row["failed"], row["discarded"]
            waiting += state.queued
            if outcomes:
                state.http_status, state.latency_ms = row["http_status"], row["latency_ms"]
                state.error, state.error_text = ErrorCode(row["error"]), row["error_text"]
                state.finished_at = row["finished_at"]
        self._board.waiting = waiting


def _work(ledger: Ledger, jobs: list[_Job]) -> list[Any]:
    """Do the jobs: those that can be batched first, then the others in order; returns their results in order."""
    results: dict[int, Any] = {}
    for work in (records.put, records.finish):
        places = [place for place, job in enumerate(jobs) if job.work is work]
        if places:
            batch: list[Any] = [jobs[place].batched for place in places]
            results.update(zip(places, work(ledger, batch), strict=True))
    for place, job in enumerate(jobs):
        if job.batched is None:
            results[place] = job.work(ledger)
    return [results[place] for place in range(len(jobs))]
