"""The writer process as the device sees it: requests over a pipe, and futures that its replies answer.

One write is under way at a time: what comes while the writer commits shares its next commit. Results reach whoever asked on
the event loop, in the order of the requests. A commit that fails fails all its requests; nothing of them is stored.
"""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple, cast

from vdevice.errors import OutboxFailingError, VdeviceError
from vdevice.outbox import messages
from vdevice.outbox.messages import Probe, Put, Reply, Request

PUTS_AT_ONCE = 256
"""Puts that share a commit, so that outcomes do not wait long behind a flood of them."""

START, STOP = 30.0, 30.0
"""Seconds that the writer may take to open the outbox, and to end."""

# The writer imports what this process would, and nothing from the folder that it is started in.
_WRITER = "import sys; sys.path[:] = sys.argv[2:]; from vdevice.outbox.writer import main; main(sys.argv[1])"


class _Asked(NamedTuple):
    """A request without a result yet: `done` takes its result, or None, before its future does."""

    request: Request
    future: asyncio.Future[Any]
    convert: Callable[[Any], Any]
    done: Callable[[Any], None] | None


class Link(asyncio.SubprocessProtocol):
    """One writer process and the pipes to it. `told` gets None for each commit that was done, else why it was not."""

    def __init__(self, told: Callable[[str | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._buffer = bytearray()
        self._process: asyncio.SubprocessTransport | None = None
        self._opened: asyncio.Future[Reply] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._puts: deque[_Asked] = deque()
        self._others: deque[_Asked] = deque()
        self._sent: deque[_Asked] = deque()
        self._sending = False

    @property
    def pid(self) -> int | None:
        """The process id of the writer, None where it does not run."""
        return self._process.get_pid() if self._process else None

    async def start(self, file: Path) -> Any:  # noqa: ANN401 (as `ask`)
        """Start the writer; return what it says of the open outbox. Raises VdeviceError where it cannot open it."""
        command = (sys.executable, "-P", "-c", _WRITER, str(file), *sys.path)
        try:
            process, _ = await self._loop.subprocess_exec(
                lambda: self, *command, stdin=PIPE, stdout=PIPE, stderr=None, start_new_session=True
            )
        except OSError as error:
            raise VdeviceError(
                f"the outbox's writer cannot be started ({error.strerror}); see the system's limits"
            ) from None
        with contextlib.ExitStack() as stack:
            stack.callback(process.close)
            try:
                async with asyncio.timeout(START):
                    reply = await self._opened
            except TimeoutError:
                raise VdeviceError(f"the outbox did not open within {START:g} s; see the disk it is on") from None
            if reply.error is not None or self._ended.done():
                raise VdeviceError(reply.error or "the outbox's writer ended")
            stack.pop_all()
        self._process = process
        return reply.results[0]

    async def stop(self) -> None:
        """Let the writer do what it was asked for, and end it."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP):
                while self._puts or self._others:
                    await asyncio.sleep(0.005)
                cast("asyncio.WriteTransport", process.get_pipe_transport(0)).close()
                await self._ended
        process.close()

    def ask(
        self, request: Request, done: Callable[[Any], None] | None = None, convert: Callable[[Any], Any] = lambda r: r
    ) -> asyncio.Future[Any]:
        """Ask for something; `done` takes the result, None where there is none, before the future does.

        The future raises OutboxFailingError.
        """
        asked = _Asked(request, self._loop.create_future(), convert, done)
        if self._process is None:
            self._loop.call_soon(self._fail, [asked], "its writer is not running")
        else:
            (self._puts if isinstance(request, Put) else self._others).append(asked)
            self._send_soon()
        return asked.future

    def _send_soon(self) -> None:
        if not self._sending:
            # One write for all requests of this turn of the loop.
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = False
        if self._process is None or self._sent:
            return
        new = [*self._others, *(self._puts.popleft() for _ in range(min(len(self._puts), PUTS_AT_ONCE)))]
        self._others.clear()
        self._sent.extend(new)
        data = b"".join([messages.frame(asked.request) for asked in new])
        cast("asyncio.WriteTransport", self._process.get_pipe_transport(0)).write(data)

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Take replies: asyncio's word."""
        self._buffer += data
        for body in messages.take(self._buffer):
            reply = messages.reply(body)
            if not self._opened.done():
                self._opened.set_result(reply)
            else:
                self._take(reply)

    def _take(self, reply: Reply) -> None:
        """Answer the oldest requests."""
        answered = [self._sent.popleft() for _ in range(reply.count)]
        if self._puts or self._others:
            self._send_soon()
        if reply.error is not None:
            self._fail(answered, reply.error)
            return
        probes = []
        for asked, raw in zip(answered, reply.results, strict=True):
            if isinstance(asked.request, Probe):
                probes.append((asked, raw))
            else:
                _answer(asked, raw)
        # What a Probe tells holds all that its commit did, so nothing may be counted after it.
        for asked, raw in probes:
            _answer(asked, raw)
        self._told(None)

    def process_exited(self) -> None:
        """Fail what has no reply: asyncio's word."""
        if not self._opened.done():
            self._opened.set_result(Reply(0, "the outbox's writer ended before it had opened it", []))
        if not self._ended.done():
            self._ended.set_result(None)
        if self._process:
            self._process.close()
            self._process = None
            lost = [*self._sent, *self._others, *self._puts]
            for queue in (self._sent, self._others, self._puts):
                queue.clear()
            self._fail(lost, "its writer ended")

    def _fail(self, lost: list[_Asked], reason: str) -> None:
        self._told(reason)
        for asked in lost:
            if asked.done:
                asked.done(None)
            if not asked.future.done():
                asked.future.set_exception(
                    OutboxFailingError(f"the outbox cannot be written ({reason}); see the disk it is on")
                )
                # A future that nobody waits for any more (a client that left) is no error of its own.
                asked.future.exception()


def _answer(asked: _Asked, raw: Any) -> None:  # noqa: ANN401 (each request has its own result)
    result = asked.convert(raw)
    if asked.done:
        asked.done(result)
    if not asked.future.done():
        asked.future.set_result(result)
