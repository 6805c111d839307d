"""A log that nobody reads, whose reader left, whose disk is full, that was closed: nothing of it touches the device."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support import Recorder, fc16, free_port, listening, peer, until

VDEVICE = (sys.executable, "-m", "vdevice")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    source, sink = os.pipe()
    yield source, sink
    for descriptor in (source, sink):
        try:
            os.close(descriptor)
        except OSError:
            # The test closed it.
            continue


def configure(folder: Path, recorder: Recorder) -> str:
    address = f"127.0.0.1:{free_port()}"
    (folder / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "{address}"\n[web]\nenabled = false\n'
        f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"\n'
    )
    return address


async def write(address: str, count: int) -> None:
    """Write so many texts; each is answered."""
    await listening(address)
    async with peer(address) as plc:
        for start in range(0, count, 10):
            plc.writer.write(b"".join(plc.frame(fc16(7000, str(number))) for number in range(start, start + 10)))
            for _ in range(10):
                assert (await plc.answer())[2][0] == 16


async def delivered(address: str, recorder: Recorder, count: int) -> None:
    """Wait until so many texts arrived, and the device has logged that they did."""
    await until(lambda: len(set(recorder.bodies())) == count, 30)
    async with asyncio.timeout(30), peer(address) as plc:
        while (await plc.inputs(7008, 1))[0]:
            await asyncio.sleep(0.02)


async def started(*command: str, output: int | None = None, folder: Path | None = None) -> Process:
    return await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=output, stderr=output)


async def ended(process: Process) -> None:
    """End it in order, within the bound that a stop has."""
    process.terminate()
    async with asyncio.timeout(20):
        assert await process.wait() == 0


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_log_that_nobody_reads_stops_nothing(
    form: str, recorder: Recorder, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    address = configure(tmp_path, recorder)
    source, sink = pipe
    process = await started(*VDEVICE, "run", "--log-format", form, output=sink, folder=tmp_path)
    try:
        # Two lines each: several times what a pipe holds.
        await write(address, 2000)
        await delivered(address, recorder, 2000)
    finally:
        await ended(process)
    os.close(sink)
    kept = await asyncio.to_thread(lambda: os.read(source, 1 << 20))
    assert len(kept) > 1 << 15
    if form == "json":
        lines = [json.loads(line) for line in kept.splitlines()[:-1]]
        assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)


async def test_what_did_not_fit_is_counted_when_it_flows_again(
    recorder: Recorder, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    address = configure(tmp_path, recorder)
    source, sink = pipe
    small = "from vdevice import streams; streams.QUEUE_BYTES = 50000; from vdevice.cli import main; main()"
    process = await started(sys.executable, "-c", small, "run", output=sink, folder=tmp_path)
    os.close(sink)
    read = bytearray()
    try:
        await write(address, 2000)
        await delivered(address, recorder, 2000)
        while b"log lines dropped" not in read:
            read += await asyncio.to_thread(os.read, source, 1 << 16)
    finally:
        await ended(process)
    while data := os.read(source, 1 << 16):
        read += data
    lines = [json.loads(line) for line in read.splitlines()]
    dropped = sum(line["lines"] for line in lines if line["event"].startswith("log lines dropped"))
    accepted_or_delivered = sum(line["event"] in {"accepted", "delivered"} for line in lines)
    # "running", "stopped" and the like are what else there may be.
    assert 4000 <= accepted_or_delivered + dropped <= 4010
    assert lines[-1]["event"] == "stopped", "the end is written when somebody reads"


@pytest.mark.parametrize("stream", ["closed", "without a reader", "on a full disk"])
@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_log_that_cannot_be_written_ends_nothing(
    stream: str, form: str, recorder: Recorder, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    address = configure(tmp_path, recorder)
    command = [*VDEVICE, "run", "--log-format", form]
    if stream == "closed":
        process = await started("sh", "-c", f"exec {' '.join(command)} >&- 2>&- <&-", folder=tmp_path)
    elif stream == "on a full disk":
        process = await started("sh", "-c", f"exec {' '.join(command)} >/dev/full 2>&1", folder=tmp_path)
    else:
        process = await started(*command, output=pipe[1], folder=tmp_path)
        os.close(pipe[0])
    try:
        await write(address, 500)
        await delivered(address, recorder, 500)
    finally:
        await ended(process)


async def test_a_receiver_whose_output_nobody_reads_goes_on_answering(pipe: tuple[int, int]) -> None:
    source, sink = pipe
    process = await started(*VDEVICE, "receive", "--port", "0", output=sink)
    try:
        said = b""
        while not (found := re.search(rb"receiving on (http://\S+),", said)):
            said += await asyncio.to_thread(os.read, source, 4096)
        async with aiohttp.ClientSession() as session:
            for _ in range(100):
                async with asyncio.timeout(10), session.post(found[1].decode(), data=b"x" * 1500) as response:
                    assert response.status == 200
    finally:
        await ended(process)
