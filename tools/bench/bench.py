"""`make bench`: this device beside the script that people write and a Node pair, in one run, against the same receiver.

Rounds are interleaved, so that a slow moment of the machine hits all. Ratios count, not figures. Load and receiver are in C
(peers.c), so that two cores are left for the device: the last columns show what they took of a core meanwhile.
"""

import argparse
import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).parent
WARM_UP = 1.0
SYNCED = "script synced"
"""The script with one synced append a string, the least that keeping it takes."""

ALL = ("vdevice", "script", SYNCED, "node")
NATS = {"NATS": (1, ""), "NATS synced": (1, ", sync_interval: always"), "NATS cluster": (3, "")}
"""vdevice on NATS: one server, which may sync each write to its disk, as SQLite does, or three that replicate."""


class Case(NamedTuple):
    """One load: connections, strings a second in all (0 = as fast as answers come), requests under way on each."""

    name: str
    connections: int = 64
    rate: float = 0
    pipeline: int = 1
    devices: tuple[str, ...] = ALL
    slow: bool = False
    waiting: int = 0
    idle: int = 0


CASES = (
    Case("64 connections", devices=(*ALL, *NATS)),
    Case("8 connections", 8, devices=(*ALL, *NATS)),
    Case("64 connections, 16 requests each", pipeline=16, devices=("vdevice",)),
    Case("300/s offered", 8, 300, devices=(*ALL, *NATS)),
    Case("64 connections, one receiver slow", slow=True, devices=("vdevice",)),
    Case("300/s, 100,000 waiting", 8, 300, devices=("vdevice",), waiting=100_000),
    Case("300/s, 500 idle connections", 8, 300, devices=("vdevice",), idle=500),
)


class Result(NamedTuple):
    """What one round gave. Times are milliseconds, CPU microseconds a delivered string (`brokers`: in NATS), memory MiB."""

    delivered: float
    answered: float
    arrival_p50: float
    arrival_p99: float
    answer_p50: float
    answer_p99: float
    answer_p999: float
    cpu: float
    memory: float
    brokers: float
    load: float
    receiver: float


def free_port() -> int:
    """Return a port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on port {port}")


def ready(port: int) -> None:
    """Wait until a device stores strings: bits 1 and 2 of its flags are clear, or it has no flags."""
    with socket.create_connection(("127.0.0.1", port)) as device:
        for _ in range(200):
            device.sendall(b"\0\1\0\0\0\6\1\4\0\6\0\1")
            answer = device.recv(64)
            if answer[7] & 0x80 or not answer[10] & 6:
                return
            time.sleep(0.1)
    raise SystemExit(f"the device on port {port} does not get ready")


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[psutil.Process]:
    """Run a program while the block runs."""
    started = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(60)


def family(running: psutil.Process) -> list[psutil.Process]:
    """Return a process and its children: vdevice has one."""
    return [running, *running.children(recursive=True)]


def cpu_of(running: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children so far."""
    return sum(float(times.user + times.system) for times in (one.cpu_times() for one in family(running)))


def memory_of(running: psutil.Process) -> float:
    """Return the resident MiB of a process and its children."""
    return float(sum(one.memory_info().rss for one in family(running))) / 2**20


