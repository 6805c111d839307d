"""Sends one request and returns what the answer means. The only place that opens outgoing connections.

Through a proxy aiohttp sends; else our own connections do, which cost a fifth of its CPU (docs/decisions/0004).
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
from yarl import URL

from vdevice.config import Target
from vdevice.config.schema import Network
from vdevice.dispatch.connections import ClosedError, Connections
from vdevice.dispatch.egress import DeniedError
from vdevice.dispatch.http1 import MOST_BODY, AnswerError
from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import outcome as outcomes
from vdevice.webhooks.request import Request

REDIRECTS = 5
"""Redirects that are followed at most, with `follow_redirects`."""

# `send` bounds the whole of an attempt, redirects too.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_SKIPPED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})


UNSENDABLE = Outcome(Verdict.GIVE_UP, ErrorCode.BUILD, text="the request cannot be sent as it is")

Answered = tuple[Mapping[str, str], Outcome]
"""Headers and outcome of one answer."""


class Sender:
    """The HTTP client of all targets; `async with` owns its connections."""

    def __init__(self, deny: Sequence[Network] = ()) -> None:
        self._deny = deny
        self._tls: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._connections = Connections(self._deny)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._connections.close()
        if self._session:
            await self._session.close()

    def apply(self, deny: Sequence[Network]) -> None:
        """Deny these networks, and read CA and client certificate files anew, from the next request on."""
        self._tls.clear()
        self._connections.deny = deny
        self._connections.close()

    async def send(self, target: Target, request: Request) -> Outcome:
        """Send a request once; returns the outcome, also of what goes wrong on the way."""
        return (await self.answer(target, request))[1]

    async def answer(self, target: Target, request: Request) -> Answered:
        """Send a request once, as `send` does; returns the headers of the answer, too."""
        deadline = self._loop.time() + target.timeout
        try:
            if target.follow_redirects:
                return await self._follow(target, request, deadline)
            return await self._once(target, request, deadline)
        except TimeoutError:
            return {}, Outcome(Verdict.RETRY, ErrorCode.TIMEOUT, text=f"no answer within {target.timeout:g} s")
        except aiohttp.InvalidURL:
            return {}, UNSENDABLE
        except (aiohttp.ClientError, OSError, AnswerError) as error:
            return {}, failure(error)
        except ValueError:
            # aiohttp refuses what it cannot send; its words may hold the URL.
            return {}, UNSENDABLE

    async def _follow(self, target: Target, request: Request, deadline: float) -> Answered:
        for _ in range(REDIRECTS + 1):
            headers, outcome = await self._once(target, request, deadline)
            status, location = outcome.http_status, headers.get("location", "")
            if not location or status not in {301, 302, 303, 307, 308}:
                return headers, outcome
            following = redirected(request, status, location)
            if following is None:
                words = f"HTTP {status}, redirect to another host not followed"
                return headers, msgspec.structs.replace(outcome, text=words)
            request = following
        return headers, Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, status, f"more than {REDIRECTS} redirects")

    async def _once(self, target: Target, request: Request, deadline: float) -> Answered:
        tls = self._context(target) if request.url.startswith("https:") else None
        if target.proxy:
            async with asyncio.timeout_at(deadline):
                return await self._through_proxy(target, request, tls, target.proxy.reveal())
        answer = await self._connections.send(request, tls, deadline)
        outcome = outcomes.classify(target, answer.status, answer.headers, answer.body)
        return answer.headers, outcome

    async def _through_proxy(
        self, target: Target, request: Request, tls: ssl.SSLContext | None, proxy: str
    ) -> Answered:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=_SKIPPED,
            )
        async with self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers,
            data=request.body if request.method != "GET" else None,
            allow_redirects=False,
            timeout=_NO_TIMEOUT,
            ssl=tls or True,
            proxy=proxy,
        ) as response:
            outcome = outcomes.classify(target, response.status, response.headers, await _read(response))
            return response.headers, outcome

    def _context(self, target: Target) -> ssl.SSLContext:
        files = (target.tls_ca, target.tls_cert, target.tls_key)
        if files not in self._tls:
            self._tls[files] = tls_context(target)
        return self._tls[files]


def tls_context(target: Target) -> ssl.SSLContext:
    """Return how TLS is spoken with a target: version 1.2 or newer, certificates checked. Raises OSError for a file."""
    context = ssl.create_default_context(cafile=str(target.tls_ca) if target.tls_ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if target.tls_cert:
        context.load_cert_chain(target.tls_cert, target.tls_key)
    return context


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end, or close its connection where that is too far."""
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > MOST_BODY:
            response.close()
            break
    return bytes(answer)


def redirected(request: Request, status: int, location: str) -> Request | None:
    """Return the request that a redirect asks for (RFC 9110, 15.4), or None where it leads to another host."""
    url = urljoin(request.url, location).partition("#")[0]
    if urlsplit(url)[:2] != urlsplit(request.url)[:2]:
        return None
    if status in {307, 308} or request.method == "GET":
        return msgspec.structs.replace(request, url=url)
    headers = [(name, value) for name, value in request.headers if name not in {"Content-Type", "Content-Length"}]
    return Request("GET", url, headers)


def failure(error: Exception) -> Outcome:
    """Return what it means that no answer came; the text holds no address and no URL."""
    match error:
        case DeniedError():
            text = "every address of the host is in a network that delivery.deny_networks denies"
            return Outcome(Verdict.GIVE_UP, ErrorCode.CONNECT, text=text)
        case socket.gaierror() | aiohttp.ClientConnectorDNSError():
            code, text = ErrorCode.DNS, "the name of the host is not resolved"
        case aiohttp.ClientConnectorCertificateError():
            code, text = ErrorCode.TLS, f"TLS certificate: {_words(error.certificate_error)}"
        case ssl.SSLCertVerificationError():
            code, text = ErrorCode.TLS, f"TLS certificate: {_words(error)}"
        case ssl.SSLError() | aiohttp.ClientSSLError():
            code, text = ErrorCode.TLS, "TLS handshake failed"
        case aiohttp.ClientHttpProxyError():
            code, text = ErrorCode.CONNECT, f"the proxy answers HTTP {error.status}"
        case AnswerError():
            code, text = ErrorCode.CONNECT, str(error)
        case ClosedError() | aiohttp.ServerDisconnectedError():
            code, text = ErrorCode.CONNECT, "the connection was closed before an answer"
        case OSError():
            # The error's own words may hold addresses.
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            code, text = ErrorCode.CONNECT, f"no connection: {reason}"
        case _:
            code, text = ErrorCode.CONNECT, f"the request failed ({type(error).__name__})"
    return Outcome(Verdict.RETRY, code, text=text[:200])


def _words(error: Exception) -> str:
    return str(getattr(error, "verify_message", "")) or "not trusted"
