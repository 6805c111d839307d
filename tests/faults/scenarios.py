"""The faults: each hurts a plant so many times and returns its line of the table in docs/reliability.md.

`tests/faults/test_faults.py` runs each in its short form, `python -m tools.soak.faults` in its long one.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil

from tests.faults.hostile import misbehave
from tests.faults.plant import Plant, Row, checkpoint, copied_as_by_a_power_cut
from tests.faults.receiver import Receiver
from tests.support import peer, until

HOUR = 3600.0
Fault = Callable[[Path, int], Awaitable[Row]]


@contextlib.asynccontextmanager
async def _plant(folder: Path, settings: str = "", command: tuple[str, ...] = ()) -> AsyncIterator[Plant]:
    async with Receiver().serve() as receiver, Plant(folder, receiver, settings, command).running() as plant:
        yield plant


async def kill_while_running(folder: Path, tries: int) -> Row:
    async with _plant(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            await asyncio.sleep(random.random() * 0.2)
            await plant.kill()
            await plant.start()
            await plant.recovered()
    return plant.judged("kill -9 under load", tries)


async def kill_at_start(folder: Path, tries: int) -> Row:
    async with _plant(folder) as plant:
        await plant.kill()
        for _ in range(tries):
            await plant.start()
            # A start takes about half a second.
            await asyncio.sleep(random.random() * 0.8)
            await plant.kill()
        await plant.start()
        await plant.recovered()
    return plant.judged("kill -9 during start-up", tries)


async def kill_in_checkpoint(folder: Path, tries: int) -> Row:
    async with _plant(folder) as plant:
        for _ in range(tries):
            await checkpoint(folder / "vdevice.db")
            for process in plant.processes()[1:]:
                process.kill()
            await plant.kill()
            await plant.start()
            await plant.recovered()
    return plant.judged("kill -9 during a checkpoint", tries)


async def kill_at_shutdown(folder: Path, tries: int) -> Row:
    async with _plant(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            plant.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(random.random() * 0.1)
            await plant.kill()
            await plant.start()
            await plant.recovered()
    return plant.judged("kill -9 during shutdown", tries)


async def kill_the_writer(folder: Path, tries: int) -> Row:
    async with _plant(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            for process in plant.processes()[1:]:
                process.kill()
            await plant.recovered()
    return plant.judged("kill -9 of the outbox's writer", tries)


async def cut_the_power(folder: Path, tries: int) -> Row:
    lost = 0
    async with _plant(folder) as plant:
        for number in range(tries):
            await plant.under_load()
            await asyncio.sleep(random.random() * 0.2)
            answered = {value for values in plant.answered.values() for value in values}
            copy = folder / f"copy{number}"
            copied_as_by_a_power_cut(plant, copy)
            lost += len(answered - await _started_on(copy, plant))
            shutil.rmtree(copy)
    return plant.judged("power cut (outbox copied in a moment, device started on the copy)", tries, lost)


async def _started_on(copy: Path, plant: Plant) -> set[str]:
    """Start a device on a copied outbox, let it deliver what waits, and return all strings that are in there."""
    async with Receiver().serve() as receiver:
        other = Plant(copy, receiver)
        started = time.monotonic()
        await other.start()
        try:
            await other.emptied()
            plant.recovery = max(plant.recovery, time.monotonic() - started)
        finally:
            other.process.terminate()
            await other.process.wait()
    with contextlib.closing(sqlite3.connect(copy / "vdevice.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {value for (value,) in connection.execute("SELECT value FROM event")}


async def fill_the_disk(folder: Path, tries: int) -> Row:
    disk = folder / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64m none {disk} && exec {sys.executable} -m vdevice "
    command = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount + '"$@"', "vdevice")
    async with _plant(folder, f'[outbox]\nurl = "sqlite:///{disk}/vdevice.db"\nkeep_delivered = 0', command) as plant:
        # The disk exists in the device's own view of the file system.
        ballast = Path(f"/proc/{plant.process.pid}/root{disk}/ballast")
        for _ in range(tries):
            await plant.under_load()
            await asyncio.to_thread(_fill, ballast)
            await _failing(plant)
            ballast.unlink()
            await plant.recovered()
    assert "not stored" in plant.log()
    return plant.judged("disk full (a tmpfs of 64 MiB)", tries)


def _fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


async def break_the_disk(folder: Path, tries: int) -> Row:
    async with _plant(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            writer = psutil.Process(plant.processes()[1].pid)
            writer.rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))
            await _failing(plant)
            writer.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
            await plant.recovered()
    return plant.judged("every write of the outbox fails", tries)


async def _failing(plant: Plant) -> None:
    """Wait until status registers say that the outbox fails, and no string is answered any more."""
    async with asyncio.timeout(30), peer(plant.address) as plc:
        while not (await plc.inputs(6, 1))[0] & 0b10:
            await asyncio.sleep(0.01)
        assert await plc.inputs(0, 1) == [1], "status goes on"
    count = plant.count()
    await asyncio.sleep(0.2)
    assert plant.count() <= count + 16, "answered while the outbox fails"


async def set_the_clock(folder: Path, tries: int) -> Row:
    async with _hurt_plant(folder, "max_age = 600\n") as (plant, hurt):
        _say(hurt, "0 fail")
        await asyncio.sleep(0.5)
        for number in range(tries):
            ahead = (HOUR, 0.0, -HOUR, 0.0)[number % 4]
            # What waits while names do not resolve is neither too old nor stuck an hour when the clock is set.
            _say(hurt, f"{ahead} fail")
            await until(lambda number=number: plant.log().count("clock was set") == number + 1)  # type: ignore[misc]
            _say(hurt, f"{ahead} resolve")
            await plant.recovered()
            _say(hurt, f"{ahead} fail")
            await plant.under_load()
        _say(hurt, f"{ahead} resolve")
        await plant.recovered()
    assert "max_age" not in plant.log()
    return plant.judged("clock set forward and back by an hour", tries)


async def fail_names(folder: Path, tries: int) -> Row:
    async with _hurt_plant(folder) as (plant, hurt):
        for _ in range(tries):
            _say(hurt, "0 fail")
            await _last_error(plant, 2)
            await plant.under_load()
            _say(hurt, "0 resolve")
            await plant.recovered()
    return plant.judged("names do not resolve", tries)


async def _last_error(plant: Plant, error: int) -> None:
    async with asyncio.timeout(30), peer(plant.address) as plc:
        while (await plc.inputs(1010, 1))[0] != error:
            await asyncio.sleep(0.02)


def _say(hurt: Path, words: str) -> None:
    """Tell the hurt device, which may read at any moment."""
    new = hurt.with_suffix(".new")
    new.write_text(words)
    new.replace(hurt)


@contextlib.asynccontextmanager
async def _hurt_plant(folder: Path, settings: str = "") -> AsyncIterator[tuple[Plant, Path]]:
    hurt = folder / "hurt"
    _say(hurt, "0 resolve")
    command = (sys.executable, "-m", "tests.faults.hurt", str(hurt))
    async with Receiver().serve() as receiver:
        plant = Plant(folder, receiver, f"[delivery]\n{settings}", command)
        # Names of the plant, and a new connection for each string.
        plant.config.write_text(plant.config.read_text().replace("http://127.0.0.1:", "http://receiver.plant:"))
        receiver.mode = "closes"
        plant.pause *= 5
        async with plant.running():
            yield plant, hurt


async def restart_in_order(folder: Path, tries: int) -> Row:
    async with _plant(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            plant.process.terminate()
            assert await plant.process.wait() == 0
            await plant.start()
            await plant.recovered()
    return plant.judged("restart in order (SIGTERM)", tries)


async def stop_the_receiver(folder: Path, tries: int) -> Row:
    async with contextlib.AsyncExitStack() as stack:
        receiver = Receiver()
        serving = await stack.enter_async_context(contextlib.AsyncExitStack())
        await serving.enter_async_context(receiver.serve())
        async with Plant(folder, receiver).running() as plant:
            for _ in range(tries):
                await plant.under_load()
                await serving.aclose()
                await _last_error(plant, 3)
                await plant.under_load()
                await serving.enter_async_context(receiver.serve())
                await plant.recovered()
    return plant.judged("the receiver is gone and comes back", tries)


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        restart_in_order,
        kill_while_running,
        kill_at_start,
        kill_in_checkpoint,
        kill_at_shutdown,
        kill_the_writer,
        cut_the_power,
        fill_the_disk,
        break_the_disk,
        set_the_clock,
        fail_names,
        stop_the_receiver,
        misbehave,
    )
}
