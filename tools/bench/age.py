"""The bench of age: a device that starts on a large outbox, and answers while retention deletes from it.

An outbox with 1,000,000 delivered strings, all of which are to be deleted, and 100,000 waiting ones for a receiver that is
not there. Printed: how long the start takes, and the answers at 300 strings a second beside those of an empty outbox.
"""

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tools.bench.bench import Bench, Case, memory_of, process, wait_for
from vdevice.outbox import database

DELIVERED, WAITING = 1_000_000, 100_000
LOAD = Case("300/s", 8, 300)
EVENT = (
    "INSERT INTO event (id, target, state, accepted_at, since, value, source_connection, source_parameter, source_value, "
    "finished_at) VALUES (?, ?, ?, ?, ?, ?, '127.0.0.1', 'target/1', ?, ?)"
)


def fill(file: Path) -> None:
    """Write the large outbox."""
    connection = database.connect(file)
    now, text = time.time(), "x" * 120
    with database.transaction(connection):
        rows = ((f"{n:032x}", n % 63 + 1, 1, now, now, text, text, now - 1e6) for n in range(DELIVERED))
        connection.executemany(EVENT, rows)
        rows = ((f"{n + DELIVERED:032x}", 64, 0, now, now, text, text, None) for n in range(WAITING))  # type: ignore[misc]
        connection.executemany(EVENT, rows)
        connection.execute("UPDATE target SET accepted = accepted + ? WHERE number = 64", (WAITING,))
    connection.close()


def kept(file: Path) -> int:
    """Return how many delivered strings are still there."""
    connection = sqlite3.connect(file)
    try:
        return int(
            connection.execute(
                "SELECT count(*) FROM event WHERE state = 1 AND finished_at < ?", (time.time() - 9e5,)
            ).fetchone()[0]
        )
    finally:
        connection.close()


def measure(bench: Bench, folder: Path, seconds: float) -> tuple[float, dict[str, float], float, int]:
    """Return seconds to ready, what the load saw, MiB, and how many strings retention deleted meanwhile."""
    port = int((folder / "port").read_text())
    command = bench.vdevice(folder)
    started = time.perf_counter()
    with process(*command) as running:
        wait_for(port)
        ready = time.perf_counter() - started
        time.sleep(1)
        before = kept(folder / "vdevice.db")
        answers, _ = bench.load(port, LOAD, seconds)
        return ready, answers, memory_of(psutil.Process(running.pid)), before - kept(folder / "vdevice.db")


def main() -> None:
    """Measure both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    seconds = parser.parse_args().seconds
    table = Table("outbox", "ready s", "answer p50 ms", "p99", "p99.9", "greatest", "MiB", "deleted meanwhile")
    with tempfile.TemporaryDirectory(prefix="vdevice-bench-") as name:
        bench = Bench(Path(name), seconds)
        with process(bench.peers, "receive", str(bench.port)):
            wait_for(bench.port)
            for title, large in (("empty", False), ("1,000,000 delivered, 100,000 waiting", True)):
                folder = Path(name) / title
                folder.mkdir()
                bench.configure(folder, Case(title, waiting=WAITING))
                if large:
                    fill(folder / "vdevice.db")
                ready, answers, memory, deleted = measure(bench, folder, seconds)
                figures = (answers["p50"], answers["p99"], answers["p999"], answers["max"], memory)
                table.add_row(title, f"{ready:.2f}", *(f"{figure:.2f}" for figure in figures), f"{deleted:,}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
