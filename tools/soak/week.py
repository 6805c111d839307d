"""An accelerated week: millions of strings, reloads, dead receivers, log rotation, retention; what the device takes meanwhile.

    .venv/bin/python -m tools.soak.week --minutes 12

Writes docs/soak.svg, and the figures into docs/reliability.md. A real week is 10,080 minutes; here strings are kept for
seconds instead of hours, and the config is changed every few seconds instead of once a day.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console

from tools.bench.bench import Bench, Case, free_port, process, ready, wait_for
from tools.soak.page import DOCS, replace
from tools.soak.plot import Curve, plot
from tools.soak.samples import Sample, flat, grew, rows, sample

RATE = 3000
CONNECTIONS = 64
RELOAD, ROTATE = 5.0, 30.0
"""Seconds between two reloads, and two rotations of the log."""

KEPT = "keep_delivered = 0.004\nkeep_failed = 0.0002\n"
"""14 and 17 seconds: retention runs all the time."""


def configure(folder: Path, bench: Bench, number: int) -> None:
    """Write the config: 64 targets, of which three have a receiver that is not there, and one whose receiver is slow."""
    toml = f'[modbus]\nlisten = "127.0.0.1:{(folder / "port").read_text()}"\n[outbox]\n{KEPT}'
    for target in range(1, 65):
        url = {61: f"{bench.url}slow"}.get(target, "http://127.0.0.1:9/" if target > 61 else bench.url)
        hurt = "timeout = 0.5\nattempts = 2\nbackoff = 0.1\nbackoff_max = 1\nmax_age = 3\n" if target > 60 else ""
        toml += f'[targets.{target}]\nmethod = "post-raw"\nurl = "{url}"\npayload = "$VALUE"\n{hurt}'
        toml += f'description = "version {number}"\n'
    new = folder / "vdevice.new"
    new.write_text(toml)
    new.replace(folder / "vdevice.toml")


def watch(device: psutil.Process, folder: Path, bench: Bench, seconds: float, console: Console) -> list[Sample]:
    """Reload, rotate and look, until the time is over."""
    started, samples, reloads, rotations = time.monotonic(), [], 0, 0
    with console.status("") as status:
        while (now := time.monotonic() - started) < seconds:
            samples.append(sample(device, folder, started))
            if now > RELOAD * (reloads + 1):
                reloads += 1
                configure(folder, bench, reloads)
                if reloads % 2:
                    # Every other time by the signal; else it finds out by itself.
                    device.send_signal(signal.SIGHUP)
            if now > ROTATE * (rotations + 1):
                rotations += 1
                # As logrotate's copytruncate does.
                (folder / "log").open("r+b").truncate()
            last = samples[-1]
            status.update(f"{now:.0f} of {seconds:.0f} s: {last.memory:.0f} MiB, outbox {last.database:.1f} MiB")
            time.sleep(1)
    return samples


def run(minutes: float, console: Console) -> tuple[list[Sample], dict[str, float]]:
    """Run the week; return the samples and what the load saw."""
    seen: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="vdevice-soak-") as name:
        folder = Path(name)
        bench = Bench(folder, minutes * 60)
        (folder / "port").write_text(str(port := free_port()))
        configure(folder, bench, 0)
        with process(bench.peers, "receive", str(bench.port)), (folder / "log").open("ab") as log:
            wait_for(bench.port)
            command = [sys.executable, "-m", "vdevice", "run", "--config", str(folder / "vdevice.toml")]
            device = subprocess.Popen(command, stdout=log, stderr=log)
            wait_for(port)
            ready(port)
            case = Case("week", CONNECTIONS, RATE)
            load = threading.Thread(target=lambda: seen.update(bench.load(port, case, minutes * 60)[0]))
            load.start()
            samples = watch(psutil.Process(device.pid), folder, bench, minutes * 60, console)
            load.join()
            device.send_signal(signal.SIGTERM)
            if device.wait(60) != 0:
                raise SystemExit("the device did not end in order")
    return samples, seen


def main() -> None:
    """Run, write picture and figures, and fail where something grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12)
    given = parser.parse_args()
    console = Console()
    samples, seen = run(given.minutes, console)
    curves = [
        Curve("memory of both processes, MiB", [(one.at, one.memory) for one in samples]),
        Curve("open files and sockets", [(one.at, one.descriptors) for one in samples]),
        Curve("write-ahead log, MiB", [(one.at, one.wal) for one in samples]),
        Curve("outbox, MiB", [(one.at, one.database) for one in samples]),
        Curve("log file, MiB", [(one.at, one.log) for one in samples]),
    ]
    (DOCS / "soak.svg").write_text(plot(curves))
    medians = flat(samples, ("memory", "descriptors", "wal", "database"))
    words = (
        f"{seen['count']:,.0f} strings answered in {given.minutes:g} minutes, {given.minutes * 60 // RELOAD:.0f} reloads, "
        f"{given.minutes * 60 // ROTATE:.0f} log rotations, four of 64 receivers dead or slow; answer p99 "
        f"{seen['p99']:.1f} ms."
    )
    lines = [
        words,
        "",
        *rows(medians),
    ]
    replace("week", "\n".join(lines))
    console.print("\n".join(lines))
    grown = grew(medians)
    if seen["exceptions"] or seen["missing"]:
        raise SystemExit(f"{seen['exceptions']:.0f} refused, {seen['missing']:.0f} without an answer")
    if grown:
        raise SystemExit(f"grew: {', '.join(grown)}")


if __name__ == "__main__":
    main()
