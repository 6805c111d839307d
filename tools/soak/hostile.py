"""An hour beside hostile receivers: 64 targets, 8 of which lead to receivers that answer with whatever can be drawn.

    .venv/bin/python -m tools.soak.hostile --minutes 60

One PLC for each target writes numbered texts and waits for each response. At the end all that was answered is looked for:
at the good receiver, or in the outbox (delivered, dead letter or waiting). Health is asked every second. Writes its result
into docs/reliability.md and fails where anything was lost, unanswered, unhealthy, logged as a traceback, or grew.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
from rich.console import Console

from tests import seeds
from tests.faults.receiver import Receiver
from tests.support import fc16, free_port, listening, peer
from tools.soak.page import replace
from tools.soak.samples import Sample, flat, grew, rows, sample

TARGETS = range(1, 65)
HOSTILE = range(57, 65)
RATE = 300.0
"""Texts a second of all PLCs together."""

HOSTILE_RATE = 2.0
"""Of each PLC whose receiver is hostile: its target may only be tried about once a second."""

GOOD_RATE = (RATE - HOSTILE_RATE * len(HOSTILE)) / (len(TARGETS) - len(HOSTILE))

ANSWER_SECONDS = 10.0
"""Within which each request must have its response; the device's own limit is 5 s."""

EMPTY_SECONDS = 120.0
"""Within which all for the good receiver must have arrived after the last write."""

METHODS = (
    'method = "post-raw"\npayload = "$VALUE"',
    'method = "put"\ncontent_type = "application/json"\npayload = \'{"text": "$VALUE"}\'',
    'method = "slack"\npayload = "$VALUE"\nrate = 100',
    'method = "teams"\npayload = "$VALUE"',
    'method = "mattermost"\npayload = "$VALUE"\ndestination = "alarms"',
    'method = "get"\nparameters = [["text", "$VALUE"]]\nfollow_redirects = true',
    'method = "post-urlencoded"\nparameters = [["text", "$VALUE"]]',
    'method = "post-multipart"\nparameters = [["text", "$VALUE"]]\nfollow_redirects = true',
)
"""Of the hostile targets: each way of judging a response."""


class Plc:
    """One PLC: what it wrote, and what became of each write."""

    def __init__(self, address: str, target: int) -> None:
        self.answered: list[str] = []
        self.refused = 0
        self.unanswered = 0
        self.slowest = 0.0
        self._address = address
        self._target = target
        self._number = 0

    async def run(self, until: float) -> None:
        """Write until that moment of the monotonic clock; after a lost connection connect again."""
        pause = 1 / (HOSTILE_RATE if self._target in HOSTILE else GOOD_RATE)
        while time.monotonic() < until:
            try:
                async with peer(self._address) as connection:
                    while time.monotonic() < until:
                        await asyncio.sleep(random.uniform(0.5, 1.5) * pause)
                        value = f"{self._target}:{self._number}"
                        self._number += 1
                        started = time.monotonic()
                        connection.writer.write(connection.frame(fc16(1000 * self._target, value)))
                        reply = (await connection.answer(ANSWER_SECONDS))[2]
                        self.slowest = max(self.slowest, time.monotonic() - started)
                        if reply[0] == 16:
                            self.answered.append(value)
                        else:
                            self.refused += 1
            except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
                self.unanswered += 1
                await asyncio.sleep(0.1)


