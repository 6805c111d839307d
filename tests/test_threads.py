"""Work in threads: what hangs is waited for so long, holds up nothing else, and is not begun again and again."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from vdevice.errors import StalledError
from vdevice.threads import in_thread


async def test_results_and_errors_come_back() -> None:
    assert await in_thread("a sum", 5, lambda: 1 + 1) == 2
    with pytest.raises(FileNotFoundError):
        await in_thread("a file", 5, Path("/nowhere/at all").read_bytes)


async def test_what_hangs_is_left_behind_and_holds_up_nothing_else(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = threading.active_count()
    with pytest.raises(StalledError, match=r"the pipe does not answer within 0.05 s"):
        await in_thread("the pipe", 0.05, pipe.read_bytes)
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(StalledError, match="still hangs"):
            await in_thread("the pipe", 60, pipe.read_bytes)
    assert time.monotonic() - started < 30
    assert threading.active_count() == before + 1, "one thread, however often it is asked"
    assert await in_thread("another place", 5, lambda: "goes on") == "goes on"
    # Somebody writes it: it is asked again.
    pipe.write_bytes(b"late")
    async with asyncio.timeout(10):
        while threading.active_count() > before:
            await asyncio.sleep(0.01)
    assert await in_thread("the pipe", 5, lambda: "mended") == "mended"


async def test_who_is_cancelled_does_not_wait_for_the_thread(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    task = asyncio.create_task(in_thread("a pipe", 60, pipe.read_bytes))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pipe.write_bytes(b"")
