"""Points and rules over real sockets: a written value becomes a webhook."""

import asyncio
import json
import struct
import time
from pathlib import Path

import pytest

from tests.conftest import OnNats, OnSqlite
from tests.support import Peer, Recorder, device, fc16, peer, until
from vdevice.app import App

pytestmark = pytest.mark.usefixtures("outbox")

POINTS = """
[[points]]
name = "temp"
space = "holding"
address = 100
type = "float32"
word_order = "little"
[[points]]
name = "lamp"
space = "coil"
address = 5
type = "bool"
[[points]]
name = "motor"
space = "holding"
address = 110
type = "bool"
bit = 3
"""


def target(recorder: Recorder, number: int, settings: str = "") -> str:
    return (
        f'[targets.{number}]\nmethod = "post-raw"\nurl = "{recorder.url}/{number}"\npayload = "$VALUE"\n'
        f"backoff = 0.05\n{settings}\n"
    )


def rule(source: str, *destinations: str, more: str = "") -> str:
    return f'[[rules]]\nsource = "{source}"\ndestinations = {json.dumps(destinations)}\n{more}\n'


def temp(value: float) -> bytes:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return fc16(100, struct.pack(">HH", low, high))


async def idle(app: App) -> None:
    await until(lambda: app.board.waiting == 0)


async def test_points_are_written_and_read_by_all_functions(recorder: Recorder, tmp_path: Path) -> None:
    toml = (
        POINTS + target(recorder, 7) + rule("lamp", "target/7") + rule("motor", "target/7") + rule("temp", "target/7")
    )
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert await plc.ask(b"\x05\x00\x05\xff\x00") == b"\x05\x00\x05\xff\x00"
        assert await plc.ask(b"\x0f\x00\x04\x00\x03\x01\x05") == b"\x0f\x00\x04\x00\x03"
        assert await plc.ask(b"\x01\x00\x04\x00\x03") == b"\x01\x01\x05"
        assert await plc.ask(b"\x06\x00\x6e\x00\x08") == b"\x06\x00\x6e\x00\x08"
        assert (await plc.ask(temp(21.7)))[0] == 16
        fc23 = struct.pack(">BHHHHB", 23, 100, 2, 110, 1, 2) + b"\0\0"
        assert (await plc.ask(fc23))[2:] == temp(21.7)[6:]
        await idle(app)
        assert await plc.ask(struct.pack(">BHH", 3, 899, 1)) == b"\x03\x02\x00\x00"
        assert await plc.ask(struct.pack(">BHH", 3, 899, 2)) == b"\x83\x02"
        assert await plc.ask(struct.pack(">BHH", 1, 899, 2)) == b"\x81\x02"
    assert recorder.bodies() == [b"true", b"false", b"true", b"21.7", b"false"]


async def test_events_of_one_write_are_stored_together_or_none(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
    rules = rule("temp", "target/7", "target/8", more='trigger = "rising"\nwhen = { above = 80 }\nmin_interval = 60')
    toml = "[outbox]\nmax_messages = 2\n" + POINTS + target(recorder, 7) + target(recorder, 8) + rules
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "first")))[0] == 16
        assert await plc.ask(temp(81)) == b"\x90\x06"
        assert (await plc.ask(struct.pack(">BHH", 3, 100, 2)))[2:] == bytes(4)
        assert app.board.waiting == 1
        recorder.reply = lambda _n: b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"
        await idle(app)
        assert (await plc.ask(temp(81)))[0] == 16
        assert (app.board.targets[7].accepted, app.board.targets[8].accepted) == (2, 1)
        await idle(app)
    assert recorder.bodies()[-2:] == [b"81.0", b"81.0"]


async def test_what_the_outbox_refused_is_undone_and_fires_again(
    recorder: Recorder, tmp_path: Path, outbox: OnSqlite | OnNats
) -> None:
    lamp_on = b"\x05\x00\x05\xff\x00"
    toml = POINTS + target(recorder, 7) + target(recorder, 8, 'completion = "content"')
    toml += rule("lamp", "target/7", more='trigger = "rising"')
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        outbox.hurt(app)
        assert await plc.ask(lamp_on) == b"\x85\x04"
        assert await plc.ask(b"\x01\x00\x05\x00\x01") == b"\x01\x01\x00"
        assert (await plc.ask(fc16(8000, "y" * 200)))[0] == 16
        assert await plc.ask(fc16(8100, "!\0")) == b"\x90\x04"
        outbox.mend(app)
        await until(lambda: not app.board.outbox_failing)
        assert await plc.ask(lamp_on) == lamp_on
        assert (await plc.ask(fc16(8100, "!\0")))[0] == 16
        await idle(app)
    assert sorted(recorder.bodies()) == [b"true", b"y" * 200 + b"!"]


