"""The outbox on SQLite, as the device sees it: requests to the writer process, and futures that its replies answer.

All that waits while the writer commits goes into its next commit. What a commit changed reaches the board, and then its
futures, on the event loop, in the order of the requests. A commit that fails fails all its requests; nothing of them is
stored. A writer that ended unexpectedly is started anew by `probe`.
"""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple, Self, cast

import msgspec

from vdevice.board import Board
from vdevice.config import Config, Target
from vdevice.errors import OutboxFailingError, OutboxFullError, VdeviceError
from vdevice.model import ErrorCode, Event, Outcome, Stored, Verdict
from vdevice.outbox import database, messages
from vdevice.outbox.messages import FailWaiting, Fetch, Finish, Probe, Purge, Put, Reply, Request, Retry, Shift

PURGED_AT_ONCE = 100
PUTS_UNDER_WAY = 256
"""Puts that the writer has at a time; further ones wait here, so that outcomes do not queue behind a flood of them."""

START, STOP = 30.0, 30.0
"""Seconds that the writer may take to open the outbox, and to end."""

# The writer imports what this process would, and nothing from the folder that it is started in.
_WRITER = "import sys; sys.path[:] = sys.argv[2:]; from vdevice.outbox.writer import main; main(sys.argv[1])"


class _Waiting(NamedTuple):
    """A request without a reply yet: `done` takes its result, or None, before its future does."""

    request: Request
    future: asyncio.Future[Any]
    convert: Callable[[Any], Any]
    done: Callable[[Any], None] | None


