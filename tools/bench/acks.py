"""Requests to a receiver that writes head and body apart, as Python's http.server does, with and without TCP_QUICKACK.

.venv/bin/python -m tools.bench.acks

Such a receiver holds its body back until its head is acknowledged, and the kernel holds that back for 40 ms. Both ways take
turns in one run; the ratio counts, not the figures.
"""

import asyncio
import multiprocessing
import statistics
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe

import uvloop

from vdevice.dispatch import connection
from vdevice.dispatch.connections import Connections
from vdevice.webhooks.request import Request

ROUNDS = 5
REQUESTS = 40


class _Apart(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


def _serve(pipe: Pipe) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Apart)
    pipe.send(server.server_port)
    server.serve_forever()


async def _median_ms(port: int, option: int | None) -> float:
    """Return the median of some requests, one after the other on one kept connection."""
    connection._QUICKACK = option  # noqa: SLF001 (there is no setting for it, as nobody should switch it off)
    loop = asyncio.get_running_loop()
    pool = Connections()
    headers = [("Host", "127.0.0.1"), ("Content-Length", "5")]
    request = Request("POST", f"http://127.0.0.1:{port}/", headers, b"hello")
    times = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        response = await pool.send(request, None, loop.time() + 10)
        if (response.status, response.body, response.reusable) != (200, b"ok", True):
            raise SystemExit(f"not the response that was sent: {response}")
        times.append(time.perf_counter() - started)
    pool.close()
    return statistics.median(times) * 1000


def main() -> None:
    """Measure both ways in turns."""
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=_serve, args=(theirs,), daemon=True)
    receiver.start()
    port = ours.recv()
    option = connection._QUICKACK  # noqa: SLF001 (as above)
    rounds = [(uvloop.run(_median_ms(port, None)), uvloop.run(_median_ms(port, option))) for _ in range(ROUNDS)]
    receiver.terminate()
    receiver.join()
    without, with_option = (statistics.median(one[index] for one in rounds) for index in (0, 1))
    print(f"head and body apart: {without:.2f} ms without TCP_QUICKACK, {with_option:.2f} ms with it")
    print(f"ratio {without / with_option:.1f}")


if __name__ == "__main__":
    main()
