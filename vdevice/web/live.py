"""What a page sees as it happens: server-sent events with the rows that changed, a few times a second."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import ClientConnectionResetError, web
from aiohttp_sse import EventSourceResponse

from vdevice.errors import VdeviceError
from vdevice.web.call import ApiError, Device
from vdevice.web.targets import state_of
from vdevice.web.views import TargetRow

TICK = 0.25
"""Seconds between two looks at the board; however much happens in between, a page gets each row once."""

MOST = 50
"""Pages that watch at once."""


class Live:
    """The streams of one device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._ended = asyncio.Event()
        self._count = 0

    def end(self) -> None:
        """End all streams."""
        self._ended.set()

    async def serve(
        self, request: web.Request, headers: Mapping[str, str], check: Callable[[], Awaitable[object]]
    ) -> web.StreamResponse:
        """Send what changes until the page leaves, or `check` says that it may not watch any more."""
        if self._count >= MOST:
            raise ApiError(503, f"{MOST} pages are watching; close one")
        self._count += 1
        stream = EventSourceResponse(headers=dict(headers))
        try:
            # A browser that leaves resets the connection, which is no error. A session that ended ends the stream: its head is
            # long out, so that there is no other answer any more.
            with contextlib.suppress(ClientConnectionResetError, ConnectionResetError, ApiError, VdeviceError):
                await stream.prepare(request)
                async with stream:
                    seen: dict[int, TargetRow] = {}
                    while stream.is_connected() and not self._ended.is_set():
                        await check()
                        state = state_of(self._device)
                        changed = [row for row in state.targets if seen.get(row.number) != row]
                        seen.update({row.number: row for row in changed})
                        data = {"device": state.device, "targets": changed}
                        await stream.send(msgspec.json.encode(data).decode(), event="state")
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(TICK):
                                await self._ended.wait()
        finally:
            self._count -= 1
        return stream
