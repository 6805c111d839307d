"""What an operator does to a message that waits for its next attempt holds for that attempt."""

import asyncio
from pathlib import Path

import pytest

from tests.support import Recorder, answer, device, fc16, peer, until, with_given
from vdevice.app import App
from vdevice.model import EventState
from vdevice.outbox.api import open_letters

pytestmark = pytest.mark.usefixtures("outbox")


def target(recorder: Recorder, settings: str = "") -> str:
    return f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}"\npayload = "$VALUE"\n{settings}\n'


def discard_waiting(app: App, value: str) -> int:
    with open_letters(app.config) as letters:
        return letters.discard([row for row in letters.select([EventState.WAITING]) if row["value"] == value])


async def test_a_message_that_was_discarded_while_it_waited_for_its_retry_is_not_sent(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.reply = lambda n: answer(200) if n else answer(503, Retry_After="2")
    async with device(target(recorder, "backoff = 2"), tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "wrong")))[0] == 16
        await until(lambda: app.board.targets[7].retrying == 1)
        assert await asyncio.to_thread(discard_waiting, app, "wrong") == 1
        assert (await plc.ask(fc16(7000, "right")))[0] == 16
        await until(lambda: app.board.targets[7].delivered == 1)
        assert app.board.targets[7].discarded == 1
    assert recorder.bodies() == [b"wrong", b"right"]


async def test_the_next_message_does_not_wait_for_the_retry_of_a_discarded_one(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.reply = lambda n: answer(200) if n else answer(503, Retry_After="3600")
    async with device(target(recorder, "backoff_max = 3600"), tmp_path) as app, peer(app.address) as plc:
        for value in ("wrong", "right"):
            assert (await plc.ask(fc16(7000, value)))[0] == 16
        await until(lambda: app.board.targets[7].retrying == 1)
        assert await asyncio.to_thread(discard_waiting, app, "wrong") == 1
        await until(lambda: app.board.targets[7].delivered == 1)
    assert recorder.bodies() == [b"wrong", b"right"]


async def test_a_message_that_was_discarded_while_its_target_was_paused_is_not_sent(
    recorder: Recorder, tmp_path: Path
) -> None:
    def pause(*, paused: bool) -> None:
        with open_letters(app.config) as letters:
            letters.pause(7, paused=paused)

    recorder.reply = lambda _n: answer(503)
    async with device(target(recorder, "backoff = 1\nattempts = 1000"), tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "wrong")))[0] == 16
        await until(lambda: app.board.targets[7].retrying == 1)
        await asyncio.to_thread(lambda: pause(paused=True))
        await until(lambda: app.board.targets[7].paused and not app.board.targets[7].sending)
        recorder.reply = lambda _n: answer(200)
        assert (await plc.ask(fc16(7000, "right")))[0] == 16
        before = len(recorder.requests)
        assert await asyncio.to_thread(discard_waiting, app, "wrong") == 1
        await asyncio.to_thread(lambda: pause(paused=False))
        await until(lambda: app.board.targets[7].delivered == 1)
    assert recorder.bodies()[before:] == [b"right"]


async def test_a_message_whose_attempt_was_under_way_when_its_target_was_removed_is_recorded(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.delay = 0.5
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "a")))[0] == 16
        await recorder.wait(1)
        path = tmp_path / "vdevice.toml"
        on = path.read_text()
        path.write_text(with_given('[modbus]\nlisten = "127.0.0.1:0"\n[web]\nenabled = false\n'))
        assert await app.reload()
        path.write_text(on)
        assert await app.reload()
        await until(lambda: app.board.targets[7].queued == 0)
        assert app.board.targets[7].delivered == 1
        assert (await plc.ask(fc16(7000, "b")))[0] == 16
        await until(lambda: app.board.targets[7].delivered == 2)
    assert recorder.bodies() == [b"a", b"b"]
