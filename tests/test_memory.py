"""A limit of memory: the device runs within it, or says in a sentence why it cannot."""

import asyncio
import contextlib
import sys
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Recorder, fc16, free_port, listening, peer
from vdevice import memory

MIB = memory.MIB


async def limited(folder: Path, mebibytes: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("prlimit", f"--as={mebibytes * MIB}", sys.executable, "-m", "vdevice", "run"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.parametrize("mebibytes", [128, 200, 600])
async def test_the_device_runs_within_a_limit_of_memory(mebibytes: int, recorder: Recorder, tmp_path: Path) -> None:
    modbus, page = (f"127.0.0.1:{free_port()}" for _ in range(2))
    named = recorder.url.replace("127.0.0.1", "localhost")
    (tmp_path / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "{modbus}"\n[web]\nlisten = "{page}"\n'
        f'[targets.7]\nmethod = "post-raw"\nurl = "{named}"\npayload = "$VALUE"\n'
    )
    process = await limited(tmp_path, mebibytes)
    try:
        await listening(modbus)
        async with peer(modbus) as plc:
            assert (await plc.ask(fc16(7000, "within")))[0] == 16
        await recorder.wait(1)
        assert recorder.bodies() == [b"within"]
        async with aiohttp.ClientSession() as client, client.get(f"http://{page}/readyz") as found:
            assert found.status == 200
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        said = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    assert process.returncode == 0, said
    assert "Traceback" not in said


async def test_too_little_memory_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "vdevice.toml").write_text('[modbus]\nlisten = "127.0.0.1:0"\n[web]\nenabled = false\n')
    process = await limited(tmp_path, 100)
    said = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    assert process.returncode == 1, said
    assert "the limit of memory is 100 MiB" in said
    assert "Traceback" not in said


@given(st.integers(1, 1 << 36))
def test_threads_of_look_ups_leave_most_of_the_memory(most: int) -> None:
    found = memory.threads(64, most)
    assert memory.FEWEST <= found <= 64
    assert found == memory.FEWEST or found * memory.LIBUV_STACK <= (most - memory.OWN) // 2


def test_without_a_limit_every_target_has_its_look_up() -> None:
    assert memory.threads(64, None) == 64
    assert memory.threads(64, 1 << 31) == 64
