"""NATS that goes back, a dispatcher that stands still, and an outbox that is moved from one kind to the other and back."""

import asyncio
import contextlib
import shutil
import signal
import sys
from pathlib import Path

from tests import seeds
from tests.brokers import nats_server
from tests.faults.plant import Plant, Row
from tests.faults.receiver import Receiver
from tests.support import start
from vdevice.outbox.jetstream.leases import LEASE
from vdevice.outbox.jetstream.names import Names

DEVICE = "plant"
NAMES = Names(DEVICE)
PARTS: tuple[list[str], ...] = ([NAMES.waiting_stream], [NAMES.bucket_stream], [])
"""What goes back: what waits, the results, or everything."""


def _settings(url: str) -> str:
    return f'[device]\nid = "{DEVICE}"\n[outbox]\nurl = "{url}"\n'


async def restore_an_older_store(folder: Path, tries: int) -> Row:
    lots = seeds.lots("restore_an_older_store")
    gone: set[str] = set()
    with nats_server(folder / "nats") as server:
        store, copy = folder / "nats" / "js" / "jetstream" / "$G" / "streams", folder / "copy"
        async with Receiver().serve() as receiver, Plant(folder, receiver, _settings(server.url)).running() as plant:
            for _ in range(tries):
                await plant.under_load()
                server.stop(signal.SIGKILL)
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(store, copy)
                server.start()
                await plant.recovered()
                await plant.under_load(lots.randrange(400))
                server.stop(signal.SIGKILL)
                parts = lots.choice(PARTS)
                if parts != [NAMES.bucket_stream]:
                    # What waited goes with the store; whoever restores it is told how much that was.
                    gone |= {value for values in plant.answered.values() for value in values} - set(receiver.arrived)
                for name in parts or [path.name for path in store.iterdir()]:
                    shutil.rmtree(store / name)
                    shutil.copytree(copy / name, store / name)
                server.start()
                await plant.recovered()
    return plant.judged("NATS store restored from an older copy", tries, -len(gone - set(receiver.arrived)))


async def pause_a_dispatcher(folder: Path, tries: int) -> Row:
    lots = seeds.lots("pause_a_dispatcher")
    with nats_server(folder / "nats") as server:
        async with Receiver().serve() as receiver, Plant(folder, receiver, _settings(server.url)).running() as plant:
            other = folder / "other.toml"
            other.write_text(plant.config.read_text().replace(plant.address, "127.0.0.1:0"))
            dispatcher = await start(other, "dispatcher")
            try:
                for _ in range(tries):
                    await plant.under_load(200)
                    dispatcher.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(LEASE * (0.5 + 1.5 * lots.random()))
                    dispatcher.send_signal(signal.SIGCONT)
                    await plant.recovered()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    dispatcher.send_signal(signal.SIGCONT)
                    dispatcher.terminate()
                await dispatcher.wait()
    return plant.judged("dispatcher paused and gone on", tries)


async def move_there_and_back(folder: Path, tries: int) -> Row:
    with nats_server(folder / "nats") as server:
        urls = ["sqlite:///vdevice.db", server.url]
        async with Receiver().serve() as receiver, Plant(folder, receiver, _settings(urls[0])).running() as plant:
            for number in range(2 * tries):
                here, there = urls[number % 2], urls[(number + 1) % 2]
                receiver.mode = "resets"
                await plant.under_load()
                plant.process.terminate()
                assert await plant.process.wait() == 0
                await _move(plant, there)
                plant.config.write_text(plant.config.read_text().replace(here, there))
                receiver.mode = "well"
                await plant.start()
                await plant.recovered()
    return plant.judged("moves there and back and there", 2 * tries)


async def _move(plant: Plant, url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vdevice", "outbox", "move", "--to", url, "--config", str(plant.config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
