"""The config's file as editors and full disks leave it for a moment: empty, or cut."""

import asyncio
import random
from pathlib import Path

from tests import seeds
from tests.faults.plant import PATIENCE, TARGETS, Plant, Row
from tests.faults.receiver import Receiver
from tests.support import peer, until

SHORT, LONG = 0.3, 2.5
"""Seconds of a cut that is not looked at, and of one that seems to be meant."""


async def cut_the_config(folder: Path, tries: int) -> Row:
    """Cut the file anywhere for a moment, and between two targets for so long that it settles; then write it back.

    The receiver resets its connections meanwhile, so that each target has messages waiting.
    """
    lots = seeds.lots("cut_the_config")
    async with Receiver().serve() as receiver:
        plant = Plant(folder, receiver)
        # A few messages wait long enough; many would only take long to arrive.
        plant.pause *= 10
        await _cut(plant, receiver, tries, lots)
    return plant.judged("config truncated and written back", tries)


async def _cut(plant: Plant, receiver: Receiver, tries: int, lots: random.Random) -> None:
    async with plant.running():
        whole = plant.config.read_text()
        places = [0, *(whole.index(f"[targets.{number}]") for number in TARGETS)]
        for _ in range(tries):
            receiver.mode = "resets"
            await _all_wait(plant)
            plant.config.write_text(whole[: lots.randrange(len(whole))])
            await asyncio.sleep(SHORT)
            plant.config.write_text(whole)
            said = plant.log().count("config refused")
            plant.config.write_text(whole[: lots.choice(places)])
            await asyncio.sleep(LONG)
            await until(lambda said=said: plant.log().count("config refused") > said, PATIENCE)  # type: ignore[misc]
            said = plant.log().count("config loaded")
            plant.config.write_text(whole + "#\n")
            receiver.mode = "well"
            await until(lambda said=said: plant.log().count("config loaded") > said, PATIENCE)  # type: ignore[misc]
            await plant.recovered()
    assert "given up" not in plant.log()


async def _all_wait(plant: Plant) -> None:
    """Wait until each target has messages whose attempts fail."""
    async with asyncio.timeout(PATIENCE), peer(plant.address) as plc:
        for number in TARGETS:
            # What is queued, then why the last attempt failed.
            while not all((await plc.inputs(1000 * number + 8, 3))[::2]):
                await asyncio.sleep(0.02)
