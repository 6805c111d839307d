"""Sends one request with aiohttp and returns what the answer means. The only place that opens outgoing connections."""

import asyncio
import socket
import ssl
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
from yarl import URL

from vdevice.config import Target
from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import outcome as outcomes
from vdevice.webhooks.request import Request

READ_AT_MOST = 65_536
"""Bytes of an answer that are read so that its connection can be used again; a longer answer closes it."""

REDIRECTS = 5
"""Redirects that are followed at most, with `follow_redirects`."""

# `send` bounds the whole of an attempt, redirects too.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_SKIPPED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})


class Sender:
    """One HTTP client for all targets; `async with` owns its connections."""

    def __init__(self) -> None:
        self._tls: dict[tuple[object, ...], ssl.SSLContext] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_SKIPPED,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    def forget_tls(self) -> None:
        """Read CA and client certificate files anew from the next request on."""
        self._tls.clear()

    async def send(self, target: Target, request: Request) -> Outcome:
        """Send a request once, and again at once where an idle connection was closed under it."""
        try:
            async with asyncio.timeout(target.timeout):
                try:
                    return await self._follow(target, request)
                except aiohttp.ServerDisconnectedError:
                    # RFC 9112, 9.3.1: the server may close an idle connection just when it is used again.
                    return await self._follow(target, request)
        except TimeoutError:
            return Outcome(Verdict.RETRY, ErrorCode.TIMEOUT, text=f"no answer within {target.timeout:g} s")
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            return failure(error)
        except ValueError:
            # aiohttp and yarl refuse what they cannot send; their words may hold the URL.
            return Outcome(Verdict.GIVE_UP, ErrorCode.BUILD, text="the request cannot be sent as it is")

    async def _follow(self, target: Target, request: Request) -> Outcome:
        for _ in range(REDIRECTS):
            status, location, outcome = await self._once(target, request)
            if not (target.follow_redirects and location and status in {301, 302, 303, 307, 308}):
                return outcome
            following = redirected(request, status, location)
            if following is None:
                return msgspec.structs.replace(outcome, text=f"HTTP {status}, redirect to another host not followed")
            request = following
        return Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, status, f"more than {REDIRECTS} redirects")

    async def _once(self, target: Target, request: Request) -> tuple[int, str, Outcome]:
        async with self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers,
            data=request.body if request.method != "GET" else None,
            allow_redirects=False,
            timeout=_NO_TIMEOUT,
            ssl=self._ssl(target),
            proxy=target.proxy.reveal() if target.proxy else None,
        ) as response:
            answer = await _read(response)
            outcome = outcomes.classify(target, response.status, response.headers, answer)
            return response.status, response.headers.get("Location", ""), outcome

    def _ssl(self, target: Target) -> ssl.SSLContext | bool:
        files = (target.tls_ca, target.tls_cert, target.tls_key)
        if not any(files):
            return True
        if files not in self._tls:
            context = ssl.create_default_context(cafile=str(target.tls_ca) if target.tls_ca else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if target.tls_cert:
                context.load_cert_chain(target.tls_cert, target.tls_key)
            self._tls[files] = context
        return self._tls[files]


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end, or close its connection where that is too far."""
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > READ_AT_MOST:
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
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return Outcome(Verdict.RETRY, ErrorCode.DNS, text="the name of the host is not resolved")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "not trusted"
        return Outcome(Verdict.RETRY, ErrorCode.TLS, text=f"TLS certificate: {reason}"[:200])
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Outcome(Verdict.RETRY, ErrorCode.TLS, text="TLS handshake failed")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Outcome(Verdict.RETRY, ErrorCode.CONNECT, error.status, f"the proxy answers HTTP {error.status}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Outcome(
            Verdict.RETRY, ErrorCode.CONNECT, text=f"no connection: {error.os_error.strerror or 'refused'}"[:200]
        )
    if isinstance(error, aiohttp.InvalidURL):
        return Outcome(Verdict.GIVE_UP, ErrorCode.BUILD, text="the URL cannot be sent as it is")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Outcome(Verdict.RETRY, ErrorCode.CONNECT, text="the connection was closed before an answer")
    return Outcome(Verdict.RETRY, ErrorCode.CONNECT, text=f"the answer broke off ({type(error).__name__})")
