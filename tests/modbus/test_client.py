from pathlib import Path

from tests.support import device
from vdevice.modbus.client import connect

TOML = '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'


async def test_with_65536_waiting_the_counters_are_equal_and_it_is_not_done(tmp_path: Path) -> None:
    async with device(TOML, tmp_path) as app:
        host, _, port = app.address.rpartition(":")
        state = app.board.targets[7]
        state.accepted = 65_536
        async with connect(host, int(port)) as client:
            status = await client.target(7)
            assert status["accepted_seq"] == status["finished_seq"]
            assert await client.wait(7, 0.1) is None
            state.delivered = 65_536
            done = await client.wait(7, 5)
            assert done is not None
            assert done["queued"] == 0
        state.accepted = state.delivered = 0
