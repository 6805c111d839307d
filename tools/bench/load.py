"""The bench's load: FC16 writes of 120-byte strings over some connections, as fast as answers come or at a given rate.

Prints JSON: answers, exceptions, and the milliseconds from request to answer, sorted.
"""

import asyncio
import json
import struct
import sys
import time

import uvloop

SIZE = 120


class Writer(asyncio.Protocol):
    """One connection with one request under way. `due` paces it, in seconds between requests; 0 = as fast as it goes."""

    def __init__(self, target: int, due: float, offset: float, until: float, results: dict[str, list[float]]) -> None:
        self.target = target
        self.due = due
        self.next_at = time.perf_counter() + offset
        self.until = until
        self.results = results
        self.transaction = 0
        self.buffer = bytearray()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self.later()

    def connection_lost(self, _exc: Exception | None) -> None:
        """End."""
        if not self.done.done():
            self.done.set_result(None)

    def later(self) -> None:
        """Send the next request when it is due."""
        if not self.due:
            self.send()
            return
        self.next_at += self.due
        asyncio.get_running_loop().call_later(max(self.next_at - time.perf_counter(), 0), self.send)

    def send(self) -> None:
        """Send one request, or end."""
        now = time.perf_counter()
        if now > self.until:
            self.transport.close()
            return
        self.transaction = (self.transaction + 1) & 0xFFFF
        text = b"%d:" % time.time_ns()
        data = text + b"x" * (SIZE - len(text))
        pdu = struct.pack(">BHHB", 16, self.target * 1000, SIZE // 2, SIZE) + data
        self.sent_at = now
        self.transport.write(struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, 1) + pdu)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Note the answer."""
        self.buffer += data
        if len(self.buffer) < 9:
            return
        size = 6 + int.from_bytes(self.buffer[4:6])
        if len(self.buffer) < size:
            return
        good = self.buffer[7] == 16 and int.from_bytes(self.buffer[:2]) == self.transaction
        self.results["answers" if good else "exceptions"].append((time.perf_counter() - self.sent_at) * 1000)
        del self.buffer[:size]
        self.later()


async def main(port: int, connections: int, rate: float, seconds: float) -> None:
    """Write for some seconds; `rate` is strings a second over all connections, 0 = as fast as answers come."""
    results: dict[str, list[float]] = {"answers": [], "exceptions": []}
    until = time.perf_counter() + seconds
    due = connections / rate if rate else 0.0
    writers = []
    for index in range(connections):
        offset = due * index / connections
        _, writer = await asyncio.get_running_loop().create_connection(
            lambda index=index, offset=offset: Writer(index % 64 + 1, due, offset, until, results),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        writers.append(writer)
    await asyncio.gather(*(writer.done for writer in writers))
    print(json.dumps({"answers": sorted(results["answers"]), "exceptions": len(results["exceptions"])}))


uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
