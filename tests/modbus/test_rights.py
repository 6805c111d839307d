from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Recorder, device, fc16, peer, until
from vdevice.cli.certs import init
from vdevice.config.load import parse
from vdevice.errors import ConfigError
from vdevice.modbus.rights import Bucket, rights_of

POINTS = """
[[points]]
name = "lamp"
space = "coil"
address = 5
type = "bool"
[[points]]
name = "temp"
space = "holding"
address = 100
type = "float32"
[targets.7]
method = "get"
url = "http://127.0.0.1:9/"
[targets.8]
method = "get"
url = "http://127.0.0.1:9/"
"""
LISTEN = '[modbus]\nlisten = "127.0.0.1:0"\n'


def client(settings: str, address: str = "127.0.0.1") -> str:
    return f'[modbus.clients.plc]\naddress = "{address}"\n{settings}\n'


@pytest.mark.parametrize(
    ("settings", "targets", "lamp", "temp"),
    [
        ("", {7, 8}, True, True),
        ("read_only = true", set(), False, False),
        ("targets = [7]", {7}, True, True),
        ('points = ["lamp"]', {7, 8}, True, False),
        ("targets = []\npoints = []", set(), False, False),
    ],
)
def test_rights_of_a_client(settings: str, targets: set[int], lamp: bool, temp: bool) -> None:  # noqa: FBT001 (a table)
    config = parse(LISTEN + client(settings) + POINTS, Path())
    rights = rights_of(config, "127.0.0.1")
    assert {number for number in (7, 8) if rights.may_write_target(number)} == targets
    assert rights.may_write_points("coil", 5, 1) is lamp
    assert rights.may_write_points("holding", 100, 2) is temp
    assert rights_of(config, "10.0.0.1").may_write_target(8)


BITS = "".join(
    f'[[points]]\nname = "bit {n}"\nspace = "holding"\naddress = 5\ntype = "bool"\nbit = {n}\n' for n in (2, 3)
)


@pytest.mark.parametrize(
    ("permitted", "bits"), [('["bit 2"]', 0xFFF7), ('["bit 2", "bit 3"]', 0xFFFF), ('["lamp"]', 0)]
)
def test_the_bits_of_a_register_have_rights_of_their_own(permitted: str, bits: int) -> None:
    rights = rights_of(parse(LISTEN + client(f"points = {permitted}") + POINTS + BITS, Path()), "127.0.0.1")
    for bit in range(16):
        assert rights.may_write_points("holding", 5, 1, 1 << bit) is bool(bits >> bit & 1)
    assert rights.may_write_points("holding", 5, 1) is (bits == 0xFFFF)
    assert rights.may_write_points("holding", 5, 1, 0) is (bits != 0)


def test_with_a_role_both_the_address_and_the_certificate_must_permit(tmp_path: Path) -> None:
    init(tmp_path / "certs", role=["a"])
    files = 'cert = "certs/server.pem"\nkey = "certs/server.key"\nclient_ca = "certs/ca.pem"\n'
    tls = f"[modbus.tls]\n{files}[modbus.tls.roles.a]\ntargets = [7]\n[modbus.tls.roles.b]\n"
    address = client('targets = [7, 8]\npoints = ["lamp"]')

    def may(toml: str, role: str | None) -> tuple[set[int], bool]:
        rights = rights_of(parse(LISTEN + toml + POINTS, tmp_path), "127.0.0.1", role)
        allowed = {number for number in (7, 8, 9) if rights.may_write_target(number)}
        return allowed, rights.may_write_points("holding", 100, 2)

    everything = ({7, 8, 9}, True)
    assert may(tls, "a") == ({7}, True)
    assert may(tls, "b") == may(tls, None) == everything
    assert may(tls, "") == may(tls, "c") == (set(), False)
    assert may(address + tls, "a") == ({7}, False)
    assert may(address + tls, "b") == ({7, 8}, False)
    assert may(f"[modbus.tls]\n{files}", "") == everything
    # Taken out of a running device, a listener goes on until the restart.
    assert may("", "a") == (set(), False)


def test_a_range_must_be_permitted_as_a_whole() -> None:
    rights = rights_of(parse(LISTEN + client('points = ["temp"]') + POINTS, Path()), "127.0.0.1")
    assert rights.may_write_points("holding", 101, 1)
    assert not rights.may_write_points("holding", 100, 3)
    assert not rights.may_write_points("coil", 100, 2)


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ("read_only = true\ntargets = [7]", "targets", "read_only"),
        ('points = ["nothing"]', "points", "known are lamp, temp"),
        ("targets = [65]", r"targets\[0\]", "64"),
        ("rate = 0", "rate", "> 0"),
    ],
)
def test_rights_that_cannot_be(settings: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"modbus\.clients\.plc\.{path}.*{words}"):
        parse(LISTEN + client(settings) + POINTS, Path())


async def test_what_is_not_permitted_is_01_and_nothing_happens(recorder: Recorder, tmp_path: Path) -> None:
    toml = LISTEN + client('targets = [7]\npoints = ["lamp"]') + POINTS.replace("http://127.0.0.1:9", recorder.url)
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "x")))[0] == 16
        assert await plc.ask(fc16(8000, "x")) == b"\x90\x01"
        assert await plc.ask(fc16(9000, "x")) == b"\x90\x02"
        assert await plc.ask(b"\x05\x00\x05\xff\x00") == b"\x05\x00\x05\xff\x00"
        assert await plc.ask(b"\x05\x00\x06\xff\x00") == b"\x85\x01"
        assert await plc.ask(b"\x06\x00\x64\x00\x01") == b"\x86\x01"
        assert await plc.ask(b"\x16\x00\x64\x00\x00\x00\x01") == b"\x96\x01"
        assert (await plc.ask(b"\x03\x00\x64\x00\x02"))[2:] == bytes(4)
        assert await plc.ask(b"\x01\x00\x06\x00\x01") == b"\x01\x01\x00"
        assert (await plc.inputs(8000, 50))[0] == 1
        assert app.board.targets[8].accepted == 0
        # A reload gives a connection that stays its new rights.
        path = tmp_path / "vdevice.toml"
        path.write_text(path.read_text().replace("targets = [7]", "targets = [8]"))
        assert await app.reload()
        assert await plc.ask(fc16(7000, "x")) == b"\x90\x01"
        assert (await plc.ask(fc16(8000, "x")))[0] == 16
        await until(lambda: len(recorder.requests) == 2)


async def test_above_its_rate_a_client_gets_06_on_all_its_connections(tmp_path: Path) -> None:
    toml = LISTEN + client("rate = 20") + POINTS
    async with device(toml, tmp_path) as app, peer(app.address) as one, peer(app.address) as two:
        read = b"\x04\x00\x00\x00\x01"
        answers = [(await plc.ask(read))[0] for _ in range(30) for plc in (one, two)]
        assert 20 <= answers.count(4) <= 30
        assert answers.count(0x84) == 60 - answers.count(4)
        assert (await one.ask(read)) in {b"\x84\x06", b"\x04\x02\x00\x02"}


@given(st.floats(0.1, 1000), st.lists(st.floats(0, 2), max_size=50))
def test_a_client_never_gets_more_than_its_rate_and_a_second_of_it(rate: float, waits: list[float]) -> None:
    bucket, now, taken = Bucket(rate), 100.0, 0
    for wait in waits:
        now += wait
        taken += bucket.take(now)
    assert taken <= rate * (now - 100.0) + max(rate, 1) + 1e-6
