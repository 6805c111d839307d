"""A plant to hurt: the real device in a process of its own, PLCs that count what was answered, a receiver that counts.

`judged` holds what was answered against what arrived: nothing is lost, the order of each target holds.
"""

import asyncio
import contextlib
import itertools
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import psutil

from tests.faults.receiver import Receiver
from tests.support import counting_plc, free_port, listening, peer, until
from vdevice.registers.layout import MAP_VERSION

TARGETS = (1, 2, 3, 4)
PAUSE = 0.02
"""Seconds between two bursts of a PLC: four PLCs write some 800 strings a second."""

PATIENCE = 60.0
"""Seconds within which everything must have arrived after the last fault; a bound for a broken device, not a figure."""


class Row(msgspec.Struct, frozen=True):
    """What a fault did: a line of the table in docs/reliability.md. `recovery` is the longest, in seconds."""

    fault: str
    tried: int
    answered: int
    lost: int
    repeated: int
    out_of_order: int
    recovery: float


class Plant:
    """A device in `folder` that writes to `receiver`; `answered` is what each target's PLC was told is safe."""

    def __init__(self, folder: Path, receiver: Receiver, settings: str = "", command: Sequence[str] = ()) -> None:
        self.folder = folder
        self.receiver = receiver
        self.address = f"127.0.0.1:{free_port()}"
        self.answered: dict[int, list[str]] = {number: [] for number in TARGETS}
        self.recovery = 0.0
        self.pause = PAUSE
        self._command = command or (sys.executable, "-m", "vdevice")
        self._stop = asyncio.Event()
        tables = [self.target(number) for number in TARGETS]
        self.config = folder / "vdevice.toml"
        page = "" if "[web]" in settings else "[web]\nenabled = false\n"
        self.config.write_text(f'[modbus]\nlisten = "{self.address}"\n{page}{settings}\n' + "\n".join(tables))

    def target(self, number: int, host: str = "127.0.0.1") -> str:
        return (
            f'[targets.{number}]\nmethod = "post-raw"\nurl = "http://{host}:{self.receiver.port}/{number}"\n'
            'payload = "$VALUE"\nbackoff = 0.05\nbackoff_max = 0.5\nattempts = 100000\n'
        )

    async def start(self) -> None:
        """Start the device; not waiting until it listens."""
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, "run", "--config", str(self.config), stdout=log, stderr=log
            )

    async def kill(self) -> None:
        """Kill -9 the device."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def processes(self) -> list[psutil.Process]:
        """Return the device and its writer."""
        device = psutil.Process(self.process.pid)
        return [device, *device.children(recursive=True)]

    def count(self) -> int:
        """Return how many strings were answered so far."""
        return sum(map(len, self.answered.values()))

    async def under_load(self, strings: int = 40) -> None:
        """Wait until so many more strings were answered."""
        before = self.count()
        await until(lambda: self.count() >= before + strings, PATIENCE)

    async def recovered(self) -> None:
        """Wait until a string that was written from now on has arrived, and note how long that took."""
        started = time.monotonic()
        lengths = {number: len(values) for number, values in self.answered.items()}

        def arrived() -> bool:
            new = {value for number, values in self.answered.items() for value in values[lengths[number] :]}
            return not new.isdisjoint(self.receiver.arrived[-2000:])

        await until(arrived, PATIENCE)
        self.recovery = max(self.recovery, time.monotonic() - started)

    def log(self) -> str:
        """Return what the device has said."""
        return (self.folder / "log").read_text()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Plant"]:
        """Run the device and its PLCs while the block runs; then stop the PLCs, let all arrive, and end it in order."""
        await self.start()
        try:
            async with asyncio.TaskGroup() as group:
                for number in TARGETS:
                    group.create_task(
                        counting_plc([self.address], number, self.answered[number], self._stop, self.pause)
                    )
                try:
                    await listening(self.address)
                    await self.under_load()
                    yield self
                finally:
                    self._stop.set()
            await self.emptied()
        finally:
            if self.process.returncode is None:
                self.process.terminate()
            async with asyncio.timeout(PATIENCE):
                code = await self.process.wait()
        assert code == 0, self.log()[-2000:]

    async def emptied(self) -> None:
        """Wait until nothing waits any more, by the device's own registers."""
        await listening(self.address)
        async with asyncio.timeout(PATIENCE), peer(self.address) as plc:
            while (await plc.inputs(4, 1))[0]:
                await asyncio.sleep(0.05)

    def judged(self, fault: str, tried: int, more_lost: int = 0) -> Row:
        """Hold what was answered against what arrived."""
        arrived = self.receiver.arrived
        first_seen = list(dict.fromkeys(arrived))
        lost = {value for values in self.answered.values() for value in values} - set(first_seen)
        disorder = 0
        for number in TARGETS:
            numbers = [int(value.split(":")[1]) for value in first_seen if value.startswith(f"{number}:")]
            disorder += sum(one > other for one, other in itertools.pairwise(numbers))
        assert all(len(keys) == 1 for keys in self.receiver.keys.values()), "a repetition has another Idempotency-Key"
        return Row(
            fault,
            tried,
            self.count(),
            len(lost) + more_lost,
            len(arrived) - len(first_seen),
            disorder,
            round(self.recovery, 2),
        )


@contextlib.asynccontextmanager
async def running(folder: Path, settings: str = "", command: Sequence[str] = ()) -> AsyncIterator[Plant]:
    """Run a plant under load, with a receiver that behaves well, while the block runs."""
    async with Receiver().serve() as receiver, Plant(folder, receiver, settings, command).running() as plant:
        yield plant


async def failing(plant: Plant) -> None:
    """Wait until status registers say that the outbox fails, and no string is answered any more."""
    async with asyncio.timeout(30), peer(plant.address) as plc:
        while not (await plc.inputs(6, 1))[0] & 0b10:
            await asyncio.sleep(0.01)
        assert await plc.inputs(0, 1) == [MAP_VERSION], "status goes on"
    count = plant.count()
    await asyncio.sleep(0.2)
    assert plant.count() <= count + 16, "answered while the outbox fails"


async def last_error(plant: Plant, error: int) -> None:
    """Wait until target 1's error register says so."""
    async with asyncio.timeout(30), peer(plant.address) as plc:
        while (await plc.inputs(1010, 1))[0] != error:
            await asyncio.sleep(0.02)


async def checkpoint(file: Path) -> None:
    """Wait until the outbox's main file is written to, which happens in a checkpoint only."""
    before = file.stat().st_mtime_ns

    def wait() -> None:
        deadline = time.monotonic() + PATIENCE
        while file.stat().st_mtime_ns == before and time.monotonic() < deadline:
            time.sleep(0.0005)

    await asyncio.to_thread(wait)


def copied_as_by_a_power_cut(plant: Plant, to: Path) -> None:
    """Copy config and outbox in one moment: all processes are stopped meanwhile."""
    to.mkdir()
    processes = plant.processes()
    for process in processes:
        process.suspend()
    try:
        # Nothing of the shared memory survives a power cut, and nothing is needed.
        for name in ("vdevice.toml", "vdevice.db", "vdevice.db-wal"):
            if (plant.folder / name).exists():
                shutil.copy(plant.folder / name, to / name)
    finally:
        for process in processes:
            process.resume()
