"""The real counterparts of the tests: a device on a free port, an HTTP receiver that keeps bytes, a raw Modbus peer."""

import asyncio
import contextlib
import resource
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from vdevice.app import App
from vdevice.config import Config, Target
from vdevice.config.load import parse
from vdevice.model import Event, new_event_id
from vdevice.outbox.api import Outbox
from vdevice.outbox.sqlite import SqliteOutbox

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: int, body: str = "", **headers: str) -> bytes:
    """Return an HTTP answer; header names are written with _ for -."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class Recorder:
    """An HTTP server that keeps each request's bytes. `reply` gives the answer to request number n (from 0)."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.reply: Callable[[int], bytes] = lambda _n: OK
        self.delay = 0.0
        self.url = ""
        self.hostport = ""
        self._arrived = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def serve(self, ssl: object = None) -> AsyncIterator["Recorder"]:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=ssl)
        port = server.sockets[0].getsockname()[1]
        self.hostport = f"127.0.0.1:{port}"
        self.url = f"{'https' if ssl else 'http'}://{self.hostport}"
        self._writers: set[asyncio.StreamWriter] = set()
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = await reader.readexactly(length) if length else b""
                number = len(self.requests)
                self.requests.append(head + body)
                async with self._arrived:
                    self._arrived.notify_all()
                if self.delay:
                    await asyncio.sleep(self.delay)
                reply = self.reply(number)
                if not reply:
                    break
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def wait(self, count: int, seconds: float = 10) -> list[bytes]:
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    def bodies(self) -> list[bytes]:
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]


class Peer:
    """A raw Modbus/TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.transaction = 0

    def frame(self, pdu: bytes, unit: int = 1) -> bytes:
        self.transaction = (self.transaction + 1) & 0xFFFF
        return struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, unit) + pdu

    async def answer(self, seconds: float = 5) -> tuple[int, int, bytes]:
        async with asyncio.timeout(seconds):
            transaction, _protocol, length, unit = struct.unpack(">HHHB", await self.reader.readexactly(7))
            return transaction, unit, await self.reader.readexactly(length - 1)

    async def ask(self, pdu: bytes, unit: int = 1) -> bytes:
        self.writer.write(self.frame(pdu, unit))
        transaction, answered, reply = await self.answer()
        assert (transaction, answered) == (self.transaction, unit)
        return reply

    async def inputs(self, address: int, count: int) -> list[int]:
        reply = await self.ask(struct.pack(">BHH", 4, address, count))
        assert reply[0] == 4, reply
        return list(struct.unpack(f">{count}H", reply[2:]))


def fc16(address: int, data: bytes | str) -> bytes:
    """Return the PDU of an FC16 write of text."""
    raw = data.encode() if isinstance(data, str) else data
    raw += b"\0" * (len(raw) % 2)
    return struct.pack(">BHHB", 16, address, len(raw) // 2, len(raw)) + raw


@contextlib.asynccontextmanager
async def peer(address: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


GIVEN: dict[str, str] = {}
"""Lines that every device of a test gets in a section of its config."""


def with_given(toml: str) -> str:
    """Return a config with the lines that the test's devices are given."""
    for section, lines in GIVEN.items():
        head = f"[{section}]\n"
        toml = toml.replace(head, f"{head}{lines}\n", 1) if head in toml else f"{head}{lines}\n{toml}"
    return toml


@contextlib.asynccontextmanager
async def device(toml: str, folder: Path) -> AsyncIterator[App]:
    """Run a device with this config on a free port; [modbus] is added unless the text has it."""
    if "[modbus]" not in toml:
        toml = f'[modbus]\nlisten = "127.0.0.1:0"\n{toml}'
    if "[web]" not in toml:
        toml = f"[web]\nenabled = false\n{toml}"
    toml = with_given(toml)
    path = folder / "vdevice.toml"
    path.write_text(toml, "utf-8")
    app = App(parse(toml, folder), path)
    async with app.running():
        yield app


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


async def start(config: Path, role: str = "all") -> asyncio.subprocess.Process:
    """Run a device, or a half of one, in a process of its own; its log goes beside its config."""
    with config.with_suffix(".log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vdevice", "run", "--config", str(config), "--role", role, stdout=log, stderr=log
        )


async def listening(address: str) -> None:
    """Wait until a device listens, stores and delivers."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ConnectionError):
                async with peer(address) as plc:
                    # Bit 2 of the flags is "delivery stopped".
                    if not (await plc.inputs(0, 7))[6] & 0b110:
                        return
            await asyncio.sleep(0.05)


async def counting_plc(
    addresses: Sequence[str], target: int, answered: list[str], stop: asyncio.Event, pause: float = 0
) -> None:
    """Write numbered strings, a few at a time; note those that were answered; where one device is gone, go to the next.

    `pause` is seconds between these few and the next.
    """
    number, place = 0, 0
    while not stop.is_set():
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            async with peer(addresses[place % len(addresses)]) as connection:
                while not stop.is_set():
                    values = [f"{target}:{number + index}" for index in range(4)]
                    number += 4
                    connection.writer.write(b"".join(connection.frame(fc16(target * 1000, v)) for v in values))
                    refused = 0
                    for value in values:
                        if (await connection.answer(3))[2][0] == 16:
                            answered.append(value)
                        else:
                            refused += 1
                    if refused or pause:
                        await asyncio.sleep(pause or 0.05)
        place += 1
        await asyncio.sleep(0.02)


def target_of(settings: str, folder: Path = Path()) -> tuple[Config, Target]:
    """Return a config with target 7 of these settings, method and URL given where they are not."""
    if "method" not in settings:
        settings += '\nmethod = "post-raw"'
    if "url =" not in settings:
        settings += '\nurl = "http://example.com/hook"'
    config = parse(f"[targets.7]\n{settings}\n", folder)
    return config, config.targets[7]


def event_of(value: str, at: float = 1_750_000_000.0) -> Event:
    return Event(new_event_id(at), 7, value, at, "10.0.0.5", "target/7", value)


def fill_disk(outbox: Outbox) -> None:
    """Let every write of the outbox's writer process fail, as a full or broken disk would."""
    assert isinstance(outbox, SqliteOutbox)
    assert outbox.writer_pid
    resource.prlimit(outbox.writer_pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def empty_disk(outbox: Outbox) -> None:
    """Let the outbox's writer write again."""
    assert isinstance(outbox, SqliteOutbox)
    assert outbox.writer_pid
    resource.prlimit(outbox.writer_pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def free_port() -> int:
    """Return a port that nobody listens on just now, for a device in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
