"""Sends one request and returns what the response means. The only place that opens outgoing connections."""

import asyncio
import errno
import ssl
from collections.abc import Mapping
from typing import Self

import msgspec

from vdevice.config import Target
from vdevice.config.schema import Delivery
from vdevice.dispatch import redirects
from vdevice.dispatch.connection import ClosedError
from vdevice.dispatch.connections import Connections, UnsendableError
from vdevice.dispatch.content_coding import decoded
from vdevice.dispatch.failure import CertificateFileError, failure
from vdevice.dispatch.http1 import MOST_BODY, Response, ResponseError
from vdevice.dispatch.proxy import ProxyError
from vdevice.errors import StalledError
from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.threads import in_thread
from vdevice.webhooks import outcome as outcomes
from vdevice.webhooks.request import Request

UNSENDABLE = Outcome(Verdict.GIVE_UP, ErrorCode.BUILD, text="the request cannot be sent as it is")

Answered = tuple[Mapping[str, str], Outcome]
"""Headers, with names in lower case, and outcome of one response."""


class Sender:
    """The HTTP client of all targets; `async with` owns its connections."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._tls: dict[tuple[object, ...], ssl.SSLContext] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._connections = Connections(self._delivery.deny_networks)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._connections.close()

    def apply(self, delivery: Delivery) -> None:
        """Go where this allows, and read CA and client certificate files anew, from the next request on."""
        self._delivery = delivery
        # A new one: what is being read at this moment goes into the old one.
        self._tls = {}
        self._connections.apply(delivery.deny_networks)

    async def send(self, target: Target, request: Request) -> Outcome:
        """Send a request once; returns the outcome, also of what goes wrong on the way."""
        return (await self.answer(target, request))[1]

    async def answer(self, target: Target, request: Request) -> Answered:
        """Send a request once, as `send` does; returns the headers of the response, too."""
        deadline = self._loop.time() + target.timeout
        answered = await self._once(target, request, deadline)
        return await self._follow(target, request, deadline, answered) if _is_redirect(*answered) else answered

    async def _follow(self, target: Target, request: Request, deadline: float, answered: Answered) -> Answered:
        """Go where redirects lead, as far as that is wanted and allowed; the reason says where that is."""
        accepted, left, leads = False, redirects.MOST, ""
        while _is_redirect(*answered):
            headers, outcome = answered
            accepted = accepted or outcome.http_status == 303
            leads = redirects.shown(target, request.url, headers["location"])
            try:
                request = self._next(target, request, answered, left)
            except redirects.RedirectError as error:
                text = f"HTTP {outcome.http_status} redirects to {leads}: not followed, {error}"
                answered, leads = (headers, msgspec.structs.replace(outcome, text=text)), ""
                break
            answered = await self._once(target, request, deadline)
            left -= 1
        headers, outcome = answered
        if outcome.verdict is Verdict.DELIVERED:
            return answered
        text = f"{outcome.text} (redirected to {leads})" if leads else outcome.text
        if accepted:
            # The server has taken the message: sending it again would deliver it twice.
            text = f"HTTP 303: the message was accepted; its result: {text}"
            outcome = msgspec.structs.replace(outcome, verdict=Verdict.GIVE_UP, retry_after=None)
        return headers, msgspec.structs.replace(outcome, text=text)

    def _next(self, target: Target, request: Request, answered: Answered, left: int) -> Request:
        """Return the request that a redirect asks for. Raises RedirectError."""
        if not target.follow_redirects:
            raise redirects.RedirectError("follow_redirects is off")
        if not left:
            raise redirects.RedirectError(f"{redirects.MOST} were before it")
        headers, outcome = answered
        allow = self._delivery.allow_hosts
        return redirects.redirected(target, request, outcome.http_status, headers["location"], allow)

    async def _once(self, target: Target, request: Request, deadline: float) -> Answered:
        """Send a request once, and follow nothing; whatever goes wrong is an outcome, too."""
        tls = None
        try:
            tls = await self._context(target, deadline) if request.url.startswith("https:") else None
            if target.proxy:
                response = await self._connections.send_through(target.proxy.reveal(), request, tls, deadline)
            else:
                response = await self._connections.send(request, tls, deadline)
        except TimeoutError:
            return {}, Outcome(Verdict.RETRY, ErrorCode.TIMEOUT, text=f"no response within {target.timeout:g} s")
        except StalledError as error:
            return {}, Outcome(Verdict.RETRY, ErrorCode.TLS, text=str(error))
        except UnsendableError:
            return {}, UNSENDABLE
        except ClosedError as error:
            outcome = failure(error)
            if tls and error.is_new and target.tls_cert is None:
                # In TLS 1.3 the server refuses after the handshake, and the loop keeps its alert to itself.
                text = f"{outcome.text}; perhaps the server wants a client certificate (tls_cert)"
                outcome = msgspec.structs.replace(outcome, text=text)
            return {}, outcome
        except (OSError, ResponseError, ProxyError) as error:
            return {}, failure(error)
        return response.headers, judged(target, response)

    async def _context(self, target: Target, deadline: float) -> ssl.SSLContext:
        """Return how TLS is spoken with a target; its files are read off the loop, as a disk may hang."""
        files, known = (target.tls_ca, target.tls_cert, target.tls_key), self._tls
        if files not in known:
            seconds = max(deadline - self._loop.time(), 0)
            known[files] = await in_thread(f"a TLS file of {target.name}", seconds, lambda: tls_context(target))
        return known[files]


def _is_redirect(headers: Mapping[str, str], outcome: Outcome) -> bool:
    is_one = outcome.http_status in redirects.STATUSES and outcome.verdict is not Verdict.DELIVERED
    return is_one and bool(headers.get("location"))


def judged(target: Target, response: Response) -> Outcome:
    """Return the outcome of a response, with a note on what was wrong with it."""
    body, note, coding = response.body, response.note, response.headers.get("content-encoding")
    if coding:
        body, undecoded = decoded(body, coding, MOST_BODY)
        note = note or undecoded
    outcome = outcomes.classify(target, response.status, response.headers, body, is_whole=not note)
    if not note:
        return outcome
    return msgspec.structs.replace(outcome, text=f"{outcome.text}; {note}" if outcome.text else note)


def tls_context(target: Target) -> ssl.SSLContext:
    """Return how TLS is spoken with a target: 1.2 or newer, certificates checked. Raises CertificateFileError."""
    try:
        for file in (target.tls_ca, target.tls_cert, target.tls_key):
            if file and not file.is_file():
                raise FileNotFoundError(errno.ENOENT, f"{file.name} is not there, or is not a regular file")
        context = ssl.create_default_context(cafile=str(target.tls_ca) if target.tls_ca else None)
        if target.tls_cert:
            context.load_cert_chain(target.tls_cert, target.tls_key)
    except OSError as error:
        raise CertificateFileError(str(error)) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server that speaks HTTP/2 only says so in the handshake.
    context.set_alpn_protocols(["http/1.1"])
    return context
