"""Texts as controllers write them that nobody has set up yet, or that nobody can set up better."""

import asyncio
import struct
from pathlib import Path

import pytest
import structlog

from tests.support import Recorder, answer, device, fc16, peer, until
from vdevice.modbus import unstored
from vdevice.registers.text import Coding, encode

pytestmark = pytest.mark.usefixtures("outbox")


def target(recorder: Recorder, settings: str, number: int = 7) -> str:
    return f'[targets.{number}]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"\n{settings}\n'


def fc06(address: int, data: bytes) -> bytes:
    return struct.pack(">BH", 6, address) + data


async def test_every_idle_text_that_was_answered_arrives(recorder: Recorder, tmp_path: Path) -> None:
    settings = 'completion = "idle"\nidle_ms = 20'
    texts = [f"text {number:02}" for number in range(40)]
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        for text in texts:
            assert (await plc.ask(fc16(7000, text)))[0] == 16
            await asyncio.sleep(0.025)
        await until(lambda: app.board.targets[7].delivered == len(texts))
        assert app.board.targets[7].refused == 0
    assert recorder.bodies() == [text.encode() for text in texts]


async def test_idle_texts_that_find_no_room_wait_and_above_the_bound_get_06(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "MOST_UNSTORED", 2)
    settings = 'completion = "idle"\nidle_ms = 10\nbackoff = 0.1\nbackoff_max = 0.1'
    recorder.reply = lambda _n: answer(503)
    async with (
        device("[outbox]\nmax_messages = 1\n" + target(recorder, settings), tmp_path) as app,
        peer(app.address) as plc,
    ):
        answered = []
        for number in range(8):
            text = f"text {number}"
            pdu = await plc.ask(fc16(7000, text))
            assert pdu[0] == 16 or pdu == b"\x90\x06"
            if pdu[0] == 16:
                answered.append(text.encode())
            await until(lambda: not len(app.unit.writes.texts._staging))
            await until(lambda: app.board.targets[7].accepted == 1)
        assert answered == [b"text 0", b"text 1", b"text 2"]
        recorder.reply = lambda _n: answer(200)
        await until(lambda: app.board.targets[7].delivered == 3)
    assert list(dict.fromkeys(recorder.bodies())) == answered


async def test_texts_that_are_thrown_away_are_counted_and_logged(recorder: Recorder, tmp_path: Path) -> None:
    settings = 'completion = "content"\nstaging_timeout = 0.1'
    with structlog.testing.capture_logs() as lines:
        async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
            assert (await plc.ask(fc16(7000, "half a")))[0] == 16
            assert (await plc.ask(fc16(7000, "another half")))[0] == 16
            await until(lambda: app.board.targets[7].refused == 2)
            assert app.board.targets[7].accepted == 0
    thrown = [line for line in lines if line["event"] == "text thrown away"]
    assert [(line["target"], line["client"]) for line in thrown] == [(7, "127.0.0.1")]
    assert thrown[0]["reason"] == "a new text began before this one was complete"


@pytest.mark.parametrize("completion", ["content", "commit"])
async def test_two_connections_of_one_address_do_not_mix(recorder: Recorder, tmp_path: Path, completion: str) -> None:
    toml = target(recorder, f'completion = "{completion}"')
    async with device(toml, tmp_path) as app, peer(app.address) as one, peer(app.address) as two:
        await one.ask(fc16(7000, "one "))
        await two.ask(fc16(7000, "two "))
        for plc, name in ((two, "TWO\0"), (one, "ONE\0")):
            assert (await plc.ask(fc16(7002, name)))[0] == 16
            if completion == "commit":
                assert (await plc.ask(fc06(7900, b"\0\0")))[0] == 6
        await until(lambda: app.board.targets[7].delivered == 2)
    assert recorder.bodies() == [b"two TWO", b"one ONE"]


async def test_a_client_with_a_connection_for_each_write_goes_on(recorder: Recorder, tmp_path: Path) -> None:
    async with device(target(recorder, 'completion = "content"'), tmp_path) as app:
        for _ in range(3):
            for offset, part in ((0, "in three"), (4, " parts, "), (8, "each\0")):
                async with peer(app.address) as plc:
                    assert (await plc.ask(fc16(7000 + offset, part)))[0] == 16
        await until(lambda: app.board.targets[7].delivered == 3)
    assert recorder.bodies() == [b"in three parts, each"] * 3


