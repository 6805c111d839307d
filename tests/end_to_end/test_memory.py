"""Memory stays flat over 200,000 strings, in a device of its own process."""

import asyncio
import struct
import time
from pathlib import Path

import psutil

from tests.support import Recorder, fc16, free_port, listening, peer, start

CONNECTIONS, BURST = 8, 16
WARM_UP, STRINGS = 40_000, 200_000
GROWTH = 6 * 2**20
"""Bytes that resident memory may grow between warm-up and end: the allocator's noise, 40 bytes a string would be seen."""


async def flood(address: str, target: int, rounds: int) -> None:
    answer = struct.Struct(">HHHBBHH")
    async with peer(address) as plc:
        for _ in range(rounds):
            text = f"{time.time_ns()}:{'x' * 100}"
            plc.writer.write(b"".join(plc.frame(fc16(target * 1000, text)) for _ in range(BURST)))
            raw = await plc.reader.readexactly(answer.size * BURST)
            for place in range(0, len(raw), answer.size):
                assert answer.unpack_from(raw, place)[4] == 16
            # No faster than it is delivered: what is measured is age, not a queue.
            while (await plc.inputs(target * 1000 + 8, 1))[0] > 4 * BURST:
                await asyncio.sleep(0.01)


async def many(address: str, strings: int) -> None:
    rounds = strings // (CONNECTIONS * BURST) + 1
    await asyncio.gather(*(flood(address, target, rounds) for target in range(1, CONNECTIONS + 1)))


def memory(device: psutil.Process) -> int:
    """Return the resident bytes of the device and its writer."""
    return sum(process.memory_info().rss for process in (device, *device.children()))


async def test_memory_stays_flat_over_200_000_strings(recorder: Recorder, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    targets = "".join(
        f'[targets.{n}]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"\n' for n in range(1, 9)
    )
    (tmp_path / "vdevice.toml").write_text(f'[modbus]\nlisten = "{address}"\n{targets}')
    process = await start(tmp_path / "vdevice.toml")
    try:
        await listening(address)
        async with peer(address) as plc:
            await many(address, WARM_UP)
            device = psutil.Process(process.pid)
            before, files = memory(device), device.num_fds()
            recorder.requests.clear()
            await many(address, STRINGS - WARM_UP)
            assert memory(device) - before < GROWTH
            assert device.num_fds() <= files + CONNECTIONS
            counts = await plc.inputs(2, 2)
            assert counts[1] > 0
    finally:
        process.terminate()
        assert await process.wait() == 0
    assert len(recorder.requests) >= STRINGS - WARM_UP - CONNECTIONS * 8 * BURST
