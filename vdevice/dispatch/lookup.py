"""Looks names up: one look-up of a name at a time, however many wait for it.

The system's resolver takes a thread for each look-up and keeps it for as long as the name server hangs, also when nobody
waits any more. A target that tries again and again would take all threads from the others.
"""

import asyncio
import socket
from typing import Any

Found = list[tuple[Any, ...]]
"""What `getaddrinfo` returns."""

_under_way: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[Found]] = {}


async def look_up(host: str, port: int) -> Found:
    """Return the addresses of a host. Raises OSError; ValueError for what is no host name."""
    loop = asyncio.get_running_loop()
    key = (loop, host, port)
    task = _under_way.get(key)
    if task is None:
        task = _under_way[key] = loop.create_task(_ask(loop, host, port))
        task.add_done_callback(lambda ended: _end(key, ended))
    # Who waits no more leaves it to the next one.
    return await asyncio.shield(task)


async def _ask(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Found:
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _end(key: tuple[asyncio.AbstractEventLoop, str, int], ended: asyncio.Task[Found]) -> None:
    del _under_way[key]
    if not ended.cancelled():
        # An error that nobody waited for is none.
        ended.exception()
