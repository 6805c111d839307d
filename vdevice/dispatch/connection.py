"""One outgoing connection: writes a request, hands what comes to the reader, and keeps the time.

It never repeats anything: whoever sends asks `is_quiet` before, and only before, a byte of the request was written.
"""

import asyncio
import contextlib
import select
import socket
import sys
from collections.abc import Callable
from typing import cast

from vdevice.dispatch.http1 import Response, ResponseError, ResponseReader, what_it_is

IDLE = 15.0
"""Seconds that an unused connection is kept."""

LATE = 1.0
"""Seconds behind a response within which bytes are a second one; later it is a server that ends an idle connection (408)."""

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class ClosedError(ConnectionError):
    """The server closed the connection before a byte of its response; `is_new` where it had carried none before."""

    def __init__(self, *, is_new: bool) -> None:
        super().__init__("closed before a response")
        self.is_new = is_new


class Connection(asyncio.Protocol):
    """One connection, with one request under way at most; `keep` takes it for the next one.

    `on_late` is called where bytes came behind a response.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handle: socket.socket,
        keep: "Callable[[Connection], None]",
        on_late: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._socket = handle
        self._readable = _readable(handle)
        self._keep = keep
        self._on_late = on_late
        self._reader = ResponseReader()
        self._response: asyncio.Future[Response] | None = None
        self._error: Exception | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_new = True
        self._finished_at = 0.0
        self.usable = True
        self.keep_until = 0.0
        """The loop's time until which it may wait for its next request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> None:
        """End the response: what is left to write to such a server does not matter any more."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request under way."""
        self._end(exc)

    def _end(self, exc: Exception | None) -> None:
        self.usable = False
        try:
            response = self._reader.end() if self._waiting() else None
        except ResponseError as error:
            self._fail(error)
            return
        if response:
            self._finish(response)
        else:
            self._fail(exc or ClosedError(is_new=self._is_new))

    def data_received(self, data: bytes) -> None:
        """Read the response; bytes that nobody asked for end the connection."""
        if not self._waiting():
            self._note_late(data)
            words = what_it_is(data) or "the server spoke before it was asked, so what it speaks is not HTTP"
            self._fail(ResponseError(words))
            return
        try:
            response = self._reader.feed(data)
        except ResponseError as error:
            # What came may be the rest of the response before.
            self._note_late(data)
            self._fail(error)
            return
        if response:
            if self._reader.is_twice:
                self._on_late()
            self._finish(response)
        elif _QUICKACK is not None:
            # A server that writes head and body apart holds the body back until the head is acknowledged (Nagle), and
            # the kernel holds that back for 40 ms, hoping for something to send. The option acknowledges at once.
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def is_quiet(self) -> bool:
        """Tell whether nothing waits to be read: not the connection's end, nor bytes that nobody asked for.

        The kernel is asked, as the loop may not have looked yet. A response that comes even later cannot be told from the
        next one's: HTTP/1.1 numbers neither requests nor responses.
        """
        if not self.usable:
            return False
        if not self._readable(0):
            return True
        # Below TLS it may as well be a ticket, or the end of the connection, which nobody can tell from outside.
        if self._transport.get_extra_info("sslcontext") is None:
            with contextlib.suppress(OSError):
                self._note_late(self._socket.recv(1024, socket.MSG_PEEK))
        return False

    def _note_late(self, data: bytes) -> None:
        # Some servers write a line break behind a body.
        if data.strip(b"\r\n") and not self._is_new and self._loop.time() - self._finished_at < LATE:
            self._on_late()

    async def send(self, data: bytes, deadline: float) -> Response:
        """Send a whole request and return its response; where that ends otherwise, the connection ends too.

        Raises TimeoutError at `deadline` (the loop's time), OSError, ResponseError.
        """
        if not self.usable:
            raise self._error or ClosedError(is_new=self._is_new)
        self._reader.begin()
        self._response = self._loop.create_future()
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._watch()
        self._transport.write(data)
        try:
            return await self._response
        except asyncio.CancelledError:
            self.close()
            raise

    def _watch(self) -> None:
        """Look at the deadline. The timer stays for later requests: one for each would be as dear as all else here."""
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """End a request whose time is over; what has come of its response counts from its status on."""
        self._timer = None
        if self._waiting():
            if self._loop.time() < self._deadline:
                self._watch()
            elif response := self._reader.cut():
                self._finish(response)
            else:
                self._fail(TimeoutError())

    def close(self) -> None:
        """Close at once."""
        self.usable = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    def _waiting(self) -> asyncio.Future[Response] | None:
        """Return the future of the request under way, if somebody still waits for it."""
        return self._response if self._response is not None and not self._response.done() else None

    def _finish(self, response: Response) -> None:
        waiting = self._waiting()
        self._is_new = False
        # A server that responds before it has read the request may take the rest of it for the next one.
        if response.reusable and waiting and self.usable and not self._transport.get_write_buffer_size():
            seconds = seconds_to_keep(response.headers.get("keep-alive"))
            self._finished_at = self._loop.time()
            self.keep_until = self._finished_at + seconds
            if seconds:
                self._keep(self)
            else:
                self.close()
        else:
            self.close()
        if waiting:
            waiting.set_result(response)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        if waiting := self._waiting():
            waiting.set_exception(error)
        self.close()


def seconds_to_keep(keep_alive: str | None) -> float:
    """Return how long a connection waits for its next request, from the header by which its server says when it closes it.

    A server that closes just as the next request is under way leaves open whether it has read it.
    """
    for parameter in keep_alive.split(",") if keep_alive else ():
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit() and len(value) < 10:
            seconds = float(value)
            return min(max(seconds - 1, seconds / 2), IDLE)
    return IDLE


def _readable(handle: socket.socket) -> Callable[[int], object]:
    """Return what tells within so many ms, by what is true, whether a socket has bytes, its end or an error to read."""
    if sys.platform == "win32":
        return lambda ms: select.select([handle], [], [], ms / 1000)[0]
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return poll.poll
