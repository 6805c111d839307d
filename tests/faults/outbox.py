"""The outbox's writer that stands still, the one that outlives its device, and the outbox's file that is taken away."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil

from tests import seeds
from tests.faults.plant import Plant, Row
from tests.faults.receiver import Receiver
from tests.support import until
from vdevice.outbox import database

ANSWER_TIMEOUT = 1.0


@contextlib.asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[Plant]:
    async with Receiver().serve() as receiver:
        plant = Plant(folder, receiver)
        text = plant.config.read_text()
        plant.config.write_text(text.replace("[modbus]\n", f"[modbus]\nanswer_timeout = {ANSWER_TIMEOUT}\n"))
        async with plant.running():
            yield plant


def _writer(plant: Plant) -> psutil.Process:
    return plant.processes()[1]


def _go_on(writer: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        writer.resume()


async def stop_the_writer(folder: Path, tries: int) -> Row:
    lots = seeds.lots("stop_the_writer")
    async with _running(folder) as plant:
        for number in range(tries):
            await plant.under_load()
            writer = _writer(plant)
            writer.suspend()
            # Each other time it goes on before the device has noticed.
            longest = ANSWER_TIMEOUT / 2 if number % 2 else 2 * ANSWER_TIMEOUT
            await asyncio.sleep(longest * (1 + lots.random()) / 2)
            _go_on(writer)
            await plant.recovered()
        assert "has not answered" in plant.log()
    return plant.judged("writer stopped and gone on", tries)


async def orphan_the_writer(folder: Path, tries: int) -> Row:
    lots = seeds.lots("orphan_the_writer")
    async with _running(folder) as plant:
        for number in range(tries):
            await plant.under_load()
            writer = _writer(plant)
            writer.suspend()
            # Some writes are on their way to it now.
            await asyncio.sleep(lots.random() * 0.1)
            await plant.kill()
            wakes_at = number % 3
            if wakes_at == 0:
                _go_on(writer)
            await plant.start()
            if wakes_at == 1:
                await asyncio.sleep(lots.random())
                _go_on(writer)
            await plant.recovered()
            _go_on(writer)
            await until(lambda writer=writer: not _lives(writer))  # type: ignore[misc]
    return plant.judged("orphaned writer wakes up", tries)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False


def _remove(*ends: str) -> Callable[[Path], None]:
    def act(file: Path) -> None:
        for end in ends:
            file.with_name(file.name + end).unlink(missing_ok=True)

    return act


def _rename(file: Path) -> None:
    file.replace(file.with_name("renamed.db"))


def _replace(file: Path) -> None:
    other = file.with_name("other.db")
    other.unlink(missing_ok=True)
    database.connect(other).close()
    other.replace(file)


_WAYS = (_remove(""), _remove("-wal"), _remove("", "-wal", "-shm", ".lock", ".writer.lock"), _rename, _replace)


async def delete_the_file(folder: Path, tries: int) -> Row:
    lots = seeds.lots("delete_the_file")
    file = folder / "vdevice.db"
    async with _running(folder) as plant:
        for number in range(tries):
            await plant.under_load()
            said = plant.log().count("was taken away")
            lots.choice(_WAYS)(file)
            if number % 2:
                # An orderly end, before or after it was noticed.
                await asyncio.sleep(lots.random() * 0.02)
                plant.process.terminate()
                assert await plant.process.wait() == 0
                await plant.start()
            else:
                await until(lambda said=said: plant.log().count("was taken away") > said, 30)  # type: ignore[misc]
                await _killed(plant, lots)
            await plant.recovered()
    return plant.judged("outbox file deleted, renamed or replaced", tries)


async def _killed(plant: Plant, lots: random.Random) -> None:
    """Kill device and writer together, so that only what is in a file with a name is left."""
    await asyncio.sleep(lots.random() * 0.2)
    for process in plant.processes()[1:]:
        process.kill()
    await plant.kill()
    await plant.start()
