"""Real NATS servers for the tests, alone or as a cluster on loopback; each keeps its streams in a folder."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support import free_port

SERVER = Path(sys.executable).with_name("nats-server")


class NatsServer:
    """One server; `url` stays the same through restarts."""

    def __init__(self, folder: Path, settings: str = "", scheme: str = "nats") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._folder = folder
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        config = self._folder / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self._folder}/js" }}\n{self._settings}\n'
        )
        log = self._folder / "server.log"
        self._process = await asyncio.create_subprocess_exec(
            SERVER, "-c", config, "-l", log, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(10):
            while True:
                if self._process.returncode is not None:
                    raise RuntimeError(log.read_text())
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()
        self._process = None


@contextlib.asynccontextmanager
async def nats_server(folder: Path, settings: str = "", scheme: str = "nats") -> AsyncIterator[NatsServer]:
    server = NatsServer(folder, settings, scheme)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(signal.SIGKILL)


@contextlib.asynccontextmanager
async def nats_cluster(folder: Path) -> AsyncIterator[list[NatsServer]]:
    """Run three servers that replicate what they keep."""
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    servers = [
        NatsServer(
            folder / str(place),
            f'server_name: "n{place}"\ncluster {{ name: "c", listen: "127.0.0.1:{port}", routes: [{routes}] }}',
        )
        for place, port in enumerate(ports)
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(server.start())
        yield servers
    finally:
        for server in servers:
            await server.stop(signal.SIGKILL)
