"""Modbus/TCP Security on real sockets: who gets in, what a role may write, certificates that change."""

import asyncio
import ssl
import stat
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from tests.support import Peer, Recorder, device, fc16, peer, until
from vdevice.app import App
from vdevice.cli.certs import init
from vdevice.config.certificates import server_context
from vdevice.config.load import parse
from vdevice.errors import ConfigError, VdeviceError
from vdevice.modbus.client import connect
from vdevice.modbus.tls import _utf8_string
from vdevice.registers.layout import MAP_VERSION

TLS = """
[modbus]
listen = "127.0.0.1:0"
[modbus.tls]
listen = "127.0.0.1:0"
cert = "certs/server.pem"
key = "certs/server.key"
client_ca = "certs/ca.pem"
[modbus.tls.roles.operator]
targets = [7]
[modbus.tls.roles.viewer]
read_only = true
"""


def config(recorder: Recorder, folder: Path) -> str:
    init(folder / "certs", role=["operator", "viewer", "stranger"])
    return f'{TLS}[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}"\npayload = "$VALUE"\n'


def context(folder: Path, role: str | None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=folder / "certs/ca.pem")
    if role:
        made.load_cert_chain(folder / f"certs/client-{role}.pem", folder / f"certs/client-{role}.key")
    return made


async def refused(app: App, tls: ssl.SSLContext) -> bool:
    """Tell whether the device ends the connection without an answer; TLS 1.3 says so only after the handshake."""
    try:
        async with peer(app.tls_address, tls) as plc:
            await plc.inputs(0, 1)
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return True
    return False


