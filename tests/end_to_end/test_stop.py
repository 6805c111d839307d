"""A stop in order: what is being sent ends and is recorded, nothing else begins, and the next start sends the rest once."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.support import Recorder, answer, device, fc16, peer, until
from vdevice.outbox.jetstream.outbox import NatsOutbox

pytestmark = pytest.mark.usefixtures("outbox")
MESSAGES = [f"message {number}" for number in range(40)]


def target(recorder: Recorder, settings: str) -> str:
    return f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}"\npayload = "$VALUE"\n{settings}\n'


@pytest.mark.parametrize("settings", ["", "parallel = 4", "rate = 200", "parallel = 3\nrate = 100"])
async def test_a_busy_queue_is_delivered_once_over_a_restart(recorder: Recorder, tmp_path: Path, settings: str) -> None:
    # Far slower than the writes, so that much is left at the stop.
    recorder.delay = 0.3
    toml = target(recorder, settings)
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        for value in MESSAGES:
            assert (await plc.ask(fc16(7000, value)))[0] == 16
        await recorder.wait(5)
    assert len(recorder.requests) < len(MESSAGES), "the stop went on delivering"
    recorder.delay = 0
    async with device(toml, tmp_path) as app:
        await until(lambda: app.board.waiting == 0 and len(recorder.requests) >= len(MESSAGES))
        assert app.board.targets[7].delivered == len(MESSAGES)
    assert sorted(recorder.bodies()) == sorted(value.encode() for value in MESSAGES)


async def test_an_attempt_under_way_is_given_time_to_end(recorder: Recorder, tmp_path: Path) -> None:
    recorder.delay = 1
    async with device(target(recorder, ""), tmp_path) as app, peer(app.address) as plc:
        for value in MESSAGES[:3]:
            assert (await plc.ask(fc16(7000, value)))[0] == 16
        await recorder.wait(1)
    assert len(recorder.requests) == 1
    assert app.board.targets[7].delivered == 1


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ("rate = 0.01", 200),
        ("backoff = 60\nbackoff_max = 60", 503),
        ("parallel = 20\nbackoff = 60\nbackoff_max = 60", 503),
    ],
    ids=["a rate", "a retry", "a breaker"],
)
async def test_what_waits_does_not_hold_up_the_stop(
    recorder: Recorder, tmp_path: Path, settings: str, status: int
) -> None:
    recorder.reply = lambda _n: answer(status)
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        for value in MESSAGES:
            assert (await plc.ask(fc16(7000, value)))[0] == 16
        await recorder.wait(1)
        await until(lambda: not app.board.targets[7].sending)
        requests, stopped = len(recorder.requests), time.monotonic()
    assert time.monotonic() - stopped < 4
    assert len(recorder.requests) == requests


async def test_a_config_that_changes_during_the_stop_begins_nothing(recorder: Recorder, tmp_path: Path) -> None:
    recorder.delay = 0.5
    toml = target(recorder, "parallel = 1")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        for value in MESSAGES[:5]:
            assert (await plc.ask(fc16(7000, value)))[0] == 16
        await recorder.wait(1)
        app.dispatcher.stop()
        path = tmp_path / "vdevice.toml"
        path.write_text(path.read_text().replace("parallel = 1", "parallel = 4"))
        assert await app.reload()
        await until(lambda: app.board.targets[7].delivered == 1)
        await asyncio.sleep(0.1)
    assert len(recorder.requests) == 1


async def test_every_message_that_ended_during_the_stop_is_known_as_ended(recorder: Recorder, tmp_path: Path) -> None:
    recorder.delay = 0.5
    async with device(target(recorder, "parallel = 20"), tmp_path) as app, peer(app.address) as plc:
        for value in MESSAGES[:20]:
            assert (await plc.ask(fc16(7000, value)))[0] == 16
        await recorder.wait(20)
    assert app.board.targets[7].delivered == 20
    if isinstance(app.outbox, NatsOutbox):
        # An acknowledgement that is lost brings a message again; it is sent twice unless its sequence is kept.
        assert len(app.outbox._results.of(7).ended_last) == 20
