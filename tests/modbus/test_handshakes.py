"""Handshakes of Modbus/TCP Security that never end take no places from clients that mean it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.end_to_end.test_tls import config, context
from tests.support import Recorder, device, fc16, peer, until
from vdevice import descriptors
from vdevice.app import App
from vdevice.modbus import tls
from vdevice.modbus.tls import HANDSHAKES_OF_ONE_ADDRESS


@contextlib.asynccontextmanager
async def idle(app: App, source: str, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Keep so many connections of an address to the TLS listener that never begin a handshake."""
    host, _, port = app.tls_address.rpartition(":")
    opened = [await asyncio.open_connection(host, int(port), local_addr=(source, 0)) for _ in range(count)]
    yield [reader for reader, _ in opened]
    for _, writer in opened:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        return not await reader.read()
    return True


async def test_an_address_without_the_right_to_connect_begins_no_handshake(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE", 600.0)
    toml = config(recorder, tmp_path).replace("[modbus]", '[modbus]\nallow = ["127.0.0.1"]', 1)
    async with device(toml, tmp_path) as app:
        async with idle(app, "127.0.0.2", 5) as readers:
            # Closed at once, and not when the time for a handshake is over.
            assert await asyncio.wait_for(asyncio.gather(*map(ended, readers)), 10) == [True] * 5
        async with peer(app.tls_address, context(tmp_path, "operator")) as plc:
            assert (await plc.ask(fc16(7000, "x")))[0] == 0x10
        await recorder.wait(1)
    assert capfd.readouterr().out.count("its address is not in modbus.allow") == 1


async def test_the_limit_of_an_address_is_looked_at_before_the_handshake(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE", 600.0)
    toml = config(recorder, tmp_path).replace("[modbus]", "[modbus]\nmax_connections_per_address = 2", 1)
    operator = context(tmp_path, "operator")
    async with device(toml, tmp_path) as app, peer(app.tls_address, operator) as one, peer(app.address) as two:
        assert await one.inputs(5, 1) == await two.inputs(5, 1) == [2]
        async with idle(app, "127.0.0.1", 1) as readers:
            assert await asyncio.wait_for(ended(readers[0]), 10)


async def test_idle_handshakes_give_their_places_to_newer_ones(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE", 600.0)
    async with device(config(recorder, tmp_path), tmp_path) as app:
        files = descriptors.in_use()
        async with contextlib.AsyncExitStack() as stack:
            sources = [f"127.0.0.{number}" for number in range(2, 8)]
            held = [await stack.enter_async_context(idle(app, source, 40)) for source in sources]
            # As many as may be under way hang, and none of them ends by itself.
            for source in ("127.0.0.1", "127.0.0.2"):
                for _ in range(3):
                    host, _, port = app.tls_address.rpartition(":")
                    async with asyncio.timeout(10):
                        operator = context(tmp_path, "operator")
                        reader, writer = await asyncio.open_connection(
                            host, int(port), ssl=operator, local_addr=(source, 0)
                        )
                        writer.write(b"\x00\x01\x00\x00\x00\x06\x01\x04\x00\x00\x00\x01")
                        assert len(await reader.readexactly(11)) == 11
                        writer.close()
            oldest = held[0][: 40 - HANDSHAKES_OF_ONE_ADDRESS]
            assert all(await asyncio.wait_for(asyncio.gather(*map(ended, oldest)), 10))
        await until(lambda: not app.board.connections)
        # Every connection that gave its place is closed on our side, too.
        await until(lambda: (descriptors.in_use() or 0) <= (files or 0) + 2, 20)
    said = capfd.readouterr().out
    assert said.count("handshakes under way") == 1
    assert "Traceback" not in said