class Bench:
    """What all rounds share: the peers, built once, and the receiver."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.servers: list[psutil.Process] = []
        self.peers = str(folder / "peers")
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("a C compiler is missing; on Debian: apt install gcc libc6-dev")
        subprocess.run([compiler, "-O2", "-o", self.peers, str(HERE / "peers.c")], check=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"

    def stats(self) -> dict[str, float]:
        """Return what arrived since the last call."""
        with urllib.request.urlopen(f"{self.url}stats", timeout=60) as answer:
            found: dict[str, float] = json.load(answer)
        return found

    def settle(self) -> int:
        """Wait until nothing arrives any more; return how many strings came meanwhile."""
        count, quiet = 0, 0
        while quiet < 2:
            time.sleep(0.25)
            found = int(self.stats()["count"])
            count += found
            quiet = 0 if found else quiet + 1
        return count

    def load(
        self, port: int, case: Case, seconds: float, connections: int | None = None
    ) -> tuple[dict[str, float], float]:
        """Run the load; return what it saw, and the CPU seconds that it took."""
        arguments = [str(port), str(connections or case.connections), str(case.rate), str(seconds), str(case.pipeline)]
        children = psutil.Process().cpu_times()
        output = subprocess.run([self.peers, "load", *arguments], check=True, capture_output=True).stdout
        after = psutil.Process().cpu_times()
        spent = after.children_user + after.children_system - children.children_user - children.children_system
        return json.loads(output), float(spent)

    @contextlib.contextmanager
    def device(self, name: str, case: Case) -> Iterator[tuple[psutil.Process, int]]:
        """Start a device."""
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="vdevice-bench-") as folder:
            own = self.vdevice(Path(folder))
            commands = {
                **dict.fromkeys(("vdevice", *NATS), own),
                "script": [sys.executable, str(HERE / "script.py"), str(port), self.url],
                SYNCED: [sys.executable, str(HERE / "script.py"), str(port), self.url, f"{folder}/kept"],
                "node": ["node", str(HERE / "node" / "pair.js"), str(port), self.url],
            }
            with self.brokers(Path(folder), *NATS.get(name, (0, ""))) as outbox, contextlib.ExitStack() as stack:
                self.configure(Path(folder), case, port, outbox)
                running = stack.enter_context(process(*commands[name]))
                wait_for(port)
                ready(port)
                yield running, port

    def vdevice(self, folder: Path) -> list[str]:
        """Return the command of the device that is configured in a folder."""
        return [sys.executable, "-m", "vdevice", "run", "--config", str(folder / "vdevice.toml")]

    @contextlib.contextmanager
    def brokers(self, folder: Path, count: int, sync: str) -> Iterator[str]:
        """Run so many NATS servers; yield the lines of [outbox] for them, none for SQLite."""
        ports, routes = ([free_port() for _ in range(count)] for _ in range(2))
        with contextlib.ExitStack() as stack:
            for place, (port, route) in enumerate(zip(ports, routes, strict=True)):
                lines = [f'listen: "127.0.0.1:{port}"', f'server_name: "n{place}"']
                lines.append(f'jetstream {{ store_dir: "{folder}/{place}"{sync} }}')
                if count > 1:
                    others = ", ".join(f'"nats://127.0.0.1:{other}"' for other in routes)
                    lines.append(f'cluster {{ name: bench, listen: "127.0.0.1:{route}", routes: [{others}] }}')
                config = folder / f"nats-{place}.conf"
                config.write_text("\n".join(lines))
                server = str(Path(sys.executable).with_name("nats-server"))
                self.servers.append(stack.enter_context(process(server, "-c", str(config))))
            for port in ports:
                wait_for(port)
            urls = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
            yield f'url = "{urls}"\nreplicas = {count}\n' if count else ""
        self.servers.clear()

    def configure(self, folder: Path, case: Case, port: int | None = None, outbox: str = "") -> None:
        """Write the config of vdevice: 64 targets, of which the last one may be slow, or have a receiver that is not there."""
        port = port or free_port()
        (folder / "port").write_text(str(port))
        toml = f'[modbus]\nlisten = "127.0.0.1:{port}"\n[outbox]\nmax_messages = 1000000\n{outbox}'
        for number in range(1, 65):
            last = number == 64
            url = (
                f"{self.url}slow"
                if last and case.slow
                else "http://127.0.0.1:9/"
                if last and case.waiting
                else self.url
            )
            toml += f'[targets.{number}]\nmethod = "post-raw"\nurl = "{url}"\npayload = "$VALUE"\n'
        (folder / "vdevice.toml").write_text(toml)

    def measure(self, case: Case, running: psutil.Process, port: int, receiver: psutil.Process) -> Result:
        """Run one load against one device."""
        with contextlib.ExitStack() as stack:
            if case.waiting:
                self.fill(port, case.waiting)
            if case.idle:
                stack.enter_context(process(self.peers, "idle", str(port), str(case.idle), "3600"))
                time.sleep(1)
            self.load(port, case, WARM_UP)
            self.settle()
            before, receiver_before = cpu_of(running), cpu_of(receiver)
            brokers = sum(map(cpu_of, self.servers))
            answers, load = self.load(port, case, self.seconds)
            arrived = self.stats()
            receiver_spent = cpu_of(receiver) - receiver_before
            late = 0 if case.slow else self.settle()
            spent = cpu_of(running) - before
            brokers = sum(map(cpu_of, self.servers)) - brokers
        count = max(arrived["count"] + late, 1)
        if answers["exceptions"] or answers["missing"]:
            raise SystemExit(
                f"{answers['exceptions']:.0f} exceptions, {answers['missing']:.0f} without an answer in {case.name}"
            )
        return Result(
            delivered=arrived["count"] / self.seconds,
            answered=answers["count"] / self.seconds,
            arrival_p50=arrived["p50"],
            arrival_p99=arrived["p99"],
            answer_p50=answers["p50"],
            answer_p99=answers["p99"],
            answer_p999=answers["p999"],
            cpu=spent / count * 1e6,
            memory=memory_of(running),
            brokers=brokers / count * 1e6,
            load=load / self.seconds,
            receiver=receiver_spent / self.seconds,
        )

    def fill(self, port: int, count: int) -> None:
        """Write strings to target 64 until so many wait."""
        with socket.create_connection(("127.0.0.1", port)) as device:
            body = b"\x10" + (64_000).to_bytes(2) + (60).to_bytes(2) + b"\x78" + b"w" * 120
            frame = b"\0\1\0\0" + (len(body) + 1).to_bytes(2) + b"\1" + body
            for _ in range(0, count, 16):
                device.sendall(frame * 16)
                got = 0
                while got < 16 * 12:
                    got += len(device.recv(4096))


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--case", help="only the case of this name, or those whose names hold it")
    parser.add_argument("--devices", nargs="+", help="only these of vdevice, script, node, …")
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    arguments = parser.parse_args()
    console = Console()
    named = [case for case in CASES if case.name == arguments.case]
    cases = named or [case for case in CASES if not arguments.case or arguments.case in case.name]
    node = node_is_there(console)
    results: dict[tuple[str, str], list[Result]] = {}
    with tempfile.TemporaryDirectory(prefix="vdevice-bench-") as folder:
        bench = Bench(Path(folder), arguments.seconds)
        rounds = [
            (case, name)
            for _ in range(arguments.rounds)
            for case in cases
            for name in case.devices
            if (node or name != "node") and (not arguments.devices or name in arguments.devices)
        ]
        with (
            process(bench.peers, "receive", str(bench.port)) as receiver,
            Progress(console=console, transient=True) as progress,
        ):
            wait_for(bench.port)
            for case, name in progress.track(rounds, description="measuring"):
                with bench.device(name, case) as (running, port):
                    results.setdefault((case.name, name), []).append(bench.measure(case, running, port, receiver))
                time.sleep(0.5)
                bench.stats()
    show(console, results)
    if arguments.json:
        figures = {
            f"{case}; {name}": [result._asdict() for result in rounds] for (case, name), rounds in results.items()
        }
        arguments.json.write_text(json.dumps(figures, indent=1))


def node_is_there(console: Console) -> bool:
    """Install what the Node pair needs, from its lock file; tell where there is no Node."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        console.print("node and npm are not here: the Node pair is left out; on Debian: apt install nodejs npm")
        return False
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--silent"], cwd=HERE / "node", check=True)
    return True


