"""The way through an HTTP proxy: a request line with the whole URL (RFC 9112, 3.2.2), or a tunnel for TLS (RFC 9110, 9.3.6)."""

import asyncio
import base64
import functools
import socket
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from vdevice.dispatch.http1 import MOST_HEAD, ResponseError
from vdevice.dispatch.repair import HeadRepair
from vdevice.webhooks.request import Request


class ProxyError(Exception):
    """The proxy makes no tunnel; the text says why."""


class Proxy(NamedTuple):
    """Where a proxy is, and what its requests carry: a header line, or nothing."""

    host: str
    port: int
    authorization: str


@functools.lru_cache(maxsize=64)
def parsed(url: str) -> Proxy:
    """Return the proxy that a URL names: `http://user:password@host:port`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        authorization = ""
    else:
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        authorization = f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}\r\n"
    return Proxy(parts.hostname or "", parts.port or 80, authorization)


def forwarded(request: Request, proxy: Proxy) -> bytes:
    """Return a request to http:// as a proxy takes it, on a connection that carries no other. Raises UnicodeEncodeError."""
    parts = urlsplit(request.url)
    method, _, rest = request.head().partition(" ")
    line, _, headers = rest.partition("\r\n")
    head = f"{method} {parts.scheme}://{parts.netloc}{line}\r\n{proxy.authorization}Connection: close\r\n{headers}"
    return head.encode() + request.body


async def tunnel(handle: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Let a proxy connect a socket to a host. Raises ProxyError, OSError, ResponseError."""
    loop = asyncio.get_running_loop()
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await loop.sock_sendall(handle, f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{proxy.authorization}\r\n".encode())
    head, size, passed = HeadRepair(), 0, b""
    while not passed:
        data = await loop.sock_recv(handle, MOST_HEAD)
        size += len(data)
        if not data or size > MOST_HEAD:
            if not head.status:
                raise ResponseError("the proxy closed the connection before a response")
            break
        passed = head.feed(data)
    if not head.status:
        raise ResponseError("the proxy does not speak HTTP")
    if not 200 <= head.status < 300:
        raise ProxyError(f"the proxy answers HTTP {head.status}")
    if not passed.endswith(b"\r\n\r\n"):
        raise ResponseError("the proxy broke its response off, or sent something behind it")
