"""Outgoing HTTP/1.1 connections that are kept and used again: the sender's way to the wire.

docs/decisions/0004 has the figures for why aiohttp does not send.
"""

import asyncio
import functools
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import aiohappyeyeballs
import structlog

from vdevice.config.schema import Network
from vdevice.dispatch.connection import IDLE, Connection
from vdevice.dispatch.egress import DeniedError, is_denied
from vdevice.dispatch.http1 import Response
from vdevice.dispatch.lookup import look_up
from vdevice.dispatch.proxy import forwarded, parsed, tunnel
from vdevice.webhooks.request import Request

T = TypeVar("T")
EYEBALLS = 0.25
"""Seconds until the next address of a name is tried beside one that does not answer (RFC 8305)."""

MOST_LATE = 1_000
"""Places that are remembered for responding twice; redirects may lead to any number."""

log = structlog.get_logger()

Origin = tuple[str, str, ssl.SSLContext | None]
"""Scheme, host and port as in the URL, and how to speak TLS."""


class UnsendableError(Exception):
    """A request that cannot be written: its URL or its head cannot be encoded."""


class HandshakeError(ConnectionError):
    """The server closed the connection during the TLS handshake, without a word."""


class Connections:
    """All connections that wait for their next request, by where they lead to; none leads into a network of `deny`."""

    def __init__(self, deny: Sequence[Network] = ()) -> None:
        self._deny = deny
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[Connection]] = defaultdict(deque)
        self._sweeping: asyncio.TimerHandle | None = None
        self._late: set[Origin] = set()

    def apply(self, deny: Sequence[Network]) -> None:
        """Deny these networks from the next request on: no connection from before carries another one."""
        self.close()
        self._deny = deny
        self._late.clear()

    def close(self) -> None:
        """Close all that are idle now, and the others as soon as they have their response."""
        for waiting in self._idle.values():
            for connection in waiting:
                connection.close()
        # Connections with a request under way come back to the table that they were opened for.
        self._idle = defaultdict(deque)
        if self._sweeping:
            self._sweeping.cancel()
            self._sweeping = None

    async def send(self, request: Request, tls: ssl.SSLContext | None, deadline: float) -> Response:
        """Send a request once, on a kept connection or a new one.

        Raises TimeoutError at `deadline` (the loop's time), OSError, ssl.SSLError, ResponseError, UnsendableError.
        """
        parts, data = _sendable(lambda: (urlsplit(request.url), request.head().encode() + request.body))
        origin = (parts.scheme, parts.netloc, tls)
        connection = self._take(origin)
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await self._open(origin)
        return await connection.send(data, deadline)

    async def send_through(
        self, proxy_url: str, request: Request, tls: ssl.SSLContext | None, deadline: float
    ) -> Response:
        """Send a request once through an HTTP proxy, on a connection of its own; raises what `send` does, and ProxyError.

        Nothing is denied here: the proxy resolves the name.
        """
        proxy = _sendable(lambda: parsed(proxy_url))
        if tls is None:
            data = _sendable(lambda: forwarded(request, proxy))
        else:
            data = _sendable(lambda: request.head().encode() + request.body)
        async with asyncio.timeout_at(deadline):
            handle = await connected(await resolve(proxy.host, proxy.port, ()), ())
            try:
                parts = urlsplit(request.url)
                host, port = _host_and_port(parts.scheme, parts.netloc)
                if tls is not None:
                    await tunnel(handle, proxy, host, port)
                connection = await self._shake(handle, host, tls, Connection.close, lambda: None)
            except BaseException:
                handle.close()
                raise
        return await connection.send(data, deadline)

    def _keep(self, idle: dict[Origin, deque[Connection]], origin: Origin, connection: Connection) -> None:
        """Keep a connection that has had its response, for the next request."""
        if idle is not self._idle or (self._late and origin in self._late):
            connection.close()
            return
        idle[origin].append(connection)
        self._sweeping = self._sweeping or self._loop.call_later(IDLE, self._sweep)

    def _on_late(self, origin: Origin) -> None:
        """Let nobody use a connection to this place again: behind one response came another, which a next one would get."""
        if origin not in self._late and len(self._late) < MOST_LATE:
            self._late.add(origin)
            log.warning(
                "the server, or a proxy before it, sends more than one response: its connections are not kept",
                host=origin[1],
            )
        for connection in self._idle.pop(origin, ()):
            connection.close()

    def _take(self, origin: Origin) -> Connection | None:
        """Return a kept connection on which nothing has come since its last response."""
        while waiting := self._idle.get(origin):
            connection = waiting.pop()
            if connection.is_quiet() and self._loop.time() < connection.keep_until:
                return connection
            connection.close()
        return None

    def _sweep(self) -> None:
        """Close what was idle for too long, or was closed by its server."""
        now = self._loop.time()
        for origin, waiting in list(self._idle.items()):
            for connection in list(waiting):
                if not connection.usable or connection.keep_until <= now:
                    waiting.remove(connection)
                    connection.close()
            if not waiting:
                del self._idle[origin]
        self._sweeping = self._loop.call_later(IDLE / 2, self._sweep) if self._idle else None

    async def _open(self, origin: Origin) -> Connection:
        scheme, netloc, tls = origin
        host, port = _host_and_port(scheme, netloc)
        handle = await connected(await resolve(host, port, self._deny), self._deny)
        keep, on_late = functools.partial(self._keep, self._idle, origin), functools.partial(self._on_late, origin)
        return await self._shake(handle, host, tls, keep, on_late)

    async def _shake(
        self,
        handle: socket.socket,
        host: str,
        tls: ssl.SSLContext | None,
        keep: Callable[[Connection], None],
        on_late: Callable[[], None],
    ) -> Connection:
        """Return the connection over a connected socket, its TLS shaken where there is one."""
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, handle, keep, on_late),
                sock=handle,
                ssl=tls,
                server_hostname=host if tls else None,
            )
        except ConnectionError as error:
            # It was connected: what fails now is the handshake.
            raise HandshakeError(str(error)) from None
        try:
            # Other networks may have been denied meanwhile.
            denied = is_denied(str(handle.getpeername()[0]), self._deny)
        except OSError:
            connection.close()
            raise
        if denied:
            connection.close()
            raise DeniedError
        return connection


