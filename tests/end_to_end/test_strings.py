"""Strings of any length and format, as controllers write them, over real sockets."""

import struct
from pathlib import Path

import pytest

from tests.support import Peer, Recorder, device, fc16, peer, until
from vdevice.app import App
from vdevice.registers import text
from vdevice.registers.text import Coding

pytestmark = pytest.mark.usefixtures("outbox")

_BEGIN = ("Kessel 3: 840 °C, Brenner aus. " * 60).encode()[:1790].decode("utf-8", "ignore")
LONG = _BEGIN + "!" * (1800 - len(_BEGIN.encode()))


def target(recorder: Recorder, settings: str, number: int = 7) -> str:
    return f'[targets.{number}]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"\n{settings}\n'


def fc06(address: int, data: bytes) -> bytes:
    return struct.pack(">BH", 6, address) + data


async def write(plc: Peer, *pdus: bytes) -> None:
    """Write, sixteen requests at a time; each is answered well."""
    for start in range(0, len(pdus), 16):
        part = pdus[start : start + 16]
        plc.writer.write(b"".join(plc.frame(pdu) for pdu in part))
        for pdu in part:
            answer = (await plc.answer())[2]
            assert answer == pdu[:5], answer


async def idle(app: App, number: int = 7) -> None:
    state = app.board.targets[number]
    await until(lambda: state.queued == 0 and not state.sending)


