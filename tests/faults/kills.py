"""Processes that end: the device, its writer, the whole machine."""

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import time
from pathlib import Path

from tests import seeds
from tests.faults.plant import Plant, Row, checkpoint, copied_as_by_a_power_cut, running
from tests.faults.receiver import Receiver


async def restart_in_order(folder: Path, tries: int) -> Row:
    async with running(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            plant.process.terminate()
            assert await plant.process.wait() == 0
            await plant.start()
            await plant.recovered()
    return plant.judged("restart in order (SIGTERM)", tries)


async def stop_busy_targets(folder: Path, tries: int) -> Row:
    lots = seeds.lots("stop_busy_targets")
    async with running(folder) as plant:
        for _ in range(tries):
            plant.receiver.mode = "slowly"
            await plant.under_load()
            await asyncio.sleep(lots.random() * 0.3)
            plant.process.terminate()
            assert await plant.process.wait() == 0
            plant.receiver.mode = "well"
            await plant.start()
            await plant.recovered()
    return plant.judged("orderly stop of busy targets", tries)


async def kill_while_running(folder: Path, tries: int) -> Row:
    lots = seeds.lots("kill_while_running")
    async with running(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            await asyncio.sleep(lots.random() * 0.2)
            await plant.kill()
            await plant.start()
            await plant.recovered()
    return plant.judged("kill -9 under load", tries)


async def kill_at_start(folder: Path, tries: int) -> Row:
    lots = seeds.lots("kill_at_start")
    async with running(folder) as plant:
        await plant.kill()
        for _ in range(tries):
            await plant.start()
            # A start takes about half a second.
            await asyncio.sleep(lots.random() * 0.8)
            await plant.kill()
        await plant.start()
        await plant.recovered()
    return plant.judged("kill -9 during start-up", tries)


async def kill_in_checkpoint(folder: Path, tries: int) -> Row:
    async with running(folder) as plant:
        for _ in range(tries):
            await checkpoint(folder / "vdevice.db")
            for process in plant.processes()[1:]:
                process.kill()
            await plant.kill()
            await plant.start()
            await plant.recovered()
    return plant.judged("kill -9 during a checkpoint", tries)


async def kill_at_shutdown(folder: Path, tries: int) -> Row:
    lots = seeds.lots("kill_at_shutdown")
    async with running(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            plant.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(lots.random() * 0.1)
            await plant.kill()
            await plant.start()
            await plant.recovered()
    return plant.judged("kill -9 during shutdown", tries)


async def kill_the_writer(folder: Path, tries: int) -> Row:
    async with running(folder) as plant:
        for _ in range(tries):
            await plant.under_load()
            for process in plant.processes()[1:]:
                process.kill()
            await plant.recovered()
    return plant.judged("kill -9 of the outbox's writer", tries)


async def cut_the_power(folder: Path, tries: int) -> Row:
    lots = seeds.lots("cut_the_power")
    lost = 0
    async with running(folder) as plant:
        for number in range(tries):
            await plant.under_load()
            await asyncio.sleep(lots.random() * 0.2)
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