async def test_a_role_says_what_may_be_written_and_all_may_read(recorder: Recorder, tmp_path: Path) -> None:
    async with device(config(recorder, tmp_path), tmp_path) as app:
        for role, answer in (("operator", 0x10), ("viewer", 0x90), ("stranger", 0x90)):
            async with peer(app.tls_address, context(tmp_path, role)) as plc:
                assert (await plc.ask(fc16(7000, role)))[0] == answer
                assert await plc.inputs(0, 1) == [MAP_VERSION]
        await recorder.wait(1)
        assert recorder.bodies() == [b"operator"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_shows_no_certificate_of_the_authority_stays_out(
    version: ssl.TLSVersion, recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = trustme.CA().issue_cert("plc")
    async with device(config(recorder, tmp_path), tmp_path) as app:
        nobody, foreign = context(tmp_path, None), context(tmp_path, None)
        other.configure_cert(foreign)
        # A certificate of the authority that is not one of a client.
        server = context(tmp_path, None)
        server.load_cert_chain(tmp_path / "certs/server.pem", tmp_path / "certs/server.key")
        for tls in (nobody, foreign, server):
            tls.maximum_version = version
            assert await refused(app, tls)
        async with peer(app.tls_address, context(tmp_path, "operator")) as plc:
            assert (await plc.ask(fc16(7000, "x")))[0] == 0x10
        assert not app.board.connections.get("127.0.0.1", 0) > 1
    said = capsys.readouterr().out
    # What an address was told already is counted.
    assert said.count("TLS: ") == 2
    assert "peer did not return a certificate" in said
    assert "certificate verify failed" in said


def test_tls_below_1_2_is_not_spoken(tmp_path: Path, recorder: Recorder) -> None:
    tls = parse(config(recorder, tmp_path), tmp_path).modbus.tls
    assert tls
    assert server_context(tls).minimum_version == ssl.TLSVersion.TLSv1_2


async def test_a_handshake_that_hangs_or_is_nonsense_holds_nobody_up(recorder: Recorder, tmp_path: Path) -> None:
    async with device(config(recorder, tmp_path), tmp_path) as app:
        host, _, port = app.tls_address.rpartition(":")
        hanging = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in hanging[:10]:
            writer.write(b"\x00\x01\x00\x00\x00\x06\x01\x04\x00\x00\x00\x01")
        async with peer(app.tls_address, context(tmp_path, "operator")) as plc:
            assert (await plc.ask(fc16(7000, "x")))[0] == 0x10
        for reader, _ in hanging[:10]:
            # An alert, then the end.
            await asyncio.wait_for(reader.read(), 5)
        for _, writer in hanging:
            writer.close()
        await recorder.wait(1)


async def test_frames_are_answered_in_order_however_tls_splits_them(recorder: Recorder, tmp_path: Path) -> None:
    async with device(config(recorder, tmp_path), tmp_path) as app:
        async with peer(app.tls_address, context(tmp_path, "operator")) as plc:
            frames = b"".join(plc.frame(fc16(7000, str(number))) for number in range(12))
            for index in range(0, len(frames), 7):
                plc.writer.write(frames[index : index + 7])
                await plc.writer.drain()
            assert [(await plc.answer())[0] for _ in range(12)] == list(range(1, 13))
        await recorder.wait(12)
        assert recorder.bodies() == [str(number).encode() for number in range(12)]


def serial(plc: Peer) -> int:
    shown = plc.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).serial_number


async def test_changed_certificates_are_taken_without_dropping_a_connection(recorder: Recorder, tmp_path: Path) -> None:
    async with device(config(recorder, tmp_path), tmp_path) as app:
        operator = context(tmp_path, "operator")
        async with peer(app.tls_address, operator) as stays:
            before = serial(stays)
            init(tmp_path / "new", role=["operator"])
            (tmp_path / "certs").replace(tmp_path / "old")
            (tmp_path / "new").replace(tmp_path / "certs")

            async def anew() -> int:
                try:
                    async with peer(app.tls_address, context(tmp_path, "operator")) as plc:
                        await plc.inputs(0, 1)
                        return serial(plc)
                except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
                    return before

            # Nobody sent a signal: the device looks itself.
            async with asyncio.timeout(10):
                while await anew() == before:
                    await asyncio.sleep(0.05)
            # What the old authority signed does not get in any more; what is in stays.
            assert await refused(app, operator)
            assert (await stays.ask(fc16(7000, "x")))[0] == 0x10
        await recorder.wait(1)


async def test_certificates_that_do_not_fit_are_refused_and_the_old_ones_stay(
    recorder: Recorder, tmp_path: Path
) -> None:
    async with device(config(recorder, tmp_path), tmp_path) as app:
        (tmp_path / "certs/server.key").write_bytes((tmp_path / "certs/ca.key").read_bytes())
        assert not await app.reload()
        async with peer(app.tls_address, context(tmp_path, "operator")) as plc:
            assert await plc.inputs(0, 1) == [MAP_VERSION]


@pytest.mark.parametrize(
    ("lines", "path", "words"),
    [
        (('cert = "certs/server.pem"', 'cert = "certs/none.pem"'), "cert", "not there"),
        (('cert = "certs/server.pem"', 'cert = "vdevice.toml"'), "cert", "no PEM files"),
        (('key = "certs/server.key"', 'key = "certs/ca.key"'), "cert", "no PEM files"),
        (('client_ca = "certs/ca.pem"', 'client_ca = "certs/ca.key"'), "client_ca", "no PEM file"),
        (('client_ca = "certs/ca.pem"', ""), "client_ca", "is missing"),
        (("targets = [7]", 'points = ["nothing"]'), "roles.operator.points", "no point"),
        (("127.0.0.1:0", "127.0.0.1:802"), "listen", "modbus.listen, too"),
    ],
)
def test_settings_of_tls_that_cannot_be(
    lines: tuple[str, str], path: str, words: str, recorder: Recorder, tmp_path: Path
) -> None:
    toml = config(recorder, tmp_path)
    (tmp_path / "vdevice.toml").write_text(toml)
    with pytest.raises(ConfigError, match=rf"modbus\.tls\.{path}: .*{words}"):
        parse(toml.replace(*lines), tmp_path)


async def test_our_own_client_speaks_tls(recorder: Recorder, tmp_path: Path) -> None:
    async with device(config(recorder, tmp_path), tmp_path) as app:
        host, _, port = app.tls_address.rpartition(":")
        async with connect(host, int(port), tls=context(tmp_path, "operator")) as client:
            await client.write(7, b"over TLS")
            status = await client.wait(7, 5)
        assert status
        assert status["delivered"] == 1


def test_certs_are_private_and_never_written_over(tmp_path: Path) -> None:
    init(tmp_path, host=["device.example", "10.0.0.5", "::1"], role=["operator"])
    for name in ("ca", "server", "client-operator"):
        assert stat.S_IMODE((tmp_path / f"{name}.key").stat().st_mode) == 0o600
    names = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes()).extensions
    alternative = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in alternative] == ["device.example", "10.0.0.5", "::1"]
    with pytest.raises(VdeviceError, match="is there already"):
        init(tmp_path)
    with pytest.raises(VdeviceError, match="cannot be a file's name"):
        init(tmp_path / "other", role=["../x"])


@pytest.mark.parametrize(
    ("der", "role"),
    [
        (b"\x0c\x02ab", "ab"),
        (b"\x0c\x00", ""),
        (b"\x13\x02ab", ""),
        (b"\x0c\x03ab", ""),
        (b"", ""),
        (b"\x0c\x01\xff", "�"),
    ],
)
def test_a_role_is_a_utf8_string(der: bytes, role: str) -> None:
    assert _utf8_string(der) == role


async def test_the_limit_of_connections_holds_for_both_listeners(recorder: Recorder, tmp_path: Path) -> None:
    toml = config(recorder, tmp_path).replace("[modbus]", "[modbus]\nmax_connections = 2", 1)
    async with device(toml, tmp_path) as app:
        async with peer(app.address) as one, peer(app.tls_address, context(tmp_path, "viewer")) as two:
            assert await one.inputs(5, 1) == await two.inputs(5, 1) == [2]
            assert await refused(app, context(tmp_path, "viewer"))
        await until(lambda: not app.board.connections)
