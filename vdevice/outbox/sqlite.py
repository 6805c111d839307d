"""The outbox on SQLite, as the device sees it: what its writer process stores and records, and the counters on the board.

What a commit changed reaches the board, and then its futures, on the event loop, in the order of the requests. A writer that
ended, or was killed because it hung, is started anew by `probe`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog

from vdevice.board import Board
from vdevice.config import Config, Target
from vdevice.errors import OutboxFailingError, VdeviceError
from vdevice.model import ErrorCode, Event, Outcome, Stored, Verdict
from vdevice.outbox import locks
from vdevice.outbox.messages import Fetch, Finish, Probe, Purge, Put, Retry, Shift
from vdevice.outbox.room import Room
from vdevice.outbox.writer_client import WriterClient, limit_of, patience_of

PURGED_AT_ONCE = 100
WRITE_PROBE_SECONDS = 30.0
"""A disk that no longer takes anything is found so soon where no message comes; each time costs it one page."""

SILENCE_SECONDS = 2.0
"""A commit vouches for the outbox until the next probe is due, and this much longer than that may take."""

log = structlog.get_logger()


class SqliteOutbox:
    """The open outbox of a running device; `async with` owns its lock and its writer process.

    `on_stored`, and the `offer` of `serve`, are called on the event loop with what each commit stored, before its futures
    are done; `on_outside_change` when another process (the command line) has replayed or discarded events.
    """

    def __init__(self, file: Path, board: Board, max_messages: int, answer_timeout: float = 5.0) -> None:
        self._room = Room(board, max_messages)
        self._limit = limit_of(answer_timeout)
        self._write_probe_at = 0.0
        self._is_told_of_all = True
        self._failure: str | None = None
        self.on_stored: Callable[[list[Stored]], None] = lambda _stored: None
        self.on_outside_change: Callable[[], None] = lambda: None
        self._offer: Callable[[list[Stored]], None] = lambda _stored: None
        self._file = locks.real_path(file)
        self._board = board

    @property
    def writer_pid(self) -> int | None:
        """The process id of the writer, for whoever watches processes."""
        return self._writer.pid

    async def __aenter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locks.running_lock(self._file))
            self._show(await self._start(create=True), outcomes=True)
            self._lock = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.shield(self._writer.stop())
        self._lock.close()

    def apply(self, config: Config) -> None:
        """Go on with another config."""
        self._room.most = config.outbox.max_messages
        self._limit = self._writer.limit = limit_of(config.modbus.answer_timeout)

    def serve(self, _targets: Collection[Target], offer: Callable[[list[Stored]], None]) -> None:
        """Offer from now on what is stored, for whichever target; what waits already is to be fetched."""
        self._offer = offer

    def put(self, events: Sequence[Event], changed_only: frozenset[int] = frozenset()) -> asyncio.Future[list[Stored]]:
        """Store the events of one request, all or none; the future is done once they are on disk.

        Events of a target in `changed_only` are left out where they repeat its last accepted string. Raises
        OutboxFullError now; the future raises OutboxFailingError.
        """
        targets = [event.target for event in events]
        self._room.reserve(targets)

        def convert(numbers: list[int]) -> list[Stored]:
            return [
                Stored(seq, event, event.accepted_at, 0, event.due_at)
                for seq, event in zip(numbers, events, strict=True)
                if seq
            ]

        def done(stored: list[Stored] | None) -> None:
            for item in stored or ():
                self._board.count(item.event.target, accepted=1)
            self._room.release(targets)
            if stored:
                self._tell(stored)

        return self._writer.ask(Put(tuple(events), changed_only), done, convert)

    def _tell(self, stored: list[Stored]) -> None:
        """Tell of what is on disk. An error there is none of the outbox: it is stored, and the PLC hears so."""
        for callback in (self.on_stored, self._offer):
            try:
                callback(stored)
            except Exception:
                log.exception("internal error", messages=len(stored))
                self._is_told_of_all = False

    def holds(self, stored: Stored) -> bool:  # noqa: ARG002 (nobody else sends)
        """Tell that an event is this process's to send: there is no other one."""
        return True

    def retry(self, stored: Stored, outcome: Outcome) -> asyncio.Future[bool]:
        """Record a failed attempt whose event goes on waiting; False if it waits no more."""
        return self._writer.ask(Retry(stored.seq, stored.event.target, stored.attempts, stored.next_at, outcome))

    def finish(self, stored: Stored, outcome: Outcome, now: float) -> asyncio.Future[bool]:
        """Record how an event ended; False if it was ended already."""
        target, delivered = stored.event.target, outcome.verdict is Verdict.DELIVERED

        def done(changed: bool | None) -> None:  # noqa: FBT001 (a request's result)
            if changed:
                self._board.count(target, delivered=delivered, failed=not delivered)
                self._board.ended(target, outcome, now, now - stored.since)

        return self._writer.ask(Finish(stored.seq, target, stored.since, stored.attempts, outcome, now), done)

    def fetch(
        self, target: int, after: int, limit: int, now: float
    ) -> asyncio.Future[tuple[list[Stored], float | None]]:
        """Return the next events that wait for a target, in order, behind seq `after`, and when a delayed one is due."""
        kind = tuple[list[Stored], float | None]
        return self._writer.ask(Fetch(target, after, limit, now), convert=lambda found: msgspec.convert(found, kind))

    def purge(self, delivered_before: float, failed_before: float) -> asyncio.Future[int]:
        """Delete some events whose time to be kept is over; return how many, 0 when none is left."""
        return self._writer.ask(Purge(delivered_before, failed_before, PURGED_AT_ONCE))

    def shift(self, jump: float, now: float, started: float) -> asyncio.Future[None]:
        """Let times follow a clock that was set by `jump` seconds to `now`; what ended before `started` has another clock."""
        return self._writer.ask(Shift(jump, now, started))

    async def probe(self) -> None:
        """Write when the last commit failed, so that the outbox recovers by itself; see what others changed.

        Raises OutboxFailingError while it does not recover.
        """
        if self._writer.pid is None:
            await self._writer.gone()
            try:
                self._show(await self._start(create=False))
            except VdeviceError as error:
                raise OutboxFailingError(str(error)) from error
            # What the last writer stored but did not answer is known to no lane.
            self.on_outside_change()

        def done(rows: list[dict[str, Any]] | None) -> None:
            if rows:
                self._show(rows)
            if rows or not self._is_told_of_all:
                self._is_told_of_all = True
                self.on_outside_change()

        now = time.monotonic()
        write = self._board.outbox_failing or now >= self._write_probe_at
        if write:
            self._write_probe_at = now + WRITE_PROBE_SECONDS
        await self._writer.ask(Probe(write, patience_of(self._limit)), done)

    async def _start(self, *, create: bool) -> list[dict[str, Any]]:
        """Start a writer; return the counters of all targets. Raises VdeviceError where it cannot open the outbox."""
        self._writer = WriterClient(self._told, self._limit)
        rows: list[dict[str, Any]] = await self._writer.start(self._file, create=create)
        return rows

    def _told(self, failure: str | None) -> None:
        """Show whether the last commit was done and the file is whole, and log when that changes."""
        if failure != self._failure:
            if failure is None:
                log.warning("the outbox works again")
            else:
                log.error("the outbox fails", reason=failure)
            self._failure = failure
        self._board.outbox_failing = failure is not None
        if failure is None:
            self._board.outbox_good_until = time.monotonic() + self._limit + SILENCE_SECONDS
        self._room.show()

    def _show(self, rows: list[dict[str, Any]], *, outcomes: bool = False) -> None:
        """Put the counters on the board, and at the start the last outcomes too."""
        waiting = 0
        for row in rows:
            state = self._board.targets[row["number"]]
            state.accepted, state.delivered = row["accepted"], row["delivered"]
            state.failed, state.discarded, state.paused = row["failed"], row["discarded"], bool(row["paused"])
            waiting += state.queued
            if outcomes:
                state.http_status, state.latency_ms = row["http_status"], row["latency_ms"]
                state.error, state.error_text = ErrorCode(row["error"]), row["error_text"]
                state.finished_at = row["finished_at"]
        self._board.waiting = waiting
