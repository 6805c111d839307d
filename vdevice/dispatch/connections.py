"""Outgoing HTTP/1.1 connections that are kept and used again: the sender's way to the wire, but for proxies.

docs/decisions/0004 has the figures for why it is there beside aiohttp.
"""

import asyncio
import functools
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import cast
from urllib.parse import urlsplit

import aiohappyeyeballs

from vdevice.config.schema import Network
from vdevice.dispatch.egress import DeniedError, is_denied
from vdevice.dispatch.http1 import Answer, AnswerError, AnswerReader
from vdevice.webhooks.request import Request

IDLE = 15.0
"""Seconds that an unused connection is kept."""

EYEBALLS = 0.25
"""Seconds until the next address of a name is tried beside one that does not answer (RFC 8305)."""

Origin = tuple[str, str, ssl.SSLContext | None]
"""Scheme, host and port as in the URL, and how to speak TLS."""


class ClosedError(ConnectionError):
    """The server closed the connection before a byte of its answer."""


class Connection(asyncio.Protocol):
    """One connection, with one request under way at most; `keep` takes it for the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, keep: "Callable[[Connection], None]") -> None:
        self._loop = loop
        self._keep = keep
        self._reader = AnswerReader()
        self._answer: asyncio.Future[Answer] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.usable = True
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request under way."""
        self.usable = False
        try:
            answer = self._reader.end() if self._waiting() else None
        except AnswerError as error:
            self._fail(error)
            return
        if answer:
            self._finish(answer)
        else:
            self._fail(exc or ClosedError("closed before an answer"))

    def data_received(self, data: bytes) -> None:
        """Read the answer; bytes that nobody asked for end the connection."""
        if not self._waiting():
            self.close()
            return
        try:
            answer = self._reader.feed(data)
        except AnswerError as error:
            self._fail(error)
            return
        if answer:
            self._finish(answer)

    async def send(self, data: bytes, deadline: float) -> Answer:
        """Send a whole request and return its answer; where that ends otherwise, the connection ends too.

        Raises TimeoutError at `deadline` (the loop's time), OSError, AnswerError.
        """
        self._reader.begin()
        self._answer = self._loop.create_future()
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._watch()
        self._transport.write(data)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()
            raise

    def _watch(self) -> None:
        """Look at the deadline. The timer stays for later requests: one for each would be as dear as all else here."""
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """End a request whose time is over."""
        self._timer = None
        if self._waiting():
            if self._loop.time() < self._deadline:
                self._watch()
            else:
                self._fail(TimeoutError())

    def close(self) -> None:
        """Close at once."""
        self.usable = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    def _waiting(self) -> asyncio.Future[Answer] | None:
        """Return the future of the request under way, if somebody still waits for it."""
        return self._answer if self._answer is not None and not self._answer.done() else None

    def _finish(self, answer: Answer) -> None:
        waiting = self._waiting()
        if answer.reusable and waiting and self.usable:
            self._keep(self)
        else:
            self.close()
        if waiting:
            waiting.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if waiting := self._waiting():
            waiting.set_exception(error)
        self.close()


class Connections:
    """All connections that wait for their next request, by where they lead to; none leads into a network of `deny`."""

    def __init__(self, deny: Sequence[Network] = ()) -> None:
        self.deny = deny
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[Connection]] = defaultdict(deque)
        self._sweeping: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Close all that are idle."""
        for waiting in self._idle.values():
            for connection in waiting:
                connection.close()
        self._idle.clear()
        if self._sweeping:
            self._sweeping.cancel()
            self._sweeping = None

    async def send(self, request: Request, tls: ssl.SSLContext | None, deadline: float) -> Answer:
        """Send a request on a kept connection or a new one.

        Raises TimeoutError at `deadline` (the loop's time), OSError, ssl.SSLError, AnswerError.
        """
        parts = urlsplit(request.url)
        origin = (parts.scheme, parts.netloc, tls)
        data = request.head().encode("utf-8") + request.body
        kept = self._take(origin)
        if kept:
            try:
                return await kept.send(data, deadline)
            except (ClosedError, ConnectionResetError, BrokenPipeError):
                # RFC 9112, 9.3.1: the server may close an idle connection just when it is used again.
                pass
        async with asyncio.timeout_at(deadline):
            connection = await self._open(origin)
        return await connection.send(data, deadline)

    def _keep(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection that has had its answer, for the next request."""
        connection.idle_since = self._loop.time()
        self._idle[origin].append(connection)
        self._sweeping = self._sweeping or self._loop.call_later(IDLE, self._sweep)

    def _take(self, origin: Origin) -> Connection | None:
        waiting = self._idle.get(origin)
        while waiting:
            connection = waiting.pop()
            if connection.usable:
                return connection
        return None

    def _sweep(self) -> None:
        """Close what was idle for too long, or was closed by its server."""
        oldest = self._loop.time() - IDLE
        for origin, waiting in list(self._idle.items()):
            while waiting and (not waiting[0].usable or waiting[0].idle_since <= oldest):
                waiting.popleft().close()
            if not waiting:
                del self._idle[origin]
        self._sweeping = self._loop.call_later(IDLE / 2, self._sweep) if self._idle else None

    async def _open(self, origin: Origin) -> Connection:
        scheme, netloc, tls = origin
        host, port = _host_and_port(scheme, netloc)
        addresses = await resolve(host, port, self.deny)
        try:
            handle = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=EYEBALLS, loop=self._loop)
        except RuntimeError as error:
            raise ConnectionError(str(error)) from None
        name = host if tls else None
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._loop, functools.partial(self._keep, origin)),
            sock=handle,
            ssl=tls,
            server_hostname=name,
        )
        return connection


async def resolve(host: str, port: int, deny: Sequence[Network]) -> list[aiohappyeyeballs.AddrInfoType]:
    """Return the addresses of a host that are not denied. Raises DeniedError where all are, OSError where there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed: list[aiohappyeyeballs.AddrInfoType] = [
        address for address in found if not is_denied(str(address[4][0]), deny)
    ]
    if not allowed:
        raise DeniedError
    return allowed


@functools.lru_cache(maxsize=256)
def _host_and_port(scheme: str, netloc: str) -> tuple[str, int]:
    parts = urlsplit(f"{scheme}://{netloc}")
    return parts.hostname or "", parts.port or {"http": 80, "https": 443}[scheme]
