"""Work that may wait for ever, like reading a file on a dead network mount or a named pipe, away from the event loop.

Each piece of work has a thread of its own, and is waited for so many seconds only. A thread that hangs cannot be ended; it
is left behind, holds up no other work, and is not waited for when the process ends. While it hangs, work at the same place
is refused at once, but for a try now and then: a mount that was made anew does not wake up who hangs on the old one.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from vdevice.errors import StalledError

T = TypeVar("T")

AGAIN_SECONDS = 30.0
"""Until a place at which a thread hangs is tried once more."""

MOST_LEFT = 8
"""Threads that may hang at one place; then only the end of one of them makes room."""

_left: dict[str, list[tuple[float, threading.Thread]]] = {}
"""Threads that were left behind and when, by the place where they hang."""


async def in_thread(place: str, seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises; `place` says in words what is looked at: "vdevice.toml".

    Raises StalledError after so many seconds, and at once while earlier work at this place hangs.
    """
    _check(place)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        if not ended.done():
            result()

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is waited for)
            failed = error
            _tell(loop, settle, lambda: ended.set_exception(failed))
        else:
            _tell(loop, settle, lambda: ended.set_result(value))

    thread = threading.Thread(target=run, name=place, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise StalledError(f"{place}: no thread can be started; see the limits of processes and memory") from None
    try:
        await asyncio.wait({ended}, timeout=seconds)
    except asyncio.CancelledError:
        # It need not hang; the next one may try at once.
        _left.setdefault(place, []).append((-math.inf, thread))
        ended.cancel()
        raise
    if ended.done():
        return ended.result()
    _left.setdefault(place, []).append((time.monotonic(), thread))
    ended.cancel()
    raise StalledError(f"{place} does not answer within {seconds:g} s; see the disk or mount it is on")


def _check(place: str) -> None:
    hanging = [(at, thread) for at, thread in _left.pop(place, []) if thread.is_alive()]
    if hanging:
        _left[place] = hanging
    if hanging and (len(hanging) >= MOST_LEFT or time.monotonic() - hanging[-1][0] < AGAIN_SECONDS):
        raise StalledError(f"{place} still hangs; see the disk or mount it is on")


def _tell(
    loop: asyncio.AbstractEventLoop, settle: Callable[[Callable[[], None]], None], result: Callable[[], None]
) -> None:
    try:
        loop.call_soon_threadsafe(settle, result)
    except RuntimeError:
        # The loop was closed meanwhile: nobody waits any more.
        return
