"""The outbox on SQLite, as the device sees it: what its writer process stores and records, and the counters on the board.

What a commit changed reaches the board, and then its futures, on the event loop, in the order of the requests. A writer that
ended unexpectedly is started anew by `probe`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from vdevice.board import Board
from vdevice.config import Config, Target
from vdevice.errors import OutboxFailingError, OutboxFullError, VdeviceError
from vdevice.model import ErrorCode, Event, Outcome, Stored, Verdict
from vdevice.outbox import database
from vdevice.outbox.link import Link
from vdevice.outbox.messages import FailWaiting, Fetch, Finish, Probe, Purge, Put, Retry, Shift

PURGED_AT_ONCE = 100


class SqliteOutbox:
    """The open outbox of a running device; `async with` owns its lock and its writer process.

    `on_stored`, and the `offer` of `serve`, are called on the event loop with what each commit stored, before its futures
    are done; `on_outside_change` when another process (the command line) has replayed or discarded events.
    """

    def __init__(self, file: Path, board: Board, max_messages: int) -> None:
        self._max_messages = max_messages
        self.on_stored: Callable[[list[Stored]], None] = lambda _stored: None
        self.on_outside_change: Callable[[], None] = lambda: None
        self._offer: Callable[[list[Stored]], None] = lambda _stored: None
        self._file = file.absolute()
        self._board = board
        self._arriving = 0

    @property
    def writer_pid(self) -> int | None:
        """The process id of the writer, for whoever watches processes."""
        return self._link.pid

    async def __aenter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(database.running_lock(self._file))
            self._show(await self._start(), outcomes=True)
            self._lock = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.shield(self._link.stop())
        self._lock.close()

    def apply(self, config: Config) -> None:
        """Go on with another config."""
        self._max_messages = config.outbox.max_messages

    def serve(self, _targets: Collection[Target], offer: Callable[[list[Stored]], None]) -> None:
        """Offer from now on what is stored, for whichever target; what waits already is to be fetched."""
        self._offer = offer

    def put(self, events: Sequence[Event], changed_only: frozenset[int] = frozenset()) -> asyncio.Future[list[Stored]]:
        """Store the events of one request, all or none; the future is done once they are on disk.

        Events of a target in `changed_only` are left out where they repeat its last accepted string. Raises
        OutboxFullError now; the future raises OutboxFailingError.
        """
        count = len(events)
        if self._board.waiting + self._arriving + count > self._max_messages:
            self._board.outbox_full = True
            raise OutboxFullError(f"{self._max_messages} strings wait (outbox.max_messages)")
        self._arriving += count

        def convert(numbers: list[int]) -> list[Stored]:
            return [
                Stored(seq, event, event.accepted_at, 0, event.due_at)
                for seq, event in zip(numbers, events, strict=True)
                if seq
            ]

        def done(stored: list[Stored] | None) -> None:
            self._arriving -= count
            for item in stored or ():
                self._board.count(item.event.target, accepted=1)
            if stored:
                self.on_stored(stored)
                self._offer(stored)

        return self._link.ask(Put(tuple(events), changed_only), done, convert)

    def retry(self, stored: Stored, outcome: Outcome) -> asyncio.Future[bool]:
        """Record a failed attempt whose event goes on waiting; False if it waits no more."""
        return self._link.ask(Retry(stored.seq, stored.event.target, stored.attempts, stored.next_at, outcome))

    def finish(self, stored: Stored, outcome: Outcome, now: float) -> asyncio.Future[bool]:
        """Record how an event ended; False if it was ended already."""
        target, delivered = stored.event.target, outcome.verdict is Verdict.DELIVERED

        def done(changed: bool | None) -> None:  # noqa: FBT001 (a request's result)
            if changed:
                self._board.count(target, delivered=delivered, failed=not delivered)
                self._board.ended(target, outcome, now, now - stored.since)

        return self._link.ask(Finish(stored.seq, target, stored.since, stored.attempts, outcome, now), done)

    def fetch(
        self, target: int, after: int, limit: int, now: float
    ) -> asyncio.Future[tuple[list[Stored], float | None]]:
        """Return the next events that wait for a target, in order, behind seq `after`, and when a delayed one is due."""
        kind = tuple[list[Stored], float | None]
        return self._link.ask(Fetch(target, after, limit, now), convert=lambda found: msgspec.convert(found, kind))

    def fail_waiting(self, target: int, text: str, now: float) -> asyncio.Future[int]:
        """Make dead letters of all that waits for a target; return how many there were."""

        def done(count: int | None) -> None:
            if count:
                self._board.count(target, failed=count)
                self._board.ended(target, Outcome(Verdict.GIVE_UP, ErrorCode.TARGET, text=text), now, 0)

        return self._link.ask(FailWaiting(target, text, now), done)

    def purge(self, delivered_before: float, failed_before: float) -> asyncio.Future[int]:
        """Delete some events whose time to be kept is over; return how many, 0 when none is left."""
        return self._link.ask(Purge(delivered_before, failed_before, PURGED_AT_ONCE))

    def shift(self, jump: float, now: float, started: float) -> asyncio.Future[None]:
        """Let times follow a clock that was set by `jump` seconds to `now`; what ended before `started` has another clock."""
        return self._link.ask(Shift(jump, now, started))

    async def probe(self) -> None:
        """Write when the last commit failed, so that the outbox recovers by itself; see what others changed.

        Raises OutboxFailingError while it does not recover.
        """
        if self._link.pid is None:
            try:
                self._show(await self._start())
            except VdeviceError as error:
                raise OutboxFailingError(str(error)) from error
            # What the last writer stored but did not answer is known to no lane.
            self.on_outside_change()

        def done(rows: list[dict[str, Any]] | None) -> None:
            if rows:
                self._show(rows)
                self.on_outside_change()

        await self._link.ask(Probe(self._board.outbox_failing), done)

    async def _start(self) -> list[dict[str, Any]]:
        """Start a writer; return the counters of all targets. Raises VdeviceError where it cannot open the outbox."""
        self._link = Link(self._told)
        rows: list[dict[str, Any]] = await self._link.start(self._file)
        return rows

    def _told(self, failure: str | None) -> None:
        """Show whether the last commit was done."""
        self._board.outbox_failing = failure is not None
        if failure is None:
            self._board.outbox_full = self._board.waiting + self._arriving >= self._max_messages

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
