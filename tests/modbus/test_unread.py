"""Clients that read nothing, or may not connect any more, are gone within seconds and hold up no stop."""

import asyncio
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.end_to_end.test_tls import config, context
from tests.support import Recorder, device, fc16, peer, until
from vdevice import app as device_app
from vdevice.app import App
from vdevice.modbus import connection
from vdevice.modbus.unread import Unread

READ = b"\x00\x01\x00\x00\x00\x06\x01\x04\x00\x00\x00\x7d"
"""A request for 125 registers."""

MODBUS = '[modbus]\nlisten = "127.0.0.1:0"\n'


async def unread(app: App) -> socket.socket:
    """Return a client that reads nothing, when the device has more for it than all buffers hold."""
    host, _, port = app.address.rpartition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (host, int(port)))

    async def ask() -> None:
        while True:
            await loop.sock_sendall(client, READ * 500)

    # It can send no more when the device has stopped reading it.
    task = asyncio.create_task(ask())
    sent = -1
    while sent != (sent := sum(one.requests for one in app.connected())) or not sent:
        await asyncio.sleep(0.2)
    task.cancel()
    return client


async def test_a_client_that_reads_nothing_loses_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connection, "UNREAD_SECONDS", 0.3)
    async with device(f"{MODBUS}max_connections = 1\n", tmp_path) as app:
        with await unread(app):
            await until(lambda: not app.board.connections)
            async with peer(app.address) as plc:
                assert await plc.inputs(5, 1) == [1]
    assert "it has read nothing of its responses for 0.3 s" in capfd.readouterr().out


@pytest.mark.parametrize("how", ["idle", "allow"])
async def test_a_client_that_reads_nothing_is_gone_when_it_is_being_closed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNREAD_SECONDS", 600.0)
    monkeypatch.setattr(connection, "CLOSING_SECONDS", 0.3)
    toml = f"{MODBUS}idle_timeout = {0.5 if how == 'idle' else 0}\n[web]\nenabled = false\n"
    async with device(toml, tmp_path) as app:
        with await unread(app):
            if how == "allow":
                (tmp_path / "vdevice.toml").write_text(toml.replace("[web]", 'allow = ["10.0.0.0/8"]\n[web]'))
                assert await app.reload()
            await until(lambda: not app.board.connections, 30)


async def test_clients_that_read_nothing_do_not_hold_up_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_app, "GRACE", 60.0)
    async with device(MODBUS, tmp_path) as app:
        clients = [await unread(app) for _ in range(5)]
        started = time.monotonic()
    assert time.monotonic() - started < 40
    for client in clients:
        client.close()


async def test_a_client_that_does_not_agree_to_the_end_of_tls_is_gone(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSING_SECONDS", 0.3)
    toml = config(recorder, tmp_path).replace("[modbus]", "[modbus]\nidle_timeout = 0.2", 1)
    async with device(toml, tmp_path) as app, peer(app.tls_address, context(tmp_path, "operator")) as plc:
        await plc.inputs(0, 1)
        plc.writer.transport.pause_reading()  # type: ignore[attr-defined]
        # uvloop itself would wait for half a minute.
        await until(lambda: not app.board.connections, 20)
        plc.writer.transport.abort()


async def test_who_may_not_connect_any_more_is_gone_after_a_reload(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    toml = f"{MODBUS}allow = ['127.0.0.0/8']\n[web]\nenabled = false\n"
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert await plc.inputs(5, 1) == [1]
        (tmp_path / "vdevice.toml").write_text(toml.replace("127.0.0.0/8", "10.0.0.0/8"))
        assert await app.reload()
        assert await plc.reader.read() == b""
        await until(lambda: not app.board.connections)
    assert "its address is not in modbus.allow" in capfd.readouterr().out


async def test_other_rights_hold_for_open_connections_after_a_reload(recorder: Recorder, tmp_path: Path) -> None:
    toml = f'{MODBUS}[web]\nenabled = false\n[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}"\n'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "x")))[0] == 0x10
        rights = '[modbus.clients.plc]\naddress = "127.0.0.1"\nread_only = true\n'
        (tmp_path / "vdevice.toml").write_text(toml + rights)
        assert await app.reload()
        assert await plc.ask(fc16(7000, "x")) == b"\x90\x01"
        (tmp_path / "vdevice.toml").write_text(toml)
        assert await app.reload()
        assert (await plc.ask(fc16(7000, "x")))[0] == 0x10
        await recorder.wait(2)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 10)), min_size=1))
def test_only_bytes_that_nobody_takes_count(looks: list[tuple[int, float]]) -> None:
    unread, now, expected, before = Unread(), 0.0, 0.0, 0
    for waiting, after in looks:
        now += after
        expected = expected + after if waiting and before and waiting >= before else 0.0
        assert unread.seconds(waiting, now) == pytest.approx(expected)
        assert bool(unread) == bool(waiting)
        before = waiting
