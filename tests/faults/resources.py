"""Clients that want the device to have nothing left: connections without a request, without a reader, without a handshake."""

import asyncio
import contextlib
import statistics
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.faults.plant import Plant, Row, running
from tests.support import free_port, peer, until

HALF_REQUESTS = 1_100
FEW_FILES = ("prlimit", "--nofile=1024:1024", sys.executable, "-m", "vdevice")
"""A device that may open no more files than many systems permit."""

SLOWEST = 5.0
"""Seconds that a read may take on a machine that does other work, too: a bound for a device that hangs, not a figure."""


async def half_requests(folder: Path, tries: int) -> Row:
    """Hold far more half request heads open at the page than the device may open files."""
    page = f"127.0.0.1:{free_port()}"
    settings = f"[web]\nlisten = {page!r}\n"
    async with running(folder, settings, FEW_FILES) as plant:
        for _ in range(tries):
            async with held(page, b"GET / HTTP/1.1\r\nHost: localhost\r\n", HALF_REQUESTS):
                await answered_meanwhile(plant, "half requests")
                assert await health(page) == 200
            await plant.recovered()
        assert "page connection closed" in plant.log()
        assert "Traceback" not in plant.log()
    return plant.judged("1,100 half requests at the page", tries)


async def idle_clients(folder: Path, tries: int) -> Row:
    """Hold more idle Modbus connections of one address than the device may open files."""
    async with running(folder, "", FEW_FILES) as plant:
        for _ in range(tries):
            async with held(plant.address, b"", HALF_REQUESTS, "127.0.0.2"):
                await answered_meanwhile(plant, "idle Modbus clients")
            await plant.recovered()
        assert "modbus.max_connections_per_address" in plant.log()
        assert "Traceback" not in plant.log()
    return plant.judged("1,100 idle Modbus clients of one address", tries)


@contextlib.asynccontextmanager
async def held(address: str, first: bytes, count: int, source: str = "127.0.0.1") -> AsyncIterator[None]:
    """Keep so many connections of an address open, each of which sent these bytes; who is turned away comes again."""
    host, _, port = address.rpartition(":")
    opened = 0

    async def hold() -> None:
        nonlocal opened
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
                opened += 1
                try:
                    writer.write(first)
                    await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(2)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold()) for _ in range(count)]
        await until(lambda: opened >= count, 60)
        yield
        for task in tasks:
            task.cancel()


async def answered_meanwhile(plant: Plant, fault: str, count: int = 50) -> None:
    """Read by new Modbus connections, and print how long that took."""
    took = []
    for _ in range(count):
        started = time.monotonic()
        async with peer(plant.address) as plc:
            assert (await plc.ask(struct.pack(">BHH", 4, 0, 1)))[0] == 4
        took.append(time.monotonic() - started)
    figures = statistics.quantiles(took, n=100)
    print(f"{fault}: connect and read p50 {figures[49] * 1e3:.1f} ms, p99 {figures[98] * 1e3:.1f} ms")  # noqa: T201
    assert max(took) < SLOWEST


async def health(page: str) -> int:
    """Return the status of the page's /readyz."""
    host, _, port = page.rpartition(":")
    async with asyncio.timeout(SLOWEST):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        response = await reader.read()
        writer.close()
    return int(response.split()[1])
