"""Text from outside that cannot be encoded, wherever it enters a running device."""

from pathlib import Path

import pytest

from tests.support import Recorder, answer, device, fc16, peer, until

pytestmark = pytest.mark.usefixtures("outbox")


@pytest.mark.parametrize("method", ["post-raw", "slack", "teams", "mattermost"])
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_no_response_stops_the_outbox(recorder: Recorder, tmp_path: Path, method: str, status: int) -> None:
    recorder.reply = lambda n: answer(status, r'{"message":"\ud800","error":"\udcff"}') if n == 0 else answer(200, "ok")
    target = f'method = "{method}"\npayload = "$VALUE"\nattempts = 1'
    toml = f'[targets.7]\n{target}\nurl = "{recorder.url}/7"\n[targets.8]\n{target}\nurl = "{recorder.url}/8"\n'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "first")))[0] == 16
        await until(lambda: app.board.targets[7].failed + app.board.targets[7].delivered == 1)
        for block in (7000, 8000):
            assert (await plc.ask(fc16(block, "next")))[0] == 16
        await until(lambda: len(recorder.requests) == 3)
        await until(lambda: app.board.waiting == 0)
        status_words = bytes(byte for word in await plc.inputs(7016, 32) for byte in divmod(word, 256))
        assert status_words.isascii()