async def test_a_scada_tag_that_is_filled_to_its_last_character_arrives(recorder: Recorder, tmp_path: Path) -> None:
    settings = 'completion = "content"\nregisters = 10'
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        for text in ("filled to the end...", "not filled"):
            data = text.encode().ljust(20, b"\0")
            assert (await plc.ask(fc16(7000, data[:12])))[0] == 16
            assert (await plc.ask(fc16(7006, data[12:])))[0] == 16
        await until(lambda: app.board.targets[7].delivered == 2)
    assert recorder.bodies() == [b"filled to the end...", b"not filled"]


async def test_blanks_line_breaks_and_empty_texts_are_left_out_where_wanted(recorder: Recorder, tmp_path: Path) -> None:
    async with (
        device(target(recorder, "trim = true\nignore_empty = true") + target(recorder, "", 8), tmp_path) as app,
        peer(app.address) as plc,
    ):
        for block in (7000, 8000):
            for text in ("alarm \r\n", " \n\r ", "\0", " in the middle\n too "):
                assert (await plc.ask(fc16(block, text)))[0] == 16
        await until(lambda: app.board.waiting == 0)
        assert (app.board.targets[7].accepted, app.board.targets[8].accepted) == (2, 4)
    assert sorted(recorder.bodies()) == sorted(
        [b"alarm", b" in the middle\n too", b"alarm \r\n", b" \n\r ", b"", b" in the middle\n too "]
    )


async def test_a_utf8_character_that_the_write_cut_is_dropped_and_logged(recorder: Recorder, tmp_path: Path) -> None:
    text = ("Temperatur im Kessel: 840 °C. " * 9).encode()
    end = text.rindex("°".encode(), 0, 240) + 1
    with structlog.testing.capture_logs() as lines:
        async with device(target(recorder, ""), tmp_path) as app, peer(app.address) as plc:
            assert (await plc.ask(fc16(7000, text[end % 2 : end])))[0] == 16
            assert await plc.ask(fc16(7000, "abc\xc3".encode("latin-1") + b"\0\0")) == b"\x90\x03"
            await until(lambda: app.board.targets[7].delivered == 1)
            assert app.board.targets[7].refused == 1
    assert recorder.bodies() == [text[end % 2 : end - 1]]
    assert [line["event"] for line in lines if line["event"] in {"text cut", "not text"}] == ["text cut", "not text"]


async def test_an_answer_to_an_idle_text_is_followed_by_its_message_at_a_stop(
    recorder: Recorder, tmp_path: Path
) -> None:
    settings = 'completion = "idle"\nidle_ms = 60000'
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "before the end")))[0] == 16
    recorder.reply = lambda _n: answer(200)
    async with device(target(recorder, settings), tmp_path) as app:
        await until(lambda: app.board.targets[7].delivered == 1)
    assert recorder.bodies() == [b"before the end"]


@pytest.mark.parametrize("completion", ["request", "content", "idle"])
async def test_one_character_in_each_register_is_refused_with_the_setting_that_reads_it(
    recorder: Recorder, tmp_path: Path, completion: str
) -> None:
    registers = "Pumpe aus".encode("utf-16-be")
    with structlog.testing.capture_logs() as lines:
        async with (
            device(target(recorder, f'completion = "{completion}"'), tmp_path) as app,
            peer(app.address) as plc,
        ):
            for _ in range(20):
                pdu = await plc.ask(fc16(7000, registers))
                # In mode idle it is seen when the text is complete, and each of these but the last is thrown away.
                assert pdu == b"\x90\x03" or completion == "idle"
            await until(lambda: app.board.targets[7].refused >= 20)
            assert app.board.targets[7].accepted == 0
    told = [line for line in lines if line["event"] == "not text"]
    assert len(told) == 1
    assert told[0]["try"] == 'encoding = "utf-16-be"'
    assert "begins with a NUL" in told[0]["reason"]


async def test_a_text_that_other_settings_read_better_is_told_once(recorder: Recorder, tmp_path: Path) -> None:
    swapped = Coding("little")
    with structlog.testing.capture_logs() as lines:
        async with device(target(recorder, ""), tmp_path) as app, peer(app.address) as plc:
            for number in range(5):
                await plc.ask(fc16(7000, encode(f"Kessel {number}: Temperatur zu hoch", swapped)))
                await plc.ask(fc16(7000, f"Kessel {number}: Temperatur zu hoch"))
            await until(lambda: app.board.targets[7].delivered == 10)
    told = [line for line in lines if line["event"] == "text garbled"]
    assert [line["try"] for line in told] == ['byte_order = "little"']
