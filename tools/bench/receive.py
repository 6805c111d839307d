"""The bench's receiver: a bare HTTP/1.1 protocol that answers 200 and notes how long each string was on its way.

Strings begin with the nanosecond clock of the moment when they were written. GET /stats gives what came since the last
GET /stats, as JSON.
"""

import asyncio
import json
import sys
import time

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Receiver(asyncio.Protocol):
    """One connection; `latencies` (milliseconds) is shared by all."""

    def __init__(self, latencies: list[float]) -> None:
        self.latencies = latencies
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            place = head.lower().find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r", 1)[0]) if place >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Note the string's age, or tell what was noted."""
        reply = OK
        if head.startswith(b"GET /stats"):
            stats = json.dumps(sorted(self.latencies)).encode()
            self.latencies.clear()
            reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(stats), stats)
        else:
            self.latencies.append((time.time_ns() - int(body.split(b":", 1)[0])) / 1e6)
        self.transport.write(reply)  # type: ignore[attr-defined]


async def main(port: int) -> None:
    """Receive until killed."""
    latencies: list[float] = []
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(latencies), "127.0.0.1", port)
    await server.serve_forever()


uvloop.run(main(int(sys.argv[1])))