class Health:
    """What the device said of itself, once a second."""

    def __init__(self, address: str, page: str) -> None:
        self.asked = 0
        self.wrong: list[str] = []
        self._address = address
        self._page = page

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Ask page and registers once."""
        self.asked += 1
        at = time.strftime("%H:%M:%S")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async with session.get(f"http://{self._page}/readyz") as response:
                    if response.status != 200:
                        self.wrong.append(f"{at} /readyz {response.status} {(await response.text())[:200]}")
                async with peer(self._address) as connection:
                    if flags := (await connection.inputs(6, 1))[0]:
                        self.wrong.append(f"{at} flags {flags:03b}")
                    if (await connection.ask(b"\x02\x00\x00\x00\x01"))[2] != 1:
                        self.wrong.append(f"{at} discrete input 0 is 0")
        except (TimeoutError, OSError, aiohttp.ClientError, asyncio.IncompleteReadError) as error:
            self.wrong.append(f"{at} no answer: {type(error).__name__}")


def configure(folder: Path, good: Receiver, hostile: list[Receiver]) -> tuple[str, str]:
    """Write the config; return the addresses of Modbus and page."""
    address, page = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    toml = f'[modbus]\nlisten = "{address}"\n[web]\nlisten = "{page}"\n'
    for target in TARGETS:
        receiver = hostile[HOSTILE.index(target)] if target in HOSTILE else good
        method = METHODS[HOSTILE.index(target)] if target in HOSTILE else METHODS[0]
        toml += f'[targets.{target}]\nurl = "http://127.0.0.1:{receiver.port}/{target}"\n{method}\n'
        toml += "timeout = 1\nattempts = 4\nbackoff = 0.05\nbackoff_max = 1\n" if target in HOSTILE else ""
    (folder / "vdevice.toml").write_text(toml)
    return address, page


@contextlib.asynccontextmanager
async def device(folder: Path, address: str) -> AsyncIterator[psutil.Process]:
    """Run a device while the block runs, and end it in order."""
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vdevice", "run", "--config", str(folder / "vdevice.toml")), stdout=log, stderr=log
        )
    try:
        await listening(address)
        yield psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 60)
    if code:
        raise SystemExit(f"the device ended with {code}: {(folder / 'log').read_text('utf-8')[-2000:]}")


async def watch(
    health: Health, process: psutil.Process, folder: Path, seconds: float, console: Console
) -> list[Sample]:
    """Look once a second until the time is over."""
    samples: list[Sample] = []
    started = time.monotonic()
    async with aiohttp.ClientSession() as session:
        with console.status("") as status:
            while (now := time.monotonic() - started) < seconds:
                samples.append(sample(process, folder, started))
                await health.look(session)
                last = samples[-1]
                status.update(
                    f"{now:.0f} of {seconds:.0f} s: {last.memory:.0f} MiB, {len(health.wrong)} times not healthy"
                )
                await asyncio.sleep(1)
    return samples


async def run(folder: Path, minutes: float, console: Console) -> tuple[list[Plc], Health, list[Sample], Receiver, int]:
    """Run device, PLCs and receivers; return what they saw, and how many responses were hostile."""
    async with contextlib.AsyncExitStack() as stack:
        good = await stack.enter_async_context(Receiver().serve())
        hostile = [await stack.enter_async_context(Receiver().serve()) for _ in HOSTILE]
        for receiver in hostile:
            receiver.mode = "hostile"
        address, page = configure(folder, good, hostile)
        plcs = [Plc(address, target) for target in TARGETS]
        health = Health(address, page)
        async with device(folder, address) as process:
            end = time.monotonic() + minutes * 60
            async with asyncio.TaskGroup() as group:
                for plc in plcs:
                    group.create_task(plc.run(end))
                samples = await watch(health, process, folder, minutes * 60, console)
            wanted = good_ones(plcs)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EMPTY_SECONDS):
                    while not wanted.issubset(good.arrived):
                        await asyncio.sleep(0.5)
    return plcs, health, samples, good, sum(receiver.asked for receiver in hostile)


def good_ones(plcs: list[Plc]) -> set[str]:
    """Return the answered texts that the good receiver must have."""
    return {value for target, plc in zip(TARGETS, plcs, strict=True) if target not in HOSTILE for value in plc.answered}


def missing(folder: Path, plcs: list[Plc]) -> set[str]:
    """Return the answered texts of hostile targets that the outbox does not hold, in whatever state."""
    answered = {value for plc in plcs for value in plc.answered} - good_ones(plcs)
    with contextlib.closing(sqlite3.connect(folder / "vdevice.db")) as connection:
        kept = {value for (value,) in connection.execute("SELECT value FROM event WHERE target >= ?", (HOSTILE[0],))}
    return answered - kept


def states(folder: Path) -> dict[str, int]:
    """Return how many messages of hostile targets are in which state."""
    names = ("waiting", "delivered", "dead letters")
    with contextlib.closing(sqlite3.connect(folder / "vdevice.db")) as connection:
        counted = dict(
            connection.execute("SELECT state, count(*) FROM event WHERE target >= ? GROUP BY state", (HOSTILE[0],))
        )
    return {name: counted.get(state, 0) for state, name in enumerate(names)}


def tracebacks(log: Path) -> list[str]:
    """Return the lines of the log that hold one."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return [line[:2000] for line in lines if "Traceback" in line or '"exception":' in line]


def main() -> None:
    """Run, write the result into the page, and fail where it is not what is promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    minutes = parser.parse_args().minutes
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"VDEVICE_SEED={seeds.SEED}")
    with tempfile.TemporaryDirectory(prefix="vdevice-hostile-") as name:
        folder = Path(name)
        plcs, health, samples, good, responses = asyncio.run(run(folder, minutes, console))
        lost = len(good_ones(plcs) - set(good.arrived)) + len(missing(folder, plcs))
        of_hostile, traces = states(folder), tracebacks(folder / "log")
    unanswered = sum(plc.unanswered for plc in plcs)
    refused = sum(plc.refused for target, plc in zip(TARGETS, plcs, strict=True) if target not in HOSTILE)
    medians = flat(samples, ("memory", "descriptors", "wal"))
    answered = sum(len(plc.answered) for plc in plcs)
    words = (
        f"{answered:,} texts answered in {minutes:g} minutes, {responses:,} hostile responses (VDEVICE_SEED={seeds.SEED}); "
        f"{lost} lost, {unanswered} requests without a response, {refused} refused to targets with a good receiver, health "
        f"false in {len(health.wrong)} of {health.asked:,} samples, {len(traces)} tracebacks in the log. Slowest response "
        f"{max(plc.slowest for plc in plcs) * 1000:.0f} ms. Of the hostile targets' messages "
        f"{', '.join(f'{count:,} {state}' for state, count in of_hostile.items())}."
    )
    replace("hostile", "\n".join([words, "", *rows(medians)]))
    console.print("\n".join([words, *rows(medians), *health.wrong[:20], *traces[:5]]), markup=False)
    failures = {
        "lost": lost, "unanswered": unanswered, "refused": refused, "unhealthy": len(health.wrong),
        "tracebacks": len(traces), "grew": len(grew(medians)),
    }  # fmt: skip
    if any(failures.values()):
        raise SystemExit(", ".join(f"{count} {name}" for name, count in failures.items() if count))


if __name__ == "__main__":
    main()
