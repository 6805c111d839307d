"""Disks that are full or broken."""

import asyncio
import contextlib
import sys
from pathlib import Path

import psutil

from tests.faults.plant import Row, failing, running


async def fill_the_disk(folder: Path, tries: int) -> Row:
    disk = folder / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64m none {disk} && exec {sys.executable} -m vdevice "
    command = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount + '"$@"', "vdevice")
    async with running(folder, f'[outbox]\nurl = "sqlite:///{disk}/vdevice.db"\nkeep_delivered = 0', command) as plant:
        # The disk exists in the device's own view of the file system.
        ballast = Path(f"/proc/{plant.process.pid}/root{disk}/ballast")
        for _ in range(tries):
            await plant.under_load()
            await asyncio.to_thread(_fill, ballast)
            await failing(plant)
            ballast.unlink()
            await plant.recovered()
    assert "not stored" in plant.log()
    return plant.judged("disk full (a tmpfs of 64 MiB)", tries)


def _fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


async def break_the_disk(folder: Path, tries: int) -> Row:
    async with running(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            writer = psutil.Process(plant.processes()[1].pid)
            writer.rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))
            await failing(plant)
            writer.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
            await plant.recovered()
    return plant.judged("every write of the outbox fails", tries)