def by(size: int, data: bytes, block: int = 7000) -> list[bytes]:
    return [fc16(block + start // 2, data[start : start + 2 * size]) for start in range(0, len(data), 2 * size)]


def test_the_long_text_fills_all_registers() -> None:
    assert len(LONG.encode()) == 1800
    assert len(LONG) < 1800


async def test_1800_bytes_by_fc06_alone(recorder: Recorder, tmp_path: Path) -> None:
    data = LONG.encode()
    async with device(target(recorder, 'completion = "content"'), tmp_path) as app, peer(app.address) as plc:
        await write(plc, *(fc06(7000 + n, data[2 * n : 2 * n + 2]) for n in range(900)))
        await idle(app)
        assert app.board.targets[7].accepted == 1
    assert recorder.bodies() == [data]


@pytest.mark.parametrize(("count", "first", "stored"), [(230, b"\xfe\xe6", [0, 1]), (150, b"\xfe\x96", [1, 1])])
async def test_the_two_writes_of_the_example_for_plcs(
    recorder: Recorder, tmp_path: Path, count: int, first: bytes, stored: list[int]
) -> None:
    memory = (first + b"x" * count).ljust(256, b"\0")
    settings = 'format = "s7-string"\ncompletion = "content"'
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        for pdu, accepted in zip((fc16(7000, memory[:200]), fc16(7100, memory[200:])), stored, strict=True):
            await write(plc, pdu)
            assert app.board.targets[7].accepted == accepted
        await idle(app)
    assert recorder.bodies() == [b"x" * count]


async def test_1800_bytes_by_fc16_of_32_registers(recorder: Recorder, tmp_path: Path) -> None:
    data = LONG.encode()
    async with device(target(recorder, 'completion = "content"'), tmp_path) as app, peer(app.address) as plc:
        await write(plc, *by(32, data))
        await write(plc, *by(32, b"short and ended by NUL\0\0"))
        await idle(app)
    assert recorder.bodies() == [data, b"short and ended by NUL"]


@pytest.mark.parametrize("length", [1800, 0])
async def test_1800_bytes_by_fc16_of_123_registers_and_a_commit(
    recorder: Recorder, tmp_path: Path, length: int
) -> None:
    data = LONG.encode()
    settings = 'completion = "commit"\nbyte_order = "little"'
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        await write(plc, *reversed(by(123, text.swap_bytes(data))))
        assert app.board.targets[7].accepted == 0
        assert await plc.ask(struct.pack(">BHH", 6, 7900, 1801)) == b"\x86\x03"
        await write(plc, struct.pack(">BHH", 6, 7900, length))
        assert await plc.ask(struct.pack(">BHH", 6, 7900, 0)) == b"\x86\x03"
        await idle(app)
    assert recorder.bodies() == [data]


async def test_an_s7_string_of_254_by_two_fc16(recorder: Recorder, tmp_path: Path) -> None:
    settings = 'format = "s7-string"\ncompletion = "content"\nencoding = "cp1252"'
    words = "Störung an Förderband 7: " + "x" * 200 + " Ende"
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        for text_ in (words, "kurz"):
            memory = text.encode(text_, Coding(format="s7-string", encoding="cp1252")).ljust(256, b"\0")
            await write(plc, *by(100, memory))
        await idle(app)
    assert recorder.bodies() == [words.encode(), b"kurz"]


async def test_a_rockwell_string(recorder: Recorder, tmp_path: Path) -> None:
    settings = 'format = "length32"\nword_order = "little"\nbyte_order = "little"\ncompletion = "content"'
    data = struct.pack("<I", 12) + b"Pump 4 is on".ljust(82, b"\0")
    registers = b"".join(struct.pack(">H", *struct.unpack("<H", data[n : n + 2])) for n in range(0, len(data), 2))
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        await write(plc, fc16(7000, registers))
        await idle(app)
    assert recorder.bodies() == [b"Pump 4 is on"]


async def test_an_idle_string_is_stored_when_its_writer_is_silent(recorder: Recorder, tmp_path: Path) -> None:
    settings = 'completion = "idle"\nidle_ms = 150'
    async with device(target(recorder, settings), tmp_path) as app, peer(app.address) as plc:
        await write(plc, *by(2, b"in three pieces!"))
        assert app.board.targets[7].accepted == 0
        await until(lambda: app.board.targets[7].accepted == 1)
        await write(plc, *by(2, b"and at the end!!"))
    async with device(target(recorder, settings), tmp_path) as app:
        await idle(app)
    assert recorder.bodies() == [b"in three pieces!", b"and at the end!!"]


async def test_an_idle_string_that_cannot_be_stored_is_tried_again(recorder: Recorder, tmp_path: Path) -> None:
    toml = "[outbox]\nmax_messages = 1\n" + target(recorder, 'completion = "idle"\nidle_ms = 30\nbackoff = 0.1')
    recorder.reply = lambda _n: b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, fc16(7000, "first"))
        await until(lambda: app.board.targets[7].accepted == 1)
        await write(plc, fc16(7000, "second"))
        await until(lambda: bool(app.unit.writes._unstored))
        recorder.reply = lambda _n: b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"
        await until(lambda: app.board.targets[7].delivered == 2)
    assert list(dict.fromkeys(recorder.bodies())) == [b"first", b"second"]


@pytest.mark.parametrize(
    ("completion", "pdu", "code"),
    [
        ("content", fc16(7001, "ab"), 2),
        ("idle", fc16(7899, "ab"), 2),
        ("content", fc16(7899, "abcd"), 2),
        ("commit", fc16(7899, "abcd"), 2),
        ("commit", fc16(7900, "abcd"), 2),
        ("commit", struct.pack(">BHH", 6, 7901, 1), 2),
        ("commit", struct.pack(">BHH", 6, 7900, 1), 3),
        ("content", struct.pack(">BHH", 6, 7900, 1), 2),
        ("idle", struct.pack(">BHH", 6, 7900, 1), 2),
        ("request", struct.pack(">BHH", 6, 7900, 1), 2),
        ("request", fc16(7001, "ab"), 2),
        ("content", fc16(7000, b"\xff\xfe\0\0"), 3),
        ("commit", struct.pack(">BHH", 3, 7900, 1), 2),
    ],
)
async def test_refusals(recorder: Recorder, tmp_path: Path, completion: str, pdu: bytes, code: int) -> None:
    async with device(target(recorder, f'completion = "{completion}"'), tmp_path) as app, peer(app.address) as plc:
        assert await plc.ask(pdu) == bytes((pdu[0] | 0x80, code))
        assert app.board.targets[7].accepted == 0


async def test_a_completing_write_that_gets_06_may_be_written_again(recorder: Recorder, tmp_path: Path) -> None:
    toml = "[outbox]\nmax_messages = 1\n" + target(recorder, 'completion = "content"\nbackoff = 0.1')
    recorder.reply = lambda _n: b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, fc16(7000, "first\0"))
        await write(plc, fc16(7000, "second"))
        assert await plc.ask(fc16(7003, "!\0")) == b"\x90\x06"
        recorder.reply = lambda _n: b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"
        await idle(app)
        await write(plc, fc16(7003, "!\0"))
        await idle(app)
    assert list(dict.fromkeys(recorder.bodies())) == [b"first", b"second!"]


async def test_the_cyclic_writer_is_delivered_once_also_after_a_restart(recorder: Recorder, tmp_path: Path) -> None:
    toml = target(recorder, 'trigger = "change"\ncompletion = "content"')
    for _ in range(2):
        async with device(toml, tmp_path) as app, peer(app.address) as plc:
            await write(plc, *by(4, b"the same text in every cycle\0\0") * 1000)
            await idle(app)
            assert app.board.targets[7].accepted == 1
    assert recorder.bodies() == [b"the same text in every cycle"]
