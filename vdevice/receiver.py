"""A receiver that answers 200 to every request and hands on what came: for `vdevice receive` and the demo."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
from aiohttp import web

from vdevice.errors import VdeviceError

BODY_SHOWN = 2000


class Received(msgspec.Struct, frozen=True):
    """One request as it came."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def text(self) -> str:
        """Return the request as a person reads it."""
        body = self.body.decode("utf-8", "backslashreplace")
        shown = body if len(body) <= BODY_SHOWN else f"{body[:BODY_SHOWN]}… ({len(self.body)} bytes)"
        return "\n".join([f"{self.method} {self.path}", *(f"{n}: {v}" for n, v in self.headers), "", shown]).rstrip()


@contextlib.asynccontextmanager
async def serve(host: str, port: int, on_request: Callable[[Received], None]) -> AsyncIterator[str]:
    """Receive while the block runs; gives the base URL. Raises VdeviceError where the port cannot be had."""

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        on_request(Received(request.method, request.path_qs, list(request.headers.items()), body))
        return web.Response(text="ok")

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise VdeviceError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from None
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await asyncio.shield(runner.cleanup())
