"""The writer process as the device sees it: requests over a pipe, and futures that its replies answer.

`RequestQueue` knows which requests wait and for how long; here are the process, its pipes and the clock. Results reach whoever
asked on the event loop, in the order of the requests. What goes wrong with one request, or in what is called back for it,
touches no other one. A writer that does not answer in time is killed, and whoever opened it starts another one.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any, cast

import msgspec
import structlog

from vdevice.errors import VdeviceError
from vdevice.outbox import messages
from vdevice.outbox.asked import Asked, answer, lose, refuse
from vdevice.outbox.messages import Probe, Reply, Request, Shift
from vdevice.outbox.request_queue import OutOfTurnError, RequestQueue

PUTS_AT_ONCE = 256
"""Puts that share a commit, so that outcomes do not wait long behind a flood of them."""

START_SECONDS = 30.0
"""For the writer to open the outbox: a large write-ahead log is read whole."""

CLOSE_SECONDS = 5.0
"""For the writer to close the outbox. Killing it then costs nothing: what was answered is on disk."""

KILL_SECONDS = 5.0
"""For a killed writer to be gone. One that waits for a dead disk stays; its lock keeps others out."""

ALL_ROWS_SECONDS = 30.0
"""For the requests that change everything that waits."""

LATE_TIMER_SECONDS = 0.25
"""A timer that is so late was held up with the whole device; replies may lie in the pipe."""

# The writer imports what this process would, and nothing from the folder that it is started in.
_WRITER = "import sys; sys.path[:] = sys.argv[5:]; from vdevice.outbox.writer import main; main(*sys.argv[1:5])"

_ENCODE_ERRORS = (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError)

log = structlog.get_logger()


def limit_of(answer_timeout: float) -> float:
    """Return how long a request to the outbox may take, so that there is time left to send the exception."""
    return answer_timeout - min(0.5, answer_timeout / 5)


class WriterClient(asyncio.SubprocessProtocol):
    """One writer process and the pipes to it.

    `on_commit` gets None for each commit that was done, else why it was not; where the file is damaged, always that. `limit`
    is in seconds: an older request fails that was not sent, and a writer that answers nothing for so long is killed.
    """

    def __init__(self, on_commit: Callable[[str | None], None], limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_commit = on_commit
        self.limit = limit
        self._buffer = bytearray()
        self._process: asyncio.SubprocessTransport | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._has_exited = self._is_read = False
        self._opened: asyncio.Future[Reply] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._queue: RequestQueue[Asked] = RequestQueue(PUTS_AT_ONCE)
        self._sending = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the writer, None where it does not run."""
        return self._process.get_pid() if self._process else None

    def age(self) -> float:
        """Return for how many seconds the oldest request has been waiting."""
        return self._queue.age(self._loop.time())

    async def start(self, file: Path, *, create: bool) -> Any:  # noqa: ANN401 (as `ask`)
        """Start the writer; return what it says of the open outbox. Raises VdeviceError where it cannot open it."""
        arguments = (str(file), "create" if create else "", str(os.getpid()), str(patience_of(self.limit)))
        command = (sys.executable, "-P", "-c", _WRITER, *arguments, *sys.path)
        try:
            process, _ = await self._loop.subprocess_exec(
                lambda: self, *command, stdin=PIPE, stdout=PIPE, stderr=None, start_new_session=True
            )
        except OSError as error:
            raise VdeviceError(
                f"the outbox's writer cannot be started ({error.strerror}); see the system's limits"
            ) from None
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.gone)
            stack.callback(_kill, process)
            try:
                async with asyncio.timeout(START_SECONDS):
                    reply = await self._opened
            except TimeoutError:
                raise VdeviceError(
                    f"the outbox did not open within {START_SECONDS:g} s; see the disk it is on"
                ) from None
            if reply.error is not None:
                raise VdeviceError(reply.error)
            stack.pop_all()
        self._process = process
        return reply.results[0]

    async def stop(self) -> None:
        """Let the writer do what it was asked for, and end it; at the latest after `limit` and CLOSE_SECONDS."""
        process = self._process
        if process is None:
            await self.gone()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limit):
                # Its pipe stays open until all is answered: a writer without a device commits nothing.
                while self._queue:
                    await asyncio.sleep(0.005)
        if self._queue:
            self._give_up("its writer does not answer")
        self._process = None
        if (pipe := process.get_pipe_transport(0)) is not None:
            cast("asyncio.WriteTransport", pipe).close()
        if not await self._ends_within(CLOSE_SECONDS):
            log.warning("the outbox's writer did not end, and was killed", process=process.get_pid())
            _kill(process)
            await self.gone()

    async def gone(self) -> None:
        """Wait until a writer that was killed is gone, if it ran, but not long: a dead disk may hold it."""
        if self._transport and not await self._ends_within(KILL_SECONDS):
            log.error("the outbox's writer cannot be killed now; its disk holds it")

    async def _ends_within(self, seconds: float) -> bool:
        await asyncio.wait([self._ended], timeout=seconds)
        return self._ended.done()

    def ask(
        self, request: Request, done: Callable[[Any], None] | None = None, convert: Callable[[Any], Any] = lambda r: r
    ) -> asyncio.Future[Any]:
        """Ask for something; `done` takes the result, None where there is none, before the future does.

        The future raises OutboxFailingError; OutboxLateError where the writer ended before it said what became of the request.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        # Encoded before it counts as asked: what cannot be encoded fails alone.
        try:
            frame, wrong = messages.frame(request), ""
        except _ENCODE_ERRORS as error:
            frame, wrong = b"", f"it cannot be encoded ({error})"
        slow = isinstance(request, Shift)
        seconds = max(ALL_ROWS_SECONDS, self.limit) if slow else self.limit
        asked = Asked(frame, type(request), self._loop.time(), seconds, future, convert, done)
        if wrong:
            self._loop.call_soon(refuse, asked, wrong)
        elif self._process is None:
            self._loop.call_soon(self._fail, [asked], "its writer is not running")
        else:
            self._queue.add(asked)
            self._send_soon()
            self._watch()
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
        batch = self._queue.next_batch(self._loop.time())
        if batch:
            data = b"".join([asked.frame for asked in batch])
            cast("asyncio.WriteTransport", self._process.get_pipe_transport(0)).write(data)

    def _watch(self) -> None:
        """Look at the age of the requests when the oldest one may be too old."""
        if self._timer is None and self._queue:
            wait = max(self.limit - self.age(), 0.0)
            self._timer = self._loop.call_later(wait, self._look, self._loop.time() + wait)

    def _look(self, expected_at: float) -> None:
        self._timer = None
        now = self._loop.time()
        if now - expected_at > LATE_TIMER_SECONDS:
            # The device itself stood still (stopped, a snapshot): first read what the writer has answered.
            self._timer = self._loop.call_later(LATE_TIMER_SECONDS, self._look, now + LATE_TIMER_SECONDS)
            return
        if self._queue.is_stuck(now):
            self._give_up(f"its writer has not answered for {self._queue.age(now):.1f} s")
            return
        self._fail(self._queue.take_late(now, self.limit), f"its writer was busy for {self.limit:g} s")
        if self._queue.age(now) >= self.limit:
            # What was sent may be stored yet. Whoever cannot wait for it has a deadline of its own.
            self._call(self._on_commit, "no answer")
        if self._queue and self._timer is None:
            wait = max(self.limit - self.age(), LATE_TIMER_SECONDS / 2)
            self._timer = self._loop.call_later(wait, self._look, now + wait)

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Take replies: asyncio's word."""
        self._buffer += data
        try:
            for reply in map(messages.reply, messages.take(self._buffer)):
                if not self._opened.done():
                    self._opened.set_result(reply)
                elif self._process is not None:
                    self._take(reply)
        except (msgspec.MsgspecError, OutOfTurnError) as error:
            self._give_up(f"its writer answers nonsense ({error})")

    def _take(self, reply: Reply) -> None:
        """Answer the oldest requests."""
        if reply.error is None and len(reply.results) != reply.count:
            raise OutOfTurnError(f"{len(reply.results)} results for {reply.count} requests")
        answered = self._queue.answered(reply.count, self._loop.time())
        if self._queue.has_unsent:
            self._send_soon()
        for note in reply.notes:
            log.warning(note)
        if reply.error is not None:
            self._fail(answered, reply.error)
            return
        probes = []
        for place, asked in enumerate(answered):
            if place in reply.failed:
                refuse(asked, reply.failed[place])
            elif asked.kind is Probe:
                probes.append((asked, reply.results[place]))
            else:
                answer(asked, reply.results[place])
        # What a Probe tells holds all that its commit did, so nothing may be counted after it.
        for asked, raw in probes:
            answer(asked, raw)
        self._call(self._on_commit, reply.damage or None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which is to be closed in the end: asyncio's word."""
        self._transport = transport

    def pipe_connection_lost(self, fd: int, _error: Exception | None) -> None:
        """Fail what has no reply, now that the last one is read; the exit may be known before: asyncio's word."""
        if fd != 1:
            return
        self._is_read = True
        if not self._opened.done():
            self._opened.set_result(Reply(0, "the outbox's writer ended before it had opened it", []))
        if self._process:
            self._lose("its writer ended")
        self._close()

    def process_exited(self) -> None:
        """Note the end of the process; its pipe may hold replies: asyncio's word."""
        self._has_exited = True
        self._close()

    def _close(self) -> None:
        if self._transport and self._is_read and self._has_exited:
            self._transport.close()
            if not self._ended.done():
                self._ended.set_result(None)

    def _give_up(self, reason: str) -> None:
        """Kill a writer that cannot be worked with; what it was asked for may be stored or not."""
        process = self._process
        if process is None:
            return
        _kill(process)
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._process = None
        log.error("the outbox's writer is gone", reason=reason)
        sent, unsent = self._queue.clear()
        self._fail(sent, f"{reason}; the message may have been stored all the same", may_be_done=True)
        self._fail(unsent, reason)

    def _fail(self, lost: list[Asked], reason: str, *, may_be_done: bool = False) -> None:
        if lost:
            self._call(self._on_commit, reason)
        for asked in lost:
            lose(asked, reason, may_be_done=may_be_done)

    @staticmethod
    def _call(callback: Callable[[str | None], None], reason: str | None) -> None:
        try:
            callback(reason)
        except Exception:
            log.exception("internal error")


def patience_of(limit: float) -> float:
    """Return how many seconds the writer waits for a lock of another program on the outbox: less than it is waited for."""
    return limit / 2


def _kill(process: asyncio.SubprocessTransport) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.close()
