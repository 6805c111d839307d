"""What grows too old makes room at once, however long the pause of its target is."""

from pathlib import Path

from tests.support import Recorder, answer, device, fc16, peer, until

STRINGS = 30


async def test_strings_that_grew_too_old_do_not_wait_for_the_breaker(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    toml = (
        f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}"\npayload = "$VALUE"\n'
        "backoff = 0.05\nbackoff_max = 3600\nattempts = 1\nmax_age = 1\n"
    )
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        state = app.board.targets[7]
        # Five failures, and the breaker makes its pauses.
        for number in range(5):
            assert (await plc.ask(fc16(7000, str(number))))[0] == 16
        await until(lambda: state.failed == 5)
        app.dispatcher._lanes[7]._breaker.not_before += 3600
        for number in range(STRINGS):
            assert (await plc.ask(fc16(7000, str(number))))[0] == 16
        await until(lambda: state.failed == 5 + STRINGS, 20)
        assert "max_age" in state.error_text
    assert len(recorder.requests) == 5
