"""The writer of the outbox stands still, as on a disk that hangs: 04 in time, health shows it, and a stop is a stop."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil

from tests.support import Peer, fc16, free_port, listening, peer, start, until

ANSWER_TIMEOUT = 1.0


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    address, page = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    config = folder / "vdevice.toml"
    config.write_text(
        f'[modbus]\nlisten = "{address}"\nanswer_timeout = {ANSWER_TIMEOUT}\n[web]\nlisten = "{page}"\n'
        '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'
    )
    process = await start(config)
    try:
        await listening(address)
        yield process, address, f"http://{page}/readyz"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def writer_of(process: asyncio.subprocess.Process) -> psutil.Process:
    (writer,) = psutil.Process(process.pid).children()
    return writer


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


async def write(plc: Peer, text: str) -> tuple[bytes, float]:
    asked = time.monotonic()
    response = await plc.ask(fc16(7000, text))
    return response, time.monotonic() - asked


async def test_a_hanging_writer_is_04_in_time_and_replaced(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, address, ready), peer(address) as plc:
        assert (await write(plc, "before"))[0][0] == 16
        assert await status(ready) == 200
        hanging = writer_of(process)
        hanging.suspend()
        response, seconds = await write(plc, "meanwhile")
        assert response == b"\x90\x04"
        # What this machine adds is not the device's; it has a tenth of the time in hand.
        assert seconds < ANSWER_TIMEOUT + 1
        assert await status(ready) == 503
        assert (await plc.inputs(6, 1))[0] & 0b10, "status registers are served, and say so"
        async with asyncio.timeout(15):
            while (await write(plc, "after"))[0][0] != 16:
                await asyncio.sleep(0.05)
        assert await status(ready) == 200
        assert writer_of(process).pid != hanging.pid
        assert "its writer has not answered for" in (tmp_path / "vdevice.log").read_text()


async def test_a_stop_does_not_wait_for_a_hanging_writer(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, address, _ready), peer(address) as plc:
        assert (await write(plc, "before"))[0][0] == 16
        hanging = writer_of(process)
        hanging.suspend()
        plc.writer.write(plc.frame(fc16(7000, "under way")))
        asked = time.monotonic()
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert time.monotonic() - asked < 12
        assert (await plc.answer())[2] == b"\x90\x04", "what was received is answered"
        await until(lambda: not hanging.is_running())