def _sendable(write: Callable[[], T]) -> T:
    """Return what is written. Raises UnsendableError, as the words of what went wrong may hold the URL."""
    try:
        return write()
    except ValueError:
        raise UnsendableError from None


async def resolve(host: str, port: int, deny: Sequence[Network]) -> list[aiohappyeyeballs.AddrInfoType]:
    """Return the addresses of a host that are not denied. Raises DeniedError where all are, OSError where there are none."""
    try:
        found = await look_up(host, port)
    except ValueError:
        # A name that no name server can be asked for: a label above 63 bytes, a NUL.
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    allowed: list[aiohappyeyeballs.AddrInfoType] = [
        address for address in found if not is_denied(str(address[4][0]), deny)
    ]
    if not allowed:
        raise DeniedError
    return allowed


async def connected(addresses: Sequence[aiohappyeyeballs.AddrInfoType], deny: Sequence[Network]) -> socket.socket:
    """Return a socket that is connected to the first of the addresses that can be reached. Raises OSError.

    What it is connected to is looked at once more: a kernel may connect to another address than it was asked for.
    """
    loop = asyncio.get_running_loop()
    try:
        handle = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=EYEBALLS, loop=loop)
    except RuntimeError as error:
        raise ConnectionError(str(error)) from None
    try:
        peer = str(handle.getpeername()[0])
    except OSError:
        handle.close()
        raise
    if is_denied(peer, deny):
        handle.close()
        raise DeniedError
    return handle


@functools.lru_cache(maxsize=256)
def _host_and_port(scheme: str, netloc: str) -> tuple[str, int]:
    parts = urlsplit(f"{scheme}://{netloc}")
    return parts.hostname or "", parts.port or {"http": 80, "https": 443}[scheme]
