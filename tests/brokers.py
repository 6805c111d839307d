"""Real NATS servers for the tests, alone or as a cluster on loopback; each keeps its streams in a folder."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import free_port

SERVER = Path(sys.executable).with_name("nats-server")


class NatsServer:
    """One server; `url` stays the same through restarts."""

    def __init__(self, folder: Path, settings: str = "", scheme: str = "nats", limits: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._folder = folder
        self._settings = settings
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config, log = self._folder / "server.conf", self._folder / "server.log"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self._folder}/js", {self._limits} }}\n{self._settings}\n'
        )
        self._process = subprocess.Popen(
            [SERVER, "-c", config, "-l", log], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait()
        self._process = None


@contextlib.contextmanager
def nats_server(folder: Path, settings: str = "", scheme: str = "nats", limits: str = "") -> Iterator[NatsServer]:
    server = NatsServer(folder, settings, scheme, limits)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


@contextlib.contextmanager
def nats_cluster(folder: Path) -> Iterator[list[NatsServer]]:
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
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop(signal.SIGKILL)
