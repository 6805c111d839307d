"""Clients that want the device to have nothing left: connections without a request, without a reader, without a handshake."""

import asyncio
import contextlib
import itertools
import socket
import ssl
import statistics
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.faults.plant import PATIENCE, Plant, Row, running
from tests.support import free_port, peer, until
from vdevice.cli.certs import init
from vdevice.web.auth import Access
from vdevice.web.guesses import QUEUE

HALF_REQUESTS = 1_100
UNREAD_CLIENTS, UNREAD_REQUESTS = 200, 20_000
"""Responses to so many requests are more than the buffers of both sides hold."""

READ = b"\x00\x01\x00\x00\x00\x06\x01\x04\x00\x00\x00\x7d"
"""A request for 125 registers."""

CERTIFICATES = {"cert": "server.pem", "key": "server.key", "client_ca": "ca.pem"}

FEW_FILES = ("prlimit", "--nofile=1024:1024", sys.executable, "-m", "vdevice")
"""A device that may open no more files than many systems permit."""

SIGN_INS = 150
MOST_MEMORY = 100 * 2**20
"""Bytes that a device may take more while passwords are guessed."""

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


async def sign_ins(folder: Path, tries: int) -> Row:
    """Try 150 wrong passwords at once, for one name and for as many; nobody else waits, and memory stays small."""
    page = f"127.0.0.1:{free_port()}"
    Access(folder).set_password("admin", "correct horse", "admin")
    async with running(folder, f"[web]\nlisten = {page!r}\n") as plant, aiohttp.ClientSession() as http:
        device = plant.processes()[0]
        before = device.memory_info().rss

        async def sign_in(name: str, password: str = "wrong horse") -> int:
            async with http.post(f"http://{page}/api/v1/login", json={"name": name, "password": password}) as answer:
                return answer.status

        for number in range(tries):
            most = before
            for names in (["guest"] * SIGN_INS, [f"{number}-{name}" for name in range(SIGN_INS)]):
                asked = asyncio.gather(*(sign_in(name) for name in names))
                while not asked.done():
                    most = max(most, device.memory_info().rss)
                    await asyncio.sleep(0.02)
                said = await asked
                assert set(said) <= {401, 429}, set(said)
                assert said.count(401) <= QUEUE, "all were checked"
            await answered_meanwhile(plant, "sign-ins")
            print(f"sign-ins: {(most - before) / 2**20:.0f} MiB more")  # noqa: T201
            assert most - before < MOST_MEMORY
            assert await sign_in("admin", "correct horse") == 200, "another name is not kept out"
            await plant.recovered()
        assert "Traceback" not in plant.log()
    return plant.judged("300 wrong passwords at once", tries)


async def idle_handshakes(folder: Path, tries: int) -> Row:
    """Open 50 connections a second to the TLS listener that begin no handshake; clients with a certificate get in."""
    init(folder / "certs", role=["operator"])
    secure = f"127.0.0.1:{free_port()}"
    files = "".join(f"{key} = 'certs/{name}'\n" for key, name in CERTIFICATES.items())
    tls = ssl.create_default_context(cafile=folder / "certs/ca.pem")
    tls.load_cert_chain(folder / "certs/client-operator.pem", folder / "certs/client-operator.key")
    async with running(folder, f"[modbus.tls]\nlisten = {secure!r}\n{files}") as plant:
        for _ in range(tries):
            async with flooded(secure):
                await answered_meanwhile(plant, "50 TLS connections a second, new clients with TLS", secure, tls)
                await answered_meanwhile(plant, "50 TLS connections a second, new clients without")
            await plant.recovered()
        lines = [line for line in plant.log().splitlines() if "handshakes under way" in line]
        assert 1 <= len(lines) <= 2, "more than a line in a minute"
        assert "Traceback" not in plant.log()
    return plant.judged("50 TLS connections a second that begin no handshake", tries)


@contextlib.asynccontextmanager
async def flooded(address: str) -> AsyncIterator[None]:
    """Open 50 connections a second, from two addresses, and leave them idle; the block begins when 150 came."""
    host, _, port = address.rpartition(":")
    writers: list[asyncio.StreamWriter] = []

    async def flood() -> None:
        for number in itertools.count():
            source = f"127.0.0.{2 + number % 2}"
            writers.append((await asyncio.open_connection(host, int(port), local_addr=(source, 0)))[1])
            await asyncio.sleep(1 / 50)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(flood())
        await until(lambda: len(writers) >= 150, PATIENCE)
        yield
        task.cancel()
    for writer in writers:
        writer.transport.abort()


async def unread_clients(folder: Path, tries: int) -> Row:
    """Let Modbus clients, 200 in the long form, ask and read nothing: they lose their places and hold up nobody."""
    clients = min(UNREAD_CLIENTS, 10 * tries)
    async with running(folder) as plant:
        for _ in range(tries):
            async with held(plant.address, READ * UNREAD_REQUESTS, clients, "127.0.0.2", reads=False):
                await answered_meanwhile(plant, "clients that do not read")
                async with asyncio.timeout(PATIENCE), peer(plant.address) as plc:
                    while (await plc.inputs(5, 1))[0] > clients // 2:
                        await asyncio.sleep(0.1)
            await plant.recovered()
        assert "it has read nothing of its responses" in plant.log()
        assert "Traceback" not in plant.log()
    return plant.judged(f"{clients} Modbus clients that do not read", tries)


@contextlib.asynccontextmanager
async def held(
    address: str, first: bytes, count: int, source: str = "127.0.0.1", *, reads: bool = True
) -> AsyncIterator[None]:
    """Keep so many connections of an address open, each of which sent these bytes; who is turned away comes again.

    Those that do not read come once.
    """
    host, _, port = address.rpartition(":")
    opened = 0

    async def hold() -> None:
        nonlocal opened
        while True:
            with contextlib.suppress(OSError):
                client = socket.socket()
                if not reads:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                client.bind((source, 0))
                await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
                reader, writer = await asyncio.open_connection(sock=client)
                opened += 1
                try:
                    if not reads:
                        writer.transport.pause_reading()  # type: ignore[attr-defined]
                    writer.write(first)
                    await (reader.read() if reads else asyncio.Event().wait())
                finally:
                    writer.transport.abort()
            await asyncio.sleep(2)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold()) for _ in range(count)]
        await until(lambda: opened >= count, PATIENCE)
        yield
        for task in tasks:
            task.cancel()


async def answered_meanwhile(
    plant: Plant, fault: str, address: str = "", tls: ssl.SSLContext | None = None, count: int = 50
) -> None:
    """Read by new Modbus connections, and print how long that took."""
    took = []
    for _ in range(count):
        started = time.monotonic()
        async with peer(address or plant.address, tls) as plc:
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
