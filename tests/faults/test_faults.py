"""Each fault in its short form: no answered string is lost, the order of each target holds."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.faults.hostile import table
from tests.faults.plant import Plant
from tests.faults.receiver import Receiver
from tests.faults.scenarios import FAULTS
from tests.support import fc16, free_port, peer, until

TRIES = 2
REPEATS_NOTHING = {"restart_in_order", "stop_busy_targets"}


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_that_was_answered_is_lost(fault: str, tmp_path: Path) -> None:
    row = await FAULTS[fault](tmp_path, TRIES)
    assert row.answered > 40, "there was no load"
    assert (row.lost, row.out_of_order) == (0, 0), row
    if fault in REPEATS_NOTHING:
        assert row.repeated == 0, row


@pytest.mark.parametrize("mode", ["429 with seconds", "429 with a date"])
async def test_retry_after_is_obeyed(mode: str, tmp_path: Path) -> None:
    async with Receiver().serve() as receiver, Receiver().serve() as good:
        receiver.mode = mode
        plant = Plant(tmp_path, good)
        more = table(9, mode, receiver.port).replace("backoff_max = 0.5", "backoff_max = 60")
        plant.config.write_text(f"{plant.config.read_text()}\n{more}")
        async with plant.running(), peer(plant.address) as plc:
            assert (await plc.ask(fc16(9000, "x")))[0] == 16
            await until(lambda: receiver.asked == 2)
            receiver.mode = "well"
            await until(lambda: receiver.arrived == ["x"])
        # backoff alone would have asked again and again within the second.
        assert receiver.asked == 3


READ_ONLY = """
mount -t tmpfs none disk
$VDEVICE run & device=$!
until $VDEVICE send 7 waits >/dev/null 2>&1; do sleep 0.1; done
kill $device; wait $device
mount -o remount,ro disk
$VDEVICE run; echo "exit $?"
mount -o remount,rw disk
$VDEVICE outbox list --state waiting
"""


async def test_a_read_only_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "127.0.0.1:{free_port()}"\n[web]\nenabled = false\n[outbox]\nurl = "sqlite:///disk/o.db"\n'
        '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'
    )
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY),
        cwd=tmp_path,
        env={**os.environ, "VDEVICE": f"{sys.executable} -m vdevice"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said = (await process.communicate())[0].decode()
    assert "Read-only file system" in said
    assert "Traceback" not in said
    assert "exit 1" in said
    assert "waits" in said.partition("exit 1")[2]
