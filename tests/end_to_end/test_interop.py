"""Clients that others wrote: pyModbusTCP and uModbus write and read."""

import asyncio
import socket
from pathlib import Path

from pyModbusTCP.client import ModbusClient
from umodbus.client import tcp

from tests.support import Recorder, device, until

WORDS = [int.from_bytes(pair.encode()) for pair in ("He", "ll", "o!")]


async def test_pymodbustcp_writes_and_reads(recorder: Recorder, tmp_path: Path) -> None:
    toml = f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"'

    def talk(host: str, port: int) -> None:
        client = ModbusClient(host=host, port=port, unit_id=1, timeout=5)
        assert client.write_multiple_registers(7000, WORDS)
        assert client.write_single_register(7000, WORDS[0])
        assert client.read_input_registers(7014, 1) == [2]
        assert client.read_holding_registers(7964, 1) == [2]
        assert client.read_holding_registers(7000, 1) is None
        assert client.last_except == 2
        assert client.write_single_coil(5, 1)
        assert client.write_multiple_coils(6, [True, False, True])
        assert client.read_coils(5, 4) == [True, True, False, True]
        assert client.read_discrete_inputs(207, 1) == [True]
        assert client.write_read_multiple_registers(7000, WORDS, 7964, 1) == [3]
        client.close()

    async with device(toml, tmp_path) as app:
        host, _, port = app.address.partition(":")
        await asyncio.to_thread(talk, host, int(port))
        await recorder.wait(3)
        await until(lambda: app.board.targets[7].queued == 0)
    assert recorder.bodies() == [b"Hello!", b"He", b"Hello!"]


async def test_umodbus_writes_and_reads(recorder: Recorder, tmp_path: Path) -> None:
    toml = f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"'

    def talk(host: str, port: int) -> None:
        with socket.create_connection((host, port), timeout=5) as connection:
            assert tcp.send_message(tcp.write_multiple_registers(1, 7000, WORDS), connection) == len(WORDS)
            assert tcp.send_message(tcp.read_input_registers(1, 7014, 1), connection) == [1]
            assert tcp.send_message(tcp.write_single_register(1, 12, 345), connection) == 345
            assert tcp.send_message(tcp.read_holding_registers(1, 12, 1), connection) == [345]
            assert tcp.send_message(tcp.write_multiple_coils(1, 0, [1, 0, 1]), connection) == 3
            assert tcp.send_message(tcp.read_coils(1, 0, 3), connection) == [1, 0, 1]

    async with device(toml, tmp_path) as app:
        host, _, port = app.address.partition(":")
        await asyncio.to_thread(talk, host, int(port))
        await recorder.wait(1)
        await until(lambda: app.board.targets[7].queued == 0)
    assert recorder.bodies() == [b"Hello!"]