def show(console: Console, results: dict[tuple[str, str], list[Result]]) -> None:
    """Print medians and the spread of the rate, and the ratios of vdevice to the others."""
    times = ("arrival p50 ms", "p99", "answer p50 ms", "p99", "p99.9")
    columns = ("delivered/s", "answered/s", *times, "CPU µs each", "MiB", "NATS CPU µs", "load", "receiver")
    title = "medians; script and node keep nothing; load and receiver in cores"
    table = Table("load", "", *columns, title=title)
    medians = {
        key: Result(*(statistics.median(values) for values in zip(*rounds, strict=True)))
        for key, rounds in results.items()
    }
    for (case, name), median in medians.items():
        rates = [result.delivered for result in results[case, name]]
        first = f"{median.delivered:.0f} ({min(rates):.0f}..{max(rates):.0f})"
        table.add_row(case, name, first, f"{median.answered:.0f}", *(f"{value:.2f}" for value in median[2:]))
        other = medians.get((case, "vdevice")) if name != "vdevice" else None
        if other:
            ratios = (f"{ours / theirs:.2f}" if theirs else "" for ours, theirs in zip(other, median, strict=True))
            table.add_row("", f"vdevice / {name}", *ratios, style="bold")
    Console(width=max(console.width, 190)).print(table)


if __name__ == "__main__":
    main()
