"""Each fault in its short form: no answered string is lost, the order of each target holds."""

from pathlib import Path

import pytest

from tests.faults.hostile import table
from tests.faults.plant import Plant
from tests.faults.receiver import Receiver
from tests.faults.scenarios import FAULTS
from tests.support import fc16, peer, until

TRIES = 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_that_was_answered_is_lost(fault: str, tmp_path: Path) -> None:
    row = await FAULTS[fault](tmp_path, TRIES)
    assert row.answered > 40, "there was no load"
    assert (row.lost, row.out_of_order) == (0, 0), row


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
