"""What is around the device: the clock, the name server, the receiver."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.faults.plant import Plant, Row, last_error
from tests.faults.receiver import Receiver
from tests.support import until

HOUR = 3600.0


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
            await last_error(plant, 2)
            await plant.under_load()
            _say(hurt, "0 resolve")
            await plant.recovered()
    return plant.judged("names do not resolve", tries)


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


async def stop_the_receiver(folder: Path, tries: int) -> Row:
    async with contextlib.AsyncExitStack() as stack:
        receiver = Receiver()
        serving = await stack.enter_async_context(contextlib.AsyncExitStack())
        await serving.enter_async_context(receiver.serve())
        async with Plant(folder, receiver).running() as plant:
            for _ in range(tries):
                await plant.under_load()
                await serving.aclose()
                await last_error(plant, 3)
                await plant.under_load()
                await serving.enter_async_context(receiver.serve())
                await plant.recovered()
    return plant.judged("the receiver is gone and comes back", tries)
