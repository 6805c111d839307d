"""`make bench`: this device and the script that people write today, in one run, against the same receiver.

Rounds are interleaved, so that a slow moment of the machine hits both. Ratios count, not figures. The load and the
receiver run beside the device on the same two cores; their CPU is printed to show what the device had to share.
"""

import argparse
import contextlib
import json
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


class Case(NamedTuple):
    """One load: connections, strings a second in all (0 = as fast as answers come)."""

    name: str
    connections: int
    rate: float


class Result(NamedTuple):
    """What one round gave. Times are milliseconds, CPU microseconds a delivered string, memory MiB."""

    delivered: float
    arrival_p50: float
    arrival_p99: float
    answer_p50: float
    answer_p99: float
    cpu: float
    memory: float
    others: float


CASES = (Case("64 connections", 64, 0), Case("8 connections", 8, 0), Case("300/s offered", 8, 300))


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


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[psutil.Process]:
    """Run a Python process while the block runs."""
    started = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(30)


@contextlib.contextmanager
def device(name: str, url: str) -> Iterator[tuple[psutil.Process, int]]:
    """Start vdevice or the script."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vdevice-bench-") as folder:
        if name == "script":
            command = [str(HERE / "script.py"), str(port), url]
        else:
            targets = "".join(
                f'[targets.{n}]\nmethod = "post-raw"\nurl = "{url}"\npayload = "$VALUE"\n' for n in range(1, 65)
            )
            config = Path(folder) / "vdevice.toml"
            config.write_text(f'[modbus]\nlisten = "127.0.0.1:{port}"\n{targets}')
            command = ["-m", "vdevice", "run", "--config", str(config)]
        with process(*command) as running:
            wait_for(port)
            yield running, port


def stats(url: str) -> list[float]:
    """Return the ages of the strings that arrived since the last call, sorted, in milliseconds."""
    with urllib.request.urlopen(f"{url}stats", timeout=30) as answer:
        found: list[float] = json.load(answer)
    return found


def cpu_of(running: psutil.Process) -> float:
    """Return the CPU seconds of a process so far."""
    times = running.cpu_times()
    return float(times.user + times.system)


def measure(  # noqa: PLR0917
    case: Case, running: psutil.Process, port: int, url: str, receiver: psutil.Process, seconds: float
) -> Result:
    """Run one load against one device."""
    load = (str(HERE / "load.py"), str(port), str(case.connections), str(case.rate))
    subprocess.run([sys.executable, *load, "1"], check=True, stdout=subprocess.DEVNULL)
    settle(url)
    before, receiver_before = cpu_of(running), cpu_of(receiver)
    started = time.perf_counter()
    output = subprocess.run([sys.executable, *load, str(seconds)], check=True, capture_output=True).stdout
    elapsed = time.perf_counter() - started
    arrived = stats(url)
    rate = len(arrived) / min(elapsed, seconds + 0.5)
    spent = cpu_of(running) - before
    late = settle(url)
    spent_in_all = cpu_of(running) - before
    answers = json.loads(output)
    if answers["exceptions"]:
        raise SystemExit(f"{answers['exceptions']} exceptions in {case.name}")
    total = len(arrived) + late
    return Result(
        rate,
        quantile(arrived, 0.5),
        quantile(arrived, 0.99),
        quantile(answers["answers"], 0.5),
        quantile(answers["answers"], 0.99),
        spent_in_all / max(total, 1) * 1e6,
        running.memory_info().rss / 2**20,
        (cpu_of(receiver) - receiver_before) / max(spent, 1e-9),
    )


def settle(url: str) -> int:
    """Wait until nothing arrives any more; return how many strings came meanwhile."""
    count, quiet = 0, 0
    while quiet < 2:
        time.sleep(0.25)
        found = len(stats(url))
        count += found
        quiet = 0 if found else quiet + 1
    return count


def quantile(values: list[float], part: float) -> float:
    """Return a quantile of sorted values."""
    return values[min(int(len(values) * part), len(values) - 1)] if values else float("nan")


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    console = Console()
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    results: dict[tuple[str, str], list[Result]] = {}
    with (
        process(str(HERE / "receive.py"), str(port)) as receiver,
        Progress(console=console, transient=True) as progress,
    ):
        wait_for(port)
        bar = progress.add_task("measuring", total=arguments.rounds * len(CASES) * 2)
        for _ in range(arguments.rounds):
            for case in CASES:
                for name in ("vdevice", "script"):
                    with device(name, url) as (running, device_port):
                        result = measure(case, running, device_port, url, receiver, arguments.seconds)
                    results.setdefault((case.name, name), []).append(result)
                    progress.advance(bar)
    show(console, results)


def show(console: Console, results: dict[tuple[str, str], list[Result]]) -> None:
    """Print medians, and the ratios of vdevice to the script."""
    columns = (
        "delivered/s",
        "arrival p50 ms",
        "p99",
        "answer p50 ms",
        "p99",
        "CPU µs each",
        "MiB",
        "receiver CPU / device CPU",
    )
    table = Table("load", "", *columns, title="medians; vdevice keeps every string on disk, the script keeps nothing")
    for case in CASES:
        medians = {}
        for name in ("vdevice", "script"):
            rounds = results[case.name, name]
            medians[name] = [statistics.median(values) for values in zip(*rounds, strict=True)]
            spread = f" ({min(r.delivered for r in rounds):.0f}..{max(r.delivered for r in rounds):.0f})"
            table.add_row(
                case.name, name, f"{medians[name][0]:.0f}{spread}", *(f"{value:.2f}" for value in medians[name][1:])
            )
        ratios = [ours / theirs for ours, theirs in zip(medians["vdevice"], medians["script"], strict=True)]
        table.add_row(case.name, "ratio", *(f"{ratio:.2f}" for ratio in ratios), style="bold", end_section=True)
    Console(width=max(console.width, 150)).print(table)


main()
