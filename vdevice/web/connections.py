"""Limits of the page's connections: how many there are, and how long one may take to send a request or to read a response.

aiohttp bounds none of this: half a request head would keep its connection, and its file descriptor, for ever. Where all
places are taken, a new connection gets the place of the one that has been waiting longest for a request, so that who asks at
once gets in, however many others send nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import structlog
from aiohttp import web

from vdevice.config.schema import Listen
from vdevice.modbus.listening import address_of
from vdevice.modbus.unread import Unread
from vdevice.repeats import Repeats

MOST_OF_ONE_ADDRESS = 128
"""Connections of one address; behind a reverse proxy all have the same one."""

HEAD_SECONDS = 10.0
"""From a connection, or the first byte of a later request, until its head is whole."""

BODY_SECONDS = 30.0
"""For the body of a request."""

IDLE_SECONDS = 75.0
"""Between two requests: a little more than the 60 s after which reverse proxies close first."""

UNREAD_SECONDS = 20.0
"""Without a byte taken by a client that does not read its response."""

SWEEP_SECONDS = 0.5
"""Between two looks at all connections."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger()


class Connections:
    """All connections of the page; called as a protocol factory, it makes the one of each new connection."""

    def __init__(self, server: Callable[[], asyncio.Protocol], most: int) -> None:
        self._server = server
        self._most = most
        self._open: set[Limited] = set()
        self._closed = Repeats()

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return Limited(self, self._server())

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: "Limited") -> bool:
        """Take in a connection, where need be in the place of one that waits for a request; False where there is none."""
        of_address = [one for one in self._open if one.address == connection.address]
        crowd = of_address if len(of_address) >= MOST_OF_ONE_ADDRESS else list(self._open)
        if len(self._open) >= self._most or crowd is of_address:
            waiting = [one for one in crowd if not one.serving or one.in_body]
            words = f"more than {len(crowd)} connections"
            if not waiting:
                self._tell(connection, words)
                return False
            self.end(min(waiting, key=lambda one: one.since), words)
        self._open.add(connection)
        return True

    def end(self, connection: "Limited", reason: str) -> None:
        """End a connection now, whatever it has not read."""
        self._open.discard(connection)
        self._tell(connection, reason)
        connection.abort()

    def released(self, connection: "Limited") -> None:
        """Forget a connection that was closed."""
        self._open.discard(connection)

    def sweep(self) -> None:
        """End connections that take too long, now and again and again until `stop`."""
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.sweep)
        now = time.monotonic()
        for connection in list(self._open):
            if reason := connection.overdue(now):
                self.end(connection, reason)
        self._closed.tell_due(log.warning, now)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _tell(self, connection: "Limited", reason: str) -> None:
        # One line for each reason, not for each address: an attacker has many.
        line = {"client": connection.address, "reason": reason}
        self._closed.tell(log.warning, "page connection closed", reason, time.monotonic(), **line)


class Limited(asyncio.Protocol):
    """One connection: all that comes is handed on to aiohttp, and timed.

    `since` is when it began to wait for what it waits for now: a request head, the next request, or the end of a response.
    While it is `in_body`, its request is served, but not whole: its place may go to who asks at once.
    """

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self._connections = connections
        self._inner = inner
        self._admitted = False
        self._head_begun = True
        self._unread = Unread()
        self.serving = False
        self.in_body = False
        self.since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or end it where there is no place."""
        self._transport = cast("asyncio.Transport", transport)
        self.address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        self._admitted = self._connections.admit(self)
        if self._admitted:
            self._inner.connection_made(transport)
        else:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.released(self)
        if self._admitted:
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand bytes on; the first ones after a response begin the next head."""
        if not self._admitted:
            return
        if not self.serving and not self._head_begun:
            self._head_begun, self.since = True, time.monotonic()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand on that nothing more comes."""
        return self._inner.eof_received() if self._admitted else None

    def pause_writing(self) -> None:
        """Hand on that the client does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that it reads again."""
        self._inner.resume_writing()

    def abort(self) -> None:
        """End the connection, whatever it has not read."""
        self._transport.abort()

    def begin(self) -> None:
        """Note that a request's head is whole."""
        self.serving, self._head_begun, self.since = True, False, time.monotonic()

    def ended(self) -> None:
        """Note that a request has its response, which may not be sent yet."""
        self.serving, self.since = False, time.monotonic()

    def overdue(self, now: float) -> str:
        """Return what took too long until `now`, nothing where that is nothing."""
        unread = self._transport.get_write_buffer_size()
        if self._unread.seconds(unread, now) > UNREAD_SECONDS:
            return f"a response was not read for {UNREAD_SECONDS:g} s"
        if self.serving or unread:
            return ""
        if self._head_begun and now - self.since > HEAD_SECONDS:
            return f"a request did not arrive within {HEAD_SECONDS:g} s"
        return f"no request for {IDLE_SECONDS:g} s" if now - self.since > IDLE_SECONDS else ""


@contextlib.asynccontextmanager
async def serving(runner: web.AppRunner, listen: Listen, most: int) -> AsyncIterator[str]:
    """Serve at most so many connections while the block runs; yields host:port, nothing where the port cannot be had."""
    connections = Connections(cast("Callable[[], asyncio.Protocol]", runner.server), most)
    try:
        server = await asyncio.get_running_loop().create_server(connections, listen.host, listen.port)
    except OSError as error:
        log.error("the page cannot be served", setting="web.listen", address=str(listen), reason=error.strerror)  # noqa: TRY400
        yield ""
        return
    connections.sweep()
    try:
        yield address_of(server.sockets[0])
    finally:
        server.close()
        connections.stop()


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note on its connection when a request begins and ends: for all that `overdue` tells. The outermost middleware."""
    protocol = request.transport.get_protocol() if request.transport else None
    if not isinstance(protocol, Limited):
        return await handler(request)
    protocol.begin()
    try:
        return await handler(request)
    finally:
        protocol.ended()


@web.middleware
async def with_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read a request's body, within its time, before the handler looks at it. Raises web.HTTPException."""
    if request.can_read_body:
        protocol = request.transport.get_protocol() if request.transport else None
        limited = protocol if isinstance(protocol, Limited) else None
        try:
            if limited:
                limited.in_body = True
            async with asyncio.timeout(BODY_SECONDS):
                await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except ConnectionError:
            raise web.HTTPBadRequest from None
        finally:
            if limited:
                limited.in_body = False
    return await handler(request)
