"""The HTTP server: who may come in, problems as problem+json, the page's files, and the API's routes.

Each request is held against its Host, so that no name can be rebound to this device, its Origin, and the session or token.
Left out are the two routes of health, signing in, and the page's own files, which hold no data. What changes something is
taken only with a JSON body or the header X-Vdevice, neither of which a browser sends for another site unasked.
"""

import base64
import contextlib
import hashlib
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog
from aiohttp import web

from vdevice.config import Config
from vdevice.descriptors import shares_of
from vdevice.errors import ConfigError, VdeviceError
from vdevice.web import live, metrics, openapi
from vdevice.web.asker import Asker, asker_of, origin_of
from vdevice.web.auth import EVERYBODY, LOOPBACK, Access, Who
from vdevice.web.call import ApiError, Call, Device, from_json, problems_of
from vdevice.web.connections import serving, timed, with_body
from vdevice.web.guesses import ThrottledError
from vdevice.web.routes import OWN_HEADER, ROUTES, SAFE, Route
from vdevice.web.sending import send_zip
from vdevice.web.views import Login, Problem, Session

STATIC = Path(__file__).parent / "static"
COOKIE = "vdevice"
MOST_BODY = 256 * 1024
OPEN = "no password is set, and then only this machine itself is let in; run `vdevice passwd`"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = structlog.get_logger()
WHO: web.RequestKey[Who] = web.RequestKey("who", Who)
ASKER: web.RequestKey[Asker] = web.RequestKey("asker", Asker)


