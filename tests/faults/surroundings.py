"""What is around the device: the clock, the name server, the receiver."""

import asyncio
import contextlib
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.faults.plant import TARGETS, Plant, Row, last_error
from tests.faults.receiver import Receiver
from tests.support import fc16, peer, until

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


DEAD, EACH = 9, 2000
"""A target whose receiver is gone, and how many messages it is sent in each try: 100,000 in fifty."""

BURST = 16


async def one_target_dead(folder: Path, tries: int) -> Row:
    """Write to a dead target until the outbox takes no more of it; the others must never be refused."""
    dead = Receiver()
    async with dead.serve():
        pass
    written = EACH * tries
    async with Receiver().serve() as receiver:
        plant = Plant(folder, receiver, f"[outbox]\nmax_messages = {written}")
        table = plant.target(DEAD).replace(f":{receiver.port}/", f":{dead.port}/")
        plant.config.write_text(f"{plant.config.read_text()}\n{table}parallel = 50\n")
        async with plant.running(), peer(plant.address) as plc:
            accepted = 0
            for start in range(0, written, BURST):
                frames = [plc.frame(fc16(1000 * DEAD, f"{DEAD}:{start + index}")) for index in range(BURST)]
                plc.writer.write(b"".join(frames))
                for _ in frames:
                    accepted += (await plc.answer(30))[2][0] == 16
            assert written // 3 < accepted <= written // 2, "half of the places, less what waits for others just then"
            await plant.recovered()
            # Discrete inputs 300 + n: the last write was answered 06; register 48: how many were refused.
            assert await plc.ask(struct.pack(">BHH", 2, 300 + DEAD, 1)) == b"\x02\x01\x01"
            assert await plc.ask(struct.pack(">BHH", 2, 0, 1)) == b"\x02\x01\x01", "the device is healthy"
            assert sum([(await plc.inputs(1000 * number + 48, 1))[0] for number in TARGETS]) == 0
            async with dead.serve():
                await until(lambda: len(set(dead.arrived)) == accepted, 600)
                await plant.emptied()
    return plant.judged(f"one target dead for {written:,} messages (others refused: 0)", tries)