async def test_descriptions_and_sources_reach_the_request(recorder: Recorder, tmp_path: Path) -> None:
    clients = '[modbus]\nlisten = "127.0.0.1:0"\n[modbus.clients.boiler-plc]\naddress = "127.0.0.0/8"\n'
    settings = 'description = "of the target"\nheaders = { X-From = "$SOURCECONNECTION/$SOURCEPARAMETER=$SOURCEVALUE" }'
    body = target(recorder, 7, settings).replace('"$VALUE"', '"$DESCRIPTION|$VALUE|$PARAMETER"')
    rules = rule("temp", "target/7", more='description = "Too hot: $SOURCEVALUE at $DEVICE"\ntemplate = "T=$VALUE"')
    rules += rule("lamp", "target/7")
    async with device(clients + POINTS + body + rules, tmp_path) as app, peer(app.address) as plc:
        await plc.ask(temp(90.5))
        await plc.ask(b"\x05\x00\x05\xff\x00")
        await plc.ask(fc16(7000, "by hand"))
        await idle(app)
    assert recorder.bodies() == [
        f"Too hot: 90.5 at {app.config.device.id}|T=90.5|target/7".encode(),
        b"of the target|true|target/7",
        b"of the target|by hand|target/7",
    ]
    assert b"X-From: boiler-plc/temp=90.5\r\n" in recorder.requests[0]
    assert b"X-From: boiler-plc/target/7=by hand\r\n" in recorder.requests[2]


async def test_a_delayed_string_waits_on_disk_and_holds_up_nobody(recorder: Recorder, tmp_path: Path) -> None:
    toml = POINTS + target(recorder, 7) + rule("temp", "target/7", more="delay = 1.0")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        started = time.monotonic()
        await plc.ask(temp(1))
        await plc.ask(fc16(7000, "at once"))
        await until(lambda: app.board.targets[7].delivered == 1)
        assert app.board.targets[7].queued == 1
    async with device(toml, tmp_path) as app:
        await idle(app)
        assert time.monotonic() - started > 1.0
    assert recorder.bodies() == [b"at once", b"1.0"]


async def test_a_delayed_point_triggers_its_rules_later(recorder: Recorder, tmp_path: Path) -> None:
    toml = POINTS + target(recorder, 7) + rule("temp", "lamp", more="delay = 0.2") + rule("lamp", "target/7")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await plc.ask(temp(1))
        assert await plc.ask(b"\x01\x00\x05\x00\x01") == b"\x01\x01\x00"
        await recorder.wait(1)
        assert await plc.ask(b"\x01\x00\x05\x00\x01") == b"\x01\x01\x01"
        await idle(app)
    assert recorder.bodies() == [b"true"]


async def test_halves_of_two_connections_of_one_address_do_not_get_in_each_others_way(
    recorder: Recorder, tmp_path: Path
) -> None:
    toml = POINTS + '[[points]]\nname = "flow"\nspace = "holding"\naddress = 200\ntype = "int32"\n'
    toml += target(recorder, 7) + rule("temp", "target/7") + rule("flow", "target/7")
    async with device(toml, tmp_path) as app:
        async with peer(app.address) as one, peer(app.address) as two:
            for plc, address, value in ((one, 100, 0), (two, 200, 0), (one, 101, 0x42A2), (two, 201, 7)):
                assert (await plc.ask(struct.pack(">BHH", 6, address, value)))[0] == 6
            await until(lambda: app.board.targets[7].accepted == 2)
        # A PLC that connects anew for each write goes on.
        for address, value in ((200, 0), (201, 8)):
            async with peer(app.address) as plc:
                assert (await plc.ask(struct.pack(">BHH", 6, address, value)))[0] == 6
            await until(lambda: not app.board.connections)
        await until(lambda: app.board.targets[7].delivered == 3)
    assert sorted(recorder.bodies()) == [b"7", b"8", b"81.0"]


