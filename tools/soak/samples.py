"""What a device takes over a run, and whether it grew."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

GROWTH = 1.15
"""How much more the last third of a run may take than the middle one."""

Medians = dict[str, tuple[float, float]]
"""Of each thing, the medians of the middle and the last third of a run."""


class Sample(NamedTuple):
    """What the device took at a moment, `at` seconds after the start; memory and files in MiB."""

    at: float
    memory: float
    descriptors: float
    wal: float
    database: float
    log: float


def sample(device: psutil.Process, folder: Path, started: float) -> Sample:
    """Look at a device and its writer."""
    processes = [device, *device.children()]

    def size(name: str) -> float:
        file = folder / name
        return file.stat().st_size / 2**20 if file.exists() else 0.0

    return Sample(
        time.monotonic() - started,
        sum(one.memory_info().rss for one in processes) / 2**20,
        sum(one.num_fds() for one in processes),
        size("vdevice.db-wal"),
        size("vdevice.db"),
        size("log"),
    )


def flat(samples: list[Sample], names: Sequence[str]) -> Medians:
    """Return the medians of the middle and the last third of what must not grow."""
    third = len(samples) // 3
    parts = samples[third : 2 * third], samples[2 * third :]
    return {
        name: (
            statistics.median(getattr(one, name) for one in parts[0]),
            statistics.median(getattr(one, name) for one in parts[1]),
        )
        for name in names
    }


def grew(medians: Medians) -> list[str]:
    """Return the names of what grew."""
    return [name for name, (middle, last) in medians.items() if last > middle * GROWTH + 1]


def rows(medians: Medians) -> list[str]:
    """Return the medians as a table."""
    return [
        "| | median of the middle third | median of the last third |",
        "|---|---|---|",
        *(f"| {name} | {middle:.1f} | {last:.1f} |" for name, (middle, last) in medians.items()),
    ]
