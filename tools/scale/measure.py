"""What an idle device id with 64 targets costs a NATS server: memory, CPU, and the time until it is set up.

    python -m tools.scale.measure --ids 50

Each id is the outbox of a real device that takes and delivers, all in one process without Modbus; the server is real.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tools.bench.bench import free_port, wait_for
from vdevice import logs
from vdevice.board import Board
from vdevice.config import Config
from vdevice.config.load import parse
from vdevice.outbox.jetstream.outbox import NatsOutbox

QUIET = 20.0
"""Seconds for which an idle fleet is watched."""


def config_of(number: int, port: int) -> Config:
    """Return the config of one device with all targets."""
    targets = "".join(f'[targets.{n}]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n' for n in range(1, 65))
    return parse(f'[device]\nid = "d{number}"\n[outbox]\nurl = "nats://127.0.0.1:{port}"\n{targets}', Path())


async def fleet(ids: int, port: int, server: psutil.Process) -> None:
    """Open so many outboxes, and print what the server took for them."""
    memory = server.memory_info().rss
    async with contextlib.AsyncExitStack() as stack:
        started = time.monotonic()
        for number in range(ids):
            config = config_of(number, port)
            outbox = await stack.enter_async_context(NatsOutbox(config, Board(), "all"))
            outbox.serve(config.targets.values(), lambda _stored: None)
            sys.stderr.write(f"\r{number + 1} ids")
        await asyncio.sleep(5)
        spent = time.monotonic() - started - 5
        before, own = sum(server.cpu_times()[:2]), time.process_time()
        await asyncio.sleep(QUIET)
        cpu = (sum(server.cpu_times()[:2]) - before) / QUIET / ids
        ours = (time.process_time() - own) / QUIET / ids
        grown = (server.memory_info().rss - memory) / ids / 2**20
        print(
            f"\n{ids} ids: set up in {spent / ids * 1e3:.0f} ms each; each costs the server {grown:.2f} MiB and "
            f"{cpu * 1e3:.2f} ms of CPU a second, its own process {ours * 1e3:.2f} ms"
        )


def main() -> None:
    """Run a server and the fleet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=50)
    ids = parser.parse_args().ids
    logs.configure(quiet=True)
    with tempfile.TemporaryDirectory(prefix="vdevice-scale-") as folder:
        port = free_port()
        arguments = ["-js", "-sd", folder, "-a", "127.0.0.1", "-p", str(port)]
        program = str(Path(sys.executable).with_name("nats-server"))
        server = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            asyncio.run(fleet(ids, port, psutil.Process(server.pid)))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