async def test_a_request_that_causes_too_much_at_once_is_refused_and_undone(recorder: Recorder, tmp_path: Path) -> None:
    toml = target(recorder, 7)
    for n in range(400):
        toml += f'[[points]]\nname = "c{n}"\nspace = "coil"\naddress = {n}\ntype = "bool"\n'
        toml += rule(f"c{n}", f"c{n + 1}" if n < 399 else "target/7")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        # Each coil writes all behind it: 80,000 of them.
        assert await plc.ask(struct.pack(">BHHB", 15, 0, 400, 50) + b"\xff" * 50) == b"\x8f\x04"
        assert await plc.ask(b"\x01\x00\x00\x01\x90") == b"\x01\x32" + bytes(50)
        assert await plc.ask(b"\x05\x00\x00\xff\x00") == b"\x05\x00\x00\xff\x00"
        assert await plc.ask(b"\x01\x00\x00\x01\x90") == b"\x01\x32" + b"\xff" * 50
        await idle(app)
    assert recorder.bodies() == [b"true"]


async def test_a_delayed_point_may_cause_more_messages_than_one_request_can_store(
    recorder: Recorder, tmp_path: Path
) -> None:
    toml = POINTS + target(recorder, 7, "parallel = 20") + target(recorder, 8)
    toml += rule("temp", "lamp", more="delay = 0.1") + rule("lamp", *["target/7"] * 801, "target/8")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await plc.ask(temp(1))
        await until(lambda: app.board.targets[8].accepted == 1, 60)
        assert app.board.targets[7].accepted == 801
        await plc.ask(fc16(8000, "afterwards"))
        await until(lambda: app.board.targets[8].delivered == 2, 60)


async def test_a_disabled_target_is_left_out_and_rules_reload(recorder: Recorder, tmp_path: Path) -> None:
    toml = POINTS + target(recorder, 7) + target(recorder, 8, "enabled = false") + rule("temp", "target/8", "target/7")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await plc.ask(temp(1))
        await idle(app)
        path = tmp_path / "vdevice.toml"
        path.write_text(path.read_text().replace('source = "temp"', 'source = "temp"\ntrigger = "change"'))
        assert await app.reload()
        await plc.ask(temp(1))
        await plc.ask(temp(2))
        await idle(app)
        assert app.board.targets[8].accepted == 0
    assert recorder.bodies() == [b"1.0", b"2.0"]


async def flood(plc: Peer, values: range) -> None:
    for start in range(0, len(values), 16):
        part = values[start : start + 16]
        plc.writer.write(b"".join(plc.frame(temp(value)) for value in part))
        for _ in part:
            assert (await plc.answer())[2][0] == 16


async def test_pipelined_writes_of_a_point_fire_in_order(recorder: Recorder, tmp_path: Path) -> None:
    toml = POINTS + target(recorder, 7) + rule("temp", "target/7")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await asyncio.wait_for(flood(plc, range(320)), 20)
        await idle(app)
    assert recorder.bodies() == [f"{value}.0".encode() for value in range(320)]


async def test_a_mask_write_fires_the_rules_of_the_bits_that_it_wrote(recorder: Recorder, tmp_path: Path) -> None:
    other = POINTS[POINTS.index('[[points]]\nname = "motor"') :].replace("motor", "valve").replace("bit = 3", "bit = 4")
    toml = (
        POINTS
        + other
        + target(recorder, 7)
        + target(recorder, 8)
        + rule("motor", "target/7")
        + rule("valve", "target/8")
    )
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        on, off = b"\x16\x00\x6e\xff\xf7\x00\x08", b"\x16\x00\x6e\xff\xf7\x00\x00"
        for mask in (on, off):
            assert await plc.ask(mask) == mask
        plc.writer.write(plc.frame(on) + plc.frame(off) + plc.frame(b"\x03\x00\x6e\x00\x01"))
        assert [(await plc.answer())[2] for _ in range(3)] == [on, off, b"\x03\x02\x00\x00"]
        await idle(app)
        assert app.board.targets[7].accepted == 4
        assert app.board.targets[8].accepted == 0
        assert recorder.bodies() == [b"true", b"false", b"true", b"false"]


async def test_a_conversion_that_fails_in_every_cycle_is_one_line_that_names_its_rule(
    recorder: Recorder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = '[[points]]\nname = "small"\nspace = "holding"\naddress = 120\ntype = "uint16"\n'
    async with device(POINTS + small + rule("temp", "small"), tmp_path) as app, peer(app.address) as plc:
        for number in range(50):
            assert (await plc.ask(temp(70_000 + number)))[0] == 16
    said = capfd.readouterr().out
    assert said.count("not converted") == 1
    assert "rules[0]" in said
    assert "does not fit uint16" in said
