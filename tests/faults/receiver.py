"""A receiver that counts, and that behaves as badly as it is told to."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from time import time

from tests import seeds
from tests.faults import responses

ARRIVES = {"well", "slowly", "closes", "endless", "breaks off"}
"""Modes in which what was asked has arrived."""

HUGE = 10 * 2**30
"""Bytes that an endless answer promises, and would send if somebody read them."""

_random = seeds.lots("responses")


def _answer(head: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _says(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _says(writer, f"HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n".encode())
    for _ in range(HUGE >> 16):
        await _says(writer, b"x" * (1 << 16))


async def _trickles(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in _answer("200 OK", b"never whole"):
        await _says(writer, bytes((byte,)))
        await asyncio.sleep(1)


def _always(data: bytes) -> "Behaviour":
    async def behaviour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _says(writer, data)

    return behaviour


async def _slowly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.1)
    await _says(writer, _answer("200 OK", b"ok"))


async def _at_a_date(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    date = formatdate(time() + 1, usegmt=True)
    await _says(writer, _answer(f"429 Too Many Requests\r\nRetry-After: {date}"))


async def _hangs(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _draws(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write a drawn response in one to three pieces; once in a while leave the connection open behind it."""
    response = responses.draw(_random)
    cuts = sorted(_random.randrange(len(response) + 1) for _ in range(_random.randrange(3)))
    for start, end in zip([0, *cuts], [*cuts, len(response)], strict=True):
        await _says(writer, response[start:end])
        await asyncio.sleep(_random.choice([0, 0, 0.001]))
    if _random.random() < 0.03:
        await reader.read()


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {
    "well": _always(_answer("200 OK", b"ok")),
    "slowly": _slowly,
    "closes": _always(_answer("200 OK\r\nConnection: close")),
    "endless": _endless,
    "hangs": _hangs,
    "draws": _draws,
    "trickles": _trickles,
    "breaks off": _always(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
    "resets": _resets,
    "nonsense": _always(b"\x00\xff SSH-2.0 is not HTTP\r\n\r\n"),
    "redirects in circles": _always(_answer("302 Found\r\nLocation: /again")),
    "429 with seconds": _always(_answer("429 Too Many Requests\r\nRetry-After: 1")),
    "429 with a date": _at_a_date,
}
HOSTILE = ("endless", "trickles", "resets", "hangs", "breaks off", "redirects in circles")


async def _hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Behave in any bad way, mostly by a drawn response."""
    await BEHAVIOURS[_random.choice(HOSTILE) if _random.random() < 0.06 else "draws"](reader, writer)


BEHAVIOURS["hostile"] = _hostile
KEEPS = {"well", "slowly", "redirects in circles", "429 with seconds", "429 with a date"}
"""Behaviours after which the connection can carry another request."""


class Receiver:
    """An HTTP server on one port. `mode` is how it answers."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.keys: dict[str, set[bytes]] = {}
        self.mode = "well"
        self.port = 0
        self.asked = 0
        self._connections: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Receiver"]:
        """Listen while the block runs, on the port of the time before where there was one."""
        tasks: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._client(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(begin, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        # No TaskGroup: it would wrap what fails inside the block once for each receiver.
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._connections):
                writer.transport.abort()
            for task in tasks:
                # Who sleeps between two bytes, too.
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection can carry another one."""
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
        self.asked += 1
        mode = self.mode
        if mode in ARRIVES:
            self.arrived.append(body.decode())
            self.keys.setdefault(body.decode(), set()).add(fields[b"idempotency-key"])
        await BEHAVIOURS[mode](reader, writer)
        return mode in KEEPS