class Page:
    """The page and its API for one device."""

    def __init__(self, device: Device, folder: Path) -> None:
        self._device = device
        self.access = Access(folder)
        index = (STATIC / "index.html").read_text("utf-8")
        self._index = index.encode()
        self._headers = _headers(index)
        self._live = live.Live(device)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve while the block runs; yields host:port, or nothing where the port cannot be had: strings go out all the same.

        Raises VdeviceError where the page would be open to others without a password.
        """
        listen = self._device.config.web.listen
        if listen.host not in LOOPBACK:
            await self.access.refresh()
            if self.access.is_open:
                words = "is open to others and no password is set; run `vdevice passwd`, or listen on 127.0.0.1"
                raise VdeviceError(f"web.listen: {listen} {words}")
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            async with serving(runner, listen, shares_of(self._device.config).page) as address:
                yield address
        finally:
            self._live.end()
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[timed, self._guard, with_body], client_max_size=MOST_BODY)
        add = application.router.add_route
        for route in ROUTES:
            add(route.method, f"/api/v1{route.path}", self._operation(route))
        add("GET", "/api/v1/openapi.json", self._document)
        add("GET", "/api/v1/live", self._stream)
        add("POST", "/api/v1/login", self._login)
        add("POST", "/api/v1/logout", self._logout)
        add("GET", "/metrics", self._metrics)
        add("GET", "/healthz", self._health)
        add("GET", "/readyz", self._ready)
        add("GET", "/", self._page)
        application.router.add_static("/static", STATIC)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            request[ASKER] = asker_of(request, self._device.config.web)
            self._check_host(request)
            if not _is_public(request.path):
                request[WHO] = await self._check(request)
            _check_change(request)
            response = await handler(request)
        except ApiError as error:
            response = _problem(Problem(error.title, error.status, error.detail, current=error.current))
        except ConfigError as error:
            response = _problem(Problem("the settings are not right", 422, problems=problems_of(error)))
        except VdeviceError as error:
            response = _problem(Problem(str(error), 409))
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = _problem(Problem(error.reason, error.status))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception:
            log.exception("internal error", path=request.path)
            response = _problem(Problem("internal error; the log has more", 500))
        if not response.prepared:
            response.headers.update(self._headers)
        return response

    def _check_host(self, request: web.Request) -> None:
        asker = request[ASKER]
        if not _is_ours(asker.host, self._device.config):
            raise ApiError(421, f"this device is not {asker.host}", "add the name to web.hosts")
        if request.method in SAFE and _is_public(request.path):
            return
        # A page of another port of the same name is another site, too.
        origin = request.headers.get("Origin")
        if origin is not None and origin_of(origin) != asker.origin:
            words = "behind a reverse proxy, add it to web.trusted_proxies, and let it send X-Forwarded-Host and -Proto"
            raise ApiError(403, "another site may not ask this", words)
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise ApiError(403, "another site may not ask this")

    def _who(self, request: web.Request) -> Who:
        if self.access.is_open:
            return self._everybody(request)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        who = self.access.who(request.cookies.get(COOKIE, ""), token if kind.lower() == "bearer" else "")
        if who is None:
            raise ApiError(401, "sign in first")
        return who

    def _everybody(self, request: web.Request) -> Who:
        # The file may go away while the device runs; then the others are not let in, and a proxy on this machine is another.
        if self._device.config.web.listen.host not in LOOPBACK or not request[ASKER].is_local:
            raise ApiError(403, OPEN)
        return EVERYBODY

    def _operation(self, route: Route) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            who = request[WHO]
            if route.needs == "admin" and who.role != "admin":
                raise ApiError(403, "only an admin may do this")
            body = await request.read()
            call = Call(
                self._device, self.access, who, request[ASKER].address, request.match_info, request.query, body
            )  # fmt: skip
            result = await route.handler(call)
            if route.answer is BinaryIO:
                return await send_zip(request, result, self._headers)
            return web.Response(body=msgspec.json.encode(result), content_type="application/json")

        return answer

    async def _document(self, _request: web.Request) -> web.Response:
        return web.Response(body=openapi.encoded(), content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await self._live.serve(request, self._headers, lambda: self._check(request))

    async def _check(self, request: web.Request) -> Who:
        await self.access.refresh()
        return self._who(request)

    async def _login(self, request: web.Request) -> web.Response:
        login = from_json(await request.read(), Login)
        await self.access.refresh()
        if self.access.is_open:
            everybody = self._everybody(request)
            return _signed_in(Session(everybody.name, everybody.role, open=True))
        address = request[ASKER].address
        try:
            session = await self.access.sign_in(login.name, login.password, address)
        except ThrottledError as error:
            raise ApiError(429, str(error)) from None
        who = self.access.who(session, "")
        log.info("audit", who=login.name[:64], address=address, what="signed in" if who else "wrong password")
        if who is None:
            raise ApiError(401, "name or password is wrong")
        response = _signed_in(Session(who.name, who.role, open=False))
        secure = request[ASKER].origin[0] == "https"
        response.set_cookie(COOKIE, session, httponly=True, samesite="Strict", secure=secure)
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        self.access.sign_out(request.cookies.get(COOKIE, ""))
        response = web.Response(status=204)
        response.del_cookie(COOKIE)
        return response

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(self._device), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        ready = self._device.board.healthy
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._index, content_type="text/html", charset="utf-8")


def _is_public(path: str) -> bool:
    return path in {"/", "/healthz", "/readyz", "/api/v1/login"} or path.startswith("/static/")


def _check_change(request: web.Request) -> None:
    """Refuse a change that a form of another site could send: neither JSON nor our own header. Raises ApiError."""
    json = request.content_type == "application/json"
    if request.method in SAFE or json or (OWN_HEADER in request.headers and not request.can_read_body):
        return
    raise ApiError(415, f"the body is to be application/json; without a body, send the header {OWN_HEADER}: 1")


def _is_ours(host: str, config: Config) -> bool:
    """Tell whether a Host is this device: an address cannot be rebound, a name must be known."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return host in {"localhost", socket.gethostname().lower(), *(name.lower() for name in config.web.hosts)}


def _headers(index: str) -> dict[str, str]:
    """Return the headers of each answer; the page's one inline script, its import map, is named by its hash."""
    inline = re.search(r'<script type="importmap">(.*?)</script>', index, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256((inline[1] if inline else "").encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


def _problem(problem: Problem) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(problem), status=problem.status, content_type="application/problem+json"
    )


def _signed_in(session: Session) -> web.Response:
    return web.Response(body=msgspec.json.encode(session), content_type="application/json")