class _Link(asyncio.SubprocessProtocol):
    """The pipes to one writer process; `opened` is done with its first reply, `ended` when it is gone."""

    def __init__(self, outbox: "SqliteOutbox") -> None:
        loop = asyncio.get_running_loop()
        self._outbox = outbox
        self._buffer = bytearray()
        self.opened: asyncio.Future[Reply] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Take replies."""
        self._buffer += data
        for body in messages.take(self._buffer):
            reply = messages.reply(body)
            if not self.opened.done():
                self.opened.set_result(reply)
            else:
                self._outbox.replied(reply)

    def process_exited(self) -> None:
        """Fail what has no reply."""
        if not self.opened.done():
            self.opened.set_result(Reply(0, "the outbox's writer ended before it had opened it", []))
        if not self.ended.done():
            self.ended.set_result(None)
        self._outbox.ended(self)


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
        self._file = file
        self._board = board
        self._arriving = 0
        self._stack = contextlib.ExitStack()
        self._waiting: deque[_Waiting] = deque()
        self._puts: deque[_Waiting] = deque()
        self._others: deque[_Waiting] = deque()
        self._puts_sent = 0
        self._sending = False
        self._link: _Link | None = None
        self._process: asyncio.SubprocessTransport | None = None

    @property
    def writer_pid(self) -> int | None:
        """The process id of the writer, for whoever watches processes."""
        return self._process.get_pid() if self._process else None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._stack.enter_context(database.running_lock(self._file))
        try:
            self._show(await self._start(), outcomes=True)
        except BaseException:
            self._stack.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.shield(self._stop())
        self._stack.close()

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

        return self._submit(Put(tuple(events), changed_only), done, convert)

    def retry(self, stored: Stored, outcome: Outcome) -> asyncio.Future[bool]:
        """Record a failed attempt whose event goes on waiting; False if it waits no more."""
        return self._submit(Retry(stored.seq, stored.event.target, stored.attempts, stored.next_at, outcome))

    def finish(self, stored: Stored, outcome: Outcome, now: float) -> asyncio.Future[bool]:
        """Record how an event ended; False if it was ended already."""
        target, delivered = stored.event.target, outcome.verdict is Verdict.DELIVERED

        def done(changed: bool | None) -> None:  # noqa: FBT001 (a request's result)
            if changed:
                self._board.count(target, delivered=delivered, failed=not delivered)
                self._board.ended(target, outcome, now, now - stored.since)

        return self._submit(Finish(stored.seq, target, stored.since, stored.attempts, outcome, now), done)

    def fetch(
        self, target: int, after: int, limit: int, now: float
    ) -> asyncio.Future[tuple[list[Stored], float | None]]:
        """Return the next events that wait for a target, in order, behind seq `after`, and when a delayed one is due."""
        kind = tuple[list[Stored], float | None]
        return self._submit(Fetch(target, after, limit, now), convert=lambda found: msgspec.convert(found, kind))

    def fail_waiting(self, target: int, text: str, now: float) -> asyncio.Future[int]:
        """Make dead letters of all that waits for a target; return how many there were."""

        def done(count: int | None) -> None:
            if count:
                self._board.count(target, failed=count)
                self._board.ended(target, Outcome(Verdict.GIVE_UP, ErrorCode.TARGET, text=text), now, 0)

        return self._submit(FailWaiting(target, text, now), done)

    def purge(self, delivered_before: float, failed_before: float) -> asyncio.Future[int]:
        """Delete some events whose time to be kept is over; return how many, 0 when none is left."""
        return self._submit(Purge(delivered_before, failed_before, PURGED_AT_ONCE))

    def shift(self, jump: float, now: float, started: float) -> asyncio.Future[None]:
        """Let times follow a clock that was set by `jump` seconds to `now`; what ended before `started` has another clock."""
        return self._submit(Shift(jump, now, started))

    async def probe(self) -> None:
        """Write when the last commit failed, so that the outbox recovers by itself; see what others changed.

        Raises OutboxFailingError while it does not recover.
        """
        if self._link is None:
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

        await self._submit(Probe(self._board.outbox_failing), done)

    def _submit(
        self, request: Request, done: Callable[[Any], None] | None = None, convert: Callable[[Any], Any] = lambda r: r
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        waiting = _Waiting(request, future, convert, done)
        if self._link is None:
            self._loop.call_soon(self._fail, [waiting], "its writer is not running")
            return future
        (self._puts if isinstance(request, Put) else self._others).append(waiting)
        self._send_soon()
        return future

    def _send_soon(self) -> None:
        if not self._sending:
            # One write for all requests of this turn of the loop.
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = False
        if self._process is None:
            return
        new = list(self._others)
        self._others.clear()
        while self._puts and self._puts_sent < PUTS_UNDER_WAY:
            new.append(self._puts.popleft())
            self._puts_sent += 1
        self._waiting.extend(new)
        data = b"".join([messages.frame(waiting.request) for waiting in new])
        cast("asyncio.WriteTransport", self._process.get_pipe_transport(0)).write(data)

    def replied(self, reply: Reply) -> None:
        """Answer the oldest requests: for the link."""
        answered = [self._waiting.popleft() for _ in range(reply.count)]
        self._puts_sent -= sum(isinstance(waiting.request, Put) for waiting in answered)
        if self._puts:
            self._send_soon()
        if reply.error is not None:
            self._fail(answered, reply.error)
            return
        self._board.outbox_failing = False
        for waiting, raw in zip(answered, reply.results, strict=True):
            result = waiting.convert(raw)
            if waiting.done:
                waiting.done(result)
            if not waiting.future.done():
                waiting.future.set_result(result)
        self._board.outbox_full = self._board.waiting + self._arriving >= self._max_messages

    def ended(self, link: _Link) -> None:
        """Fail what the writer has not answered: for the link."""
        if link is self._link:
            if self._process:
                self._process.close()
            self._link = self._process = None
            lost = [*self._waiting, *self._others, *self._puts]
            for queue in (self._waiting, self._others, self._puts):
                queue.clear()
            self._puts_sent = 0
            self._fail(lost, "its writer ended")

    def _fail(self, lost: list[_Waiting], reason: str) -> None:
        self._board.outbox_failing = True
        for waiting in lost:
            if waiting.done:
                waiting.done(None)
            if not waiting.future.done():
                waiting.future.set_exception(
                    OutboxFailingError(f"the outbox cannot be written ({reason}); see the disk it is on")
                )
                # A future that nobody waits for any more (a client that left) is no error of its own.
                waiting.future.exception()

    async def _start(self) -> list[dict[str, Any]]:
        """Start the writer; return the counters of all targets. Raises VdeviceError where it cannot open the outbox."""
        command = (sys.executable, "-P", "-c", _WRITER, str(self._file.absolute()), *sys.path)
        try:
            process, link = await self._loop.subprocess_exec(
                lambda: _Link(self), *command, stdin=PIPE, stdout=PIPE, stderr=None, start_new_session=True
            )
        except OSError as error:
            raise VdeviceError(
                f"the outbox's writer cannot be started ({error.strerror}); see the system's limits"
            ) from None
        try:
            async with asyncio.timeout(START):
                reply = await link.opened
        except TimeoutError:
            process.close()
            raise VdeviceError(f"the outbox did not open within {START:g} s; see the disk it is on") from None
        except BaseException:
            process.close()
            raise
        if reply.error is not None:
            process.close()
            raise VdeviceError(reply.error)
        self._process, self._link = process, link
        rows: list[dict[str, Any]] = reply.results[0]
        return rows

    async def _stop(self) -> None:
        """Let the writer do what it was asked for, and end it."""
        link, process = self._link, self._process
        if link is None or process is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP):
                while self._puts or self._others:
                    await asyncio.sleep(0.005)
                cast("asyncio.WriteTransport", process.get_pipe_transport(0)).close()
                await link.ended
        process.close()

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
