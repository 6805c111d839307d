"""The Modbus wire against a real device: each row of the exception table, order, limits, disconnects."""

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import Peer, Recorder, device, fc16, peer, until
from vdevice.app import App
from vdevice.outbox.sqlite import SqliteOutbox

OTHERS = """
[targets.8]
method = "get"
url = "http://127.0.0.1:9/"
enabled = false
[targets.9]
method = "get"
url = "http://127.0.0.1:9/"
encoding = "ascii"
attempts = 1
"""


def read(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address, count)


@pytest_asyncio.fixture
async def app(recorder: Recorder, tmp_path: Path) -> AsyncIterator[App]:
    toml = f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"\n{OTHERS}'
    async with device(toml, tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def plc(app: App) -> AsyncIterator[Peer]:
    async with peer(app.address) as connected:
        yield connected


EXCEPTIONS = {
    "function 08": (b"\x08\x00\x00\x12\x34", 1),
    "function 24": (b"\x18\x00\x00", 1),
    "function 43/13": (b"\x2b\x0d\x00", 1),
    "function 128": (b"\x80\x00", 1),
    "function 0": (b"\x00", 1),
    "quantity 0": (read(3, 0, 0), 3),
    "quantity 126": (read(4, 0, 126), 3),
    "quantity 2001": (read(1, 0, 2001), 3),
    "truncated read": (b"\x03\x00\x00\x00", 3),
    "read too long": (read(3, 0, 1) + b"\x00", 3),
    "coil value 0x1234": (b"\x05\x00\x00\x12\x34", 3),
    "1969 coils": (struct.pack(">BHHB", 15, 0, 1969, 247) + bytes(247), 3),
    "coils with a wrong byte count": (struct.pack(">BHHB", 15, 0, 9, 1) + b"\xff", 3),
    "124 registers": (struct.pack(">BHHB", 16, 7000, 124, 248 % 256) + bytes(246), 3),
    "registers with a wrong byte count": (struct.pack(">BHHB", 16, 7000, 2, 3) + bytes(3), 3),
    "registers with missing bytes": (struct.pack(">BHHB", 16, 7000, 2, 4) + bytes(3), 3),
    "23 with 122 written": (struct.pack(">BHHHHB", 23, 0, 1, 7000, 122, 244) + bytes(243), 3),
    "23 with 126 read": (struct.pack(">BHHHHB", 23, 0, 126, 7000, 1, 2) + bytes(2), 3),
    "quantity before address": (read(3, 65000, 0), 3),
    "text that is not text": (fc16(7000, b"\xff\xfe"), 3),
    "read of text": (read(3, 7000, 1), 2),
    "read of the commit register": (read(3, 7900, 1), 2),
    "write of the commit register": (fc16(7900, b"\0\0"), 2),
    "read of a reserved register": (read(3, 7901, 1), 2),
    "read across the mirror's start": (read(3, 7949, 2), 2),
    "read across the mirror's end": (read(3, 7999, 2), 2),
    "read across the points' end": (read(3, 899, 2), 2),
    "write of status": (fc16(7950, b"ab"), 2),
    "write across the points' end": (fc16(899, b"abcd"), 2),
    "write inside the text": (fc16(7001, b"ab"), 2),
    "write to a target without a config": (fc16(10_000, b"ab"), 2),
    "write behind the last target": (fc16(65_000, b"ab"), 2),
    "06 to a target without a config": (b"\x06\x27\x10\x41\x42", 2),
    "coil 900": (read(1, 900, 1), 2),
    "discrete input 400": (read(2, 399, 2), 2),
    "mask of text": (b"\x16\x1b\x58\x00\x00\x48\x69", 2),
    "mask of status": (b"\x16\x03\xb6\x00\x00\x48\x69", 2),
    "mask of the last target's block end": (b"\x16\xff\xff\x00\x00\x48\x69", 2),
    "mask that is cut": (b"\x16\x00\x00\x00\x00\x48", 3),
    "124 registers, as their clients send them": (struct.pack(">BHHB", 16, 7000, 124, 248) + bytes(248), 3),
    "the longest frame that is read": (b"\x10" + bytes(510), 3),
    "an unknown function that is too long": (b"\x08" + bytes(300), 3),
    "input register of block 65": (read(4, 64_999, 2), 2),
    "23 that reads text": (struct.pack(">BHHHHB", 23, 7000, 1, 7000, 1, 2) + b"no", 2),
    "23 that writes status": (struct.pack(">BHHHHB", 23, 7950, 1, 7950, 1, 2) + b"no", 2),
    "write to a disabled target": (fc16(8000, b"ab"), 4),
    "not text before disabled": (fc16(8000, b"\xff\xff"), 3),
}


@pytest.mark.parametrize(("pdu", "code"), EXCEPTIONS.values(), ids=EXCEPTIONS.keys())
async def test_exception(plc: Peer, app: App, recorder: Recorder, pdu: bytes, code: int) -> None:
    assert await plc.ask(pdu) == bytes((pdu[0] | 0x80, code))
    assert app.board.waiting == 0
    assert sum(state.accepted for state in app.board.targets.values()) == 0
    assert recorder.requests == []


@pytest.mark.parametrize(("unit", "answered"), [(0, True), (1, True), (255, True), (2, False), (247, False)])
async def test_unit_ids(plc: Peer, unit: int, answered: bool) -> None:  # noqa: FBT001
    reply = await plc.ask(read(4, 0, 1), unit)
    assert reply == (b"\x04\x02\x00\x02" if answered else b"\x84\x0b")


async def test_points_are_read_back_as_they_were_written(plc: Peer) -> None:
    assert await plc.ask(b"\x05\x00\x03\xff\x00") == b"\x05\x00\x03\xff\x00"
    assert await plc.ask(b"\x0f\x00\x08\x00\x03\x01\x05") == b"\x0f\x00\x08\x00\x03"
    assert await plc.ask(read(1, 0, 11)) == b"\x01\x02\x08\x05"
    assert await plc.ask(b"\x06\x00\x10\x12\x34") == b"\x06\x00\x10\x12\x34"
    assert await plc.ask(fc16(17, b"\xab\xcd")) == b"\x10\x00\x11\x00\x01"
    assert await plc.ask(read(3, 16, 2)) == b"\x03\x04\x12\x34\xab\xcd"
    both = struct.pack(">BHHHHB", 23, 16, 2, 16, 1, 2) + b"\x56\x78"
    assert await plc.ask(both) == b"\x17\x04\x56\x78\xab\xcd"


async def test_identity_and_server_id(plc: Peer) -> None:
    basic = await plc.ask(b"\x2b\x0e\x01\x00")
    assert basic[:7] == b"\x2b\x0e\x01\x83\x00\x00\x03"
    assert b"vdevice" in basic
    regular = await plc.ask(b"\x2b\x0e\x02\x00")
    assert b"http" not in regular
    assert (await plc.ask(b"\x2b\x0e\x04\x00"))[7:] == b"\x00\x07vdevice"
    assert await plc.ask(b"\x2b\x0e\x04\x70") == b"\xab\x02"
    assert await plc.ask(b"\x2b\x0e\x04\x03") == b"\xab\x02"
    assert await plc.ask(b"\x2b\x0e\x05\x00") == b"\xab\x03"
    server_id = await plc.ask(b"\x11")
    # One byte of id, then the run indicator, then text: uModbus, pymodbus and libmodbus take it apart like that.
    assert server_id[:4] == bytes((17, len(server_id) - 2, 1, 0xFF))
    assert server_id[4:].startswith(b"vdevice ")


async def test_the_identity_names_an_address_where_one_is_set(tmp_path: Path) -> None:
    url = "https://example.com/plant/7"
    async with device(f'[device]\nurl = "{url}"', tmp_path) as app, peer(app.address) as plc:
        assert url.encode() in await plc.ask(b"\x2b\x0e\x02\x00")
        assert (await plc.ask(b"\x2b\x0e\x04\x03")).endswith(bytes((3, len(url))) + url.encode())


async def test_input_registers_and_discrete_inputs_are_read_in_blocks_across_gaps(plc: Peer) -> None:
    # Ignition's spanGaps, Geo SCADA and Scada-LTS read like this.
    assert (await plc.inputs(7000, 125))[:2] == [1, 0]
    assert await plc.inputs(7050, 125) == [0] * 125
    across = await plc.inputs(7950, 100)
    assert across[:50] == [0] * 50
    assert across[50] == 6
    assert await plc.inputs(64_950, 50) == [0] * 50
    bits = await plc.ask(read(2, 0, 400))
    assert bits[1] == 50
    assert [number for number in range(400) if bits[2 + number // 8] >> number % 8 & 1] == [0, 207, 209]


async def test_some_bits_of_a_register_are_written(plc: Peer) -> None:
    assert await plc.ask(b"\x06\x00\x04\x00\x12") == b"\x06\x00\x04\x00\x12"
    mask = b"\x16\x00\x04\x00\xf2\x00\x25"
    assert await plc.ask(mask) == mask
    assert await plc.ask(read(3, 4, 1)) == b"\x03\x02\x00\x17"


async def test_a_client_that_writes_a_register_too_many_keeps_its_connection(plc: Peer, app: App) -> None:
    for length in (248, 400, 504):
        long = struct.pack(">BHHB", 16, 7000, length // 2, length & 0xFF) + bytes(length)
        plc.writer.write(plc.frame(long) + plc.frame(read(4, 0, 1)))
        assert (await plc.answer())[2] == b"\x90\x03"
        assert (await plc.answer())[2] == b"\x04\x02\x00\x02"
    assert app.board.targets[7].accepted == 0


SERIAL = {
    "RTU, read of two": bytes.fromhex("010300000002C40B"),
    "RTU, read of ten": bytes.fromhex("01030000000AC5CD"),
    "RTU, text": bytes.fromhex("01101B58000204486921009629"),
    "ASCII": b":010300000001FB\r\n",
}


@pytest.mark.parametrize("data", SERIAL.values(), ids=SERIAL.keys())
async def test_a_gateway_that_sends_serial_frames_is_told_in_the_log(
    plc: Peer, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    plc.writer.write(data)
    async with asyncio.timeout(3):
        assert await plc.reader.read() == b""
    log = capfd.readouterr().out
    assert f"it sends Modbus {'ASCII' if data.startswith(b':') else 'RTU'} frames" in log
    assert "set the gateway to Modbus TCP" in log


async def test_a_misconfigured_client_that_comes_again_and_again_is_one_line_in_the_log(
    app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(200):
        async with peer(app.address) as plc:
            plc.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await plc.reader.read() == b""
    assert capfd.readouterr().out.count("connection closed") == 1


async def test_each_mistake_of_a_client_is_told_whatever_it_did_wrong_before(
    app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    mistakes = (b"GET / HTTP/1.1\r\n\r\n", bytes(7), *(SERIAL[name] for name in ("RTU, read of two", "RTU, text")))
    for data in mistakes * 3:
        async with peer(app.address) as plc:
            plc.writer.write(data)
            assert await plc.reader.read() == b""
    log = capfd.readouterr().out
    assert log.count("connection closed") == 3
    for words in ("its protocol id is not 0", "its length field says 0", "it sends Modbus RTU frames"):
        assert log.count(words) == 1


async def test_fc06_writes_a_string_of_two_characters(plc: Peer, recorder: Recorder) -> None:
    assert await plc.ask(b"\x06\x1b\x58Hi") == b"\x06\x1b\x58Hi"
    await recorder.wait(1)
    assert recorder.bodies() == [b"Hi"]


async def test_fc23_reads_after_its_write_is_stored(plc: Peer, recorder: Recorder) -> None:
    for number in range(1, 4):
        reply = await plc.ask(struct.pack(">BHHHHB", 23, 7964, 1, 7000, 1, 2) + b"Hi")
        assert reply == b"\x17\x02" + number.to_bytes(2)


async def test_a_read_behind_a_write_sees_it(plc: Peer) -> None:
    plc.writer.write(plc.frame(fc16(7000, "one")) + plc.frame(read(4, 7014, 1)))
    assert (await plc.answer())[2][0] == 16
    assert (await plc.answer())[2] == b"\x04\x02\x00\x01"


async def test_frames_cut_at_every_byte(plc: Peer) -> None:
    whole = plc.frame(fc16(7000, "cut")) + plc.frame(read(4, 0, 1))
    for cut in range(1, len(whole)):
        plc.writer.write(whole[:cut])
        await plc.writer.drain()
        await asyncio.sleep(0.001)
        plc.writer.write(whole[cut:])
        assert (await plc.answer())[2] == b"\x10\x1b\x58\x00\x02"
        assert (await plc.answer())[2] == b"\x04\x02\x00\x02"


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00\x01\x00\x01\x00\x06\x01\x03\x00\x00\x00\x01",
        b"\x00\x01\x00\x00\x00\x01\x01",
        b"\x00\x01\x00\x00\x02\x01\x01",
    ],
    ids=["protocol id", "length 1", "length 513"],
)
async def test_what_is_not_modbus_closes_the_connection(plc: Peer, app: App, junk: bytes) -> None:
    plc.writer.write(plc.frame(read(4, 0, 1)) + junk)
    assert (await plc.answer())[2] == b"\x04\x02\x00\x02"
    assert await plc.reader.read() == b""
    await until(lambda: not app.board.connections)


async def test_eight_connections_with_sixteen_pipelined_requests_each(app: App) -> None:
    async def one(number: int) -> None:
        async with peer(app.address) as plc:
            for turn in range(200):
                sent = [plc.frame(fc16(7000, f"{number}-{turn}-{index}")) for index in range(16)]
                plc.writer.write(b"".join(sent))
                for frame in sent:
                    transaction, unit, pdu = await plc.answer(30)
                    assert (transaction, unit) == (int.from_bytes(frame[:2]), 1)
                    assert pdu == frame[7:12]

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(one(number))
    assert app.board.targets[7].accepted == 8 * 200 * 16


async def test_above_sixteen_waiting_requests_get_06(plc: Peer, app: App) -> None:
    plc.writer.write(b"".join(plc.frame(fc16(7000, f"n{index}")) for index in range(30)))
    codes = [(await plc.answer())[2][:2] for _ in range(30)]
    stored = codes.count(b"\x10\x1b")
    assert codes[:16] == [b"\x10\x1b"] * 16
    assert codes.count(b"\x90\x06") == 30 - stored
    assert stored < 30
    assert app.board.targets[7].accepted == stored


async def test_a_flood_is_answered_whole_and_in_order(plc: Peer) -> None:
    frames = [plc.frame(fc16(7000, "x")) for _ in range(500)]
    plc.writer.write(b"".join(frames))
    for frame in frames:
        transaction, _unit, pdu = await plc.answer()
        assert transaction == int.from_bytes(frame[:2])
        assert pdu in {b"\x10\x1b\x58\x00\x01", b"\x90\x06"}


async def test_half_close_still_gets_every_answer(plc: Peer) -> None:
    plc.writer.write(b"".join(plc.frame(fc16(7000, "x")) for _ in range(10)))
    plc.writer.write_eof()
    assert len(await plc.reader.read()) == 10 * 12


async def test_a_client_that_leaves_does_not_undo_its_write(app: App, recorder: Recorder) -> None:
    async with peer(app.address) as plc:
        plc.writer.write(plc.frame(fc16(7000, "gone")))
        await plc.writer.drain()
        plc.writer.transport.abort()
    await recorder.wait(1)
    assert recorder.bodies() == [b"gone"]


async def test_shutdown_answers_what_was_received(recorder: Recorder, tmp_path: Path) -> None:
    toml = f'[targets.7]\nmethod = "get"\nurl = "{recorder.url}/"'
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(device(toml, tmp_path))
        reader, writer = await asyncio.open_connection(*app.address.split(":"))
        plc = Peer(reader, writer)
        writer.write(b"".join(plc.frame(fc16(7000, "x")) for _ in range(16)))
        outbox = app.outbox
        assert isinstance(outbox, SqliteOutbox)
        await until(lambda: app.board.targets[7].accepted + outbox._room.arriving > 0)
        await stack.aclose()
        answers = [(await plc.answer())[2][0] for _ in range(16)]
        assert answers == [16] * 16
        assert await reader.read() == b""
        writer.close()


async def test_limits_close_connections(recorder: Recorder, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    toml = """
    [modbus]
    listen = "127.0.0.1:0"
    max_connections_per_address = 2
    frame_timeout = 0.2
    idle_timeout = 1
    """
    async with device(toml, tmp_path) as app, peer(app.address) as first, peer(app.address) as second:
        assert await first.ask(read(4, 0, 1))
        async with peer(app.address) as third:
            assert await third.reader.read() == b""
        second.writer.write(b"\x00\x01\x00")
        started = time.monotonic()
        assert await second.reader.read() == b""
        assert time.monotonic() - started < 0.9
        assert await first.reader.read() == b""
    log = capfd.readouterr().out + capfd.readouterr().out
    assert log.count("connection closed") == 3


async def test_addresses_outside_the_allowed_networks_are_turned_away(tmp_path: Path) -> None:
    toml = '[modbus]\nlisten = "127.0.0.1:0"\nallow = ["10.0.0.0/8"]'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert await plc.reader.read() == b""
