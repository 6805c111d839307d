"""What a client asks for that is not there is in the log: who, what, and what to do; once a minute, and nothing it carries."""

import struct
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.constants import ExcCodes

from tests.config.test_load import FOLDER
from tests.support import device, fc16, peer, until
from vdevice import repeats
from vdevice.config.load import parse
from vdevice.modbus import mistakes
from vdevice.modbus.mistakes import Mistakes

TOML = """
[targets.7]
method = "get"
url = "http://127.0.0.1:9/"
[targets.8]
method = "get"
url = "http://127.0.0.1:9/"
completion = "content"
"""


def read(function: int, address: int, count: int) -> bytes:
    return struct.pack(">BHH", function, address, count)


CASES = {
    "unit id": (read(4, 0, 1), 2, "0B", {"address": 0, "quantity": 1}, "unit id 2 is not this device's: use 1"),
    "function": (b"\x08\x00\x00\x12\x34", 1, "01", {}, "no such function"),
    "124 registers": (
        struct.pack(">BHHB", 16, 7000, 124, 248) + b"secret  " * 31, 1, "03", {"address": 7000, "quantity": 124},
        "quantity 124: function 16 takes 1 to 123",
    ),
    "125 coils too many": (read(1, 0, 2001), 1, "03", {"quantity": 2001}, "takes 1 to 2000"),
    "byte count": (struct.pack(">BHHB", 16, 7000, 2, 3) + b"sec", 1, "03", {"address": 7000}, "byte count"),
    "no target": (fc16(9000, "secret"), 1, "02", {"address": 9000, "quantity": 3}, "targets.9 is not in the config"),
    "middle of a text": (fc16(7004, "secret"), 1, "02", {"address": 7004}, "begins at register 7000"),
    "nothing staged": (fc16(8004, "secret"), 1, "02", {"address": 8004}, "a text begins at register 0 of the text"),
    "behind the text": (fc16(7900, "secret"), 1, "02", {"address": 7900}, "one write that begins at register 7000"),
    "read of text": (read(3, 7000, 1), 1, "02", {"address": 7000}, "a text cannot be read"),
    "coil": (b"\x05\xff\x00\xff\x00", 1, "02", {"address": 0xFF00}, "points are the coils"),
    "no such object": (b"\x2b\x0e\x04\x63", 1, "02", {}, "no such object"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_refused_requestis_one_line_that_says_what_to_do(
    tmp_path: Path, case: tuple[bytes, int, str, dict[str, int], str]
) -> None:
    request, unit, code, shown, words = case
    with structlog.testing.capture_logs() as lines:
        async with device(TOML, tmp_path) as app, peer(app.address) as plc:
            for _ in range(3):
                assert await plc.ask(request, unit) == bytes((request[0] | 0x80, int(code, 16)))
    (line,) = [line for line in lines if line["event"] == "request refused"]
    assert (line["log_level"], line["client"], line["code"]) == ("warning", "127.0.0.1", code)
    assert line["function"] == request[0]
    assert line.items() >= shown.items()
    assert words in line["reason"]
    assert "sec" not in str(line)


async def test_what_has_a_line_of_its_own_gets_no_second_one(tmp_path: Path) -> None:
    toml = TOML + 'enabled = false\n[modbus.clients.plc]\naddress = "127.0.0.1"\ntargets = [8]\n'
    with structlog.testing.capture_logs() as lines:
        async with device(toml, tmp_path) as app, peer(app.address) as plc:
            for pdu, code in ((fc16(7000, "x"), 1), (fc16(8000, "x"), 4)):
                assert await plc.ask(pdu) == bytes((pdu[0] | 0x80, code))
    events = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert "request refused" not in events
    assert {"not permitted", "disabled"} <= set(events)


def test_a_driver_that_scans_is_a_few_lines_a_minute() -> None:
    now = [0.0]
    told = Mistakes(lambda: now[0])
    with structlog.testing.capture_logs() as lines:
        for address in range(1000):
            told.tell(read(3, address, 1), ExcCodes.ILLEGAL_ADDRESS, "scada", lambda: "")
            told.tell(bytes((address & 0xFF, 0)), ExcCodes.GATEWAY_NO_RESPONSE, "scada", lambda: "")
        now[0] = repeats.QUIET_SECONDS
        told.tell(read(3, 5, 1), ExcCodes.ILLEGAL_ADDRESS, "scada", lambda: "")
    assert [(line["code"], line.get("not_logged")) for line in lines] == [("02", None), ("0B", None), ("02", 999)]


@given(st.binary(min_size=1, max_size=300), st.sampled_from([1, 2, 3]))
def test_whatever_was_asked_has_a_reason(request: bytes, code: int) -> None:
    # Addresses are looked at only in requests that are whole.
    whole = request.ljust(12, b"\0")
    assert mistakes.of_request(request if code != 2 else whole, ExcCodes(code), parse(TOML, FOLDER))


async def test_what_was_kept_back_is_told_of_each_kind_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "QUIET_SECONDS", 0.5)
    toml = TOML.replace("[targets.8]", "[targets.9]\nmethod = 'get'\nurl = 'http://127.0.0.1:9/'\n[targets.8]")
    toml += 'enabled = false\n[modbus.clients.plc]\naddress = "127.0.0.1"\ntargets = [8, 9]\n'
    asked = {
        "request refused": read(3, 9000, 1),
        "not permitted": fc16(7000, "x"),
        "disabled": fc16(8000, "x"),
        "not text": fc16(9000, b"\xff\xff"),
    }
    with structlog.testing.capture_logs() as lines:
        async with device(toml, tmp_path) as app, peer(app.address) as plc:
            for request in [*asked.values()] * 5:
                await plc.ask(request)

            def told(event: str) -> int:
                # A line is one itself, unless it tells only of those before it.
                found = [line for line in lines if line["event"] == event]
                alone = [
                    line
                    for line in found
                    if not line["reason" if "reason" in line else "write"].startswith("as before")
                ]
                return len(alone) + sum(int(line.get("not_logged", 0)) for line in found)

            await until(lambda: {event: told(event) for event in asked} == dict.fromkeys(asked, 5), 20)


async def test_the_printed_line_is_one_line_with_the_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with device(TOML, tmp_path) as app, peer(app.address) as plc:
        await plc.ask(read(3, 7000, 1))
    printed = capfd.readouterr().out.splitlines()
    (place,) = [place for place, line in enumerate(printed) if "request refused" in line]
    assert "code=02" in printed[place]
    assert printed[place + 1 : place + 2] != ["02"]
