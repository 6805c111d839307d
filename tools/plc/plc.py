"""Simulated PLCs: `.venv/bin/python tools/plc/plc.py tools/plc/factory.toml`.

A scenario names the device and some PLCs, each with a behaviour and the limits of its vendor. The terminal shows what each
wrote, what it read back, and what became of it. Every scenario ends after `seconds`.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from rich.console import Console
from rich.live import Live
from rich.table import Table

from vdevice.errors import VdeviceError
from vdevice.registers import layout, text
from vdevice.registers.text import Coding

PAUSE = 0.5
"""Seconds until a PLC that got no connection tries again."""


SETTLE = 10.0
"""Seconds that a PLC looks, behind the end of the scenario, for what became of its strings."""


FLOOD = 1000
"""Writes of a flood, where the scenario does not say."""


class Plc(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One PLC. `registers` is the most that its FC16 writes, 1 = it only has FC06; `every` is in seconds.

    cyclic writes `text` with a counter; scan writes the same text each time; alarm writes `text` and `gone` in turn, or sets
    and clears `coil`; flood writes as fast as answers come; reconnect connects anew for each write. A PLC ends after `count`
    writes that were answered; without it flood writes FLOOD, and the others write until the end.
    """

    name: str
    behaviour: Literal["cyclic", "scan", "alarm", "flood", "reconnect"]
    target: Annotated[int, Meta(ge=1, le=64)] = 1
    text: str = "{name} {n}"
    gone: str = "{name} is back to normal"
    coil: int | None = None
    every: Annotated[float, Meta(ge=0.001)] = 1.0
    count: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    registers: Annotated[int, Meta(ge=1, le=123)] = 123
    completion: Literal["request", "content", "commit", "idle"] = "request"
    byte_order: Literal["big", "little"] = "big"
    word_order: Literal["big", "little"] = "big"
    format: Literal["nul", "fixed", "length16", "length32", "s7-string", "s7-wstring"] = "nul"
    encoding: str = "utf-8"


class Scenario(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A scenario file: where the device is, how long it takes (at most an hour), and the PLCs."""

    host: str = "127.0.0.1"
    port: int = 5020
    unit: int = 1
    seconds: Annotated[float, Meta(gt=0, le=3600)] = 30
    plcs: list[Plc]


class Seen(msgspec.Struct):
    """What one PLC has done and seen."""

    written: int = 0
    requests: int = 0
    refused: int = 0
    connections: int = 0
    last: str = ""
    trouble: str = ""
    status: dict[str, int | str] = {}


class Runner:
    """One PLC at work."""

    def __init__(self, scenario: Scenario, plc: Plc) -> None:
        self.plc = plc
        self.seen = Seen()
        self._scenario = scenario
        self._coding = Coding(plc.byte_order, plc.format, plc.encoding, plc.word_order)

    async def run(self, until: float) -> None:
        """Behave until a moment of the monotonic clock."""
        number = 0
        while time.monotonic() < until and not self._is_done():
            try:
                async with self._connected() as client:
                    while time.monotonic() < until and not self._is_done():
                        number += 1
                        await self._cycle(client, number)
                        if self.plc.behaviour == "reconnect":
                            break
            except (ModbusException, OSError, TimeoutError) as error:
                self.seen.trouble = f"no connection ({type(error).__name__})"
                await asyncio.sleep(PAUSE)
        await self._settle(max(until, time.monotonic()) + SETTLE)

    def _is_done(self) -> bool:
        count = FLOOD if self.plc.count is None and self.plc.behaviour == "flood" else self.plc.count
        return count is not None and self.seen.written >= count

    async def _settle(self, until: float) -> None:
        """Read until nothing of the target is pending, or until a moment of the monotonic clock."""
        with contextlib.suppress(ModbusException, OSError, TimeoutError):
            async with self._connected() as client:
                while time.monotonic() < until:
                    await self._read_back(client)
                    seen = self.seen.status
                    if seen.get("queued") == 0 and seen.get("accepted_seq") == seen.get("finished_seq"):
                        return
                    await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncModbusTcpClient]:
        client = AsyncModbusTcpClient(
            self._scenario.host, port=self._scenario.port, timeout=2, retries=0, reconnect_delay=0
        )
        try:
            if not await client.connect():
                raise ConnectionError("refused")
            self.seen.connections += 1
            yield client
        finally:
            client.close()

    async def _cycle(self, client: AsyncModbusTcpClient, number: int) -> None:
        started = time.monotonic()
        on = number % 2 == 1
        if self.plc.coil is not None:
            await self._write_coil(client, on)
        else:
            words = self.plc.gone if self.plc.behaviour == "alarm" and not on else self.plc.text
            shown = number if self.plc.behaviour != "scan" else 0
            await self._write_text(client, words.format(name=self.plc.name, n=shown))
        if self.plc.behaviour != "flood":
            await self._read_back(client)
            await asyncio.sleep(max(self.plc.every - (time.monotonic() - started), 0))

    async def _write_text(self, client: AsyncModbusTcpClient, words: str) -> None:
        encode = text.encode_ended if self.plc.completion == "content" else text.encode
        data = encode(words, self._coding)
        block = 1000 * self.plc.target
        values = [int.from_bytes(data[place : place + 2]) for place in range(0, len(data), 2)]
        for start in range(0, len(values), self.plc.registers):
            if not await self._write(client, block + start, values[start : start + self.plc.registers]):
                return
        if self.plc.completion == "commit" and not await self._write(client, block + layout.COMMIT, [len(data)]):
            return
        self.seen.written += 1
        self.seen.last = words

    async def _write(self, client: AsyncModbusTcpClient, address: int, values: list[int]) -> bool:
        unit = self._scenario.unit
        if self.plc.registers == 1:
            return await self._ask(lambda: client.write_register(address, values[0], device_id=unit))
        return await self._ask(lambda: client.write_registers(address, values, device_id=unit))

    async def _write_coil(self, client: AsyncModbusTcpClient, on: bool) -> None:  # noqa: FBT001
        coil = self.plc.coil or 0
        if await self._ask(lambda: client.write_coil(coil, on, device_id=self._scenario.unit)):
            self.seen.written += 1
            self.seen.last = f"coil {coil} {'on' if on else 'off'}"

    async def _ask(self, request: Callable[[], Awaitable[object]]) -> bool:
        answer = await request()
        self.seen.requests += 1
        if answer.isError():  # type: ignore[attr-defined]
            self.seen.refused += 1
            self.seen.trouble = f"exception {answer.exception_code:02X}"  # type: ignore[attr-defined]
            return False
        return True

    async def _read_back(self, client: AsyncModbusTcpClient) -> None:
        answer = await client.read_input_registers(
            1000 * self.plc.target, count=layout.STATUS, device_id=self._scenario.unit
        )
        if not answer.isError():
            self.seen.status = layout.parse_target_status(list(answer.registers))


def table(runners: list[Runner]) -> Table:
    """Return what all PLCs wrote, what they read back, and what was delivered."""
    shown = Table(
        "PLC", "behaviour", "target", "wrote", "requests", "refused", "last written",
        "accepted", "queued", "delivered", "failed", "http", "ms", "trouble", title="target figures are read back by Modbus",
    )  # fmt: skip
    for runner in runners:
        plc, seen, status = runner.plc, runner.seen, runner.seen.status
        figures = [
            str(status.get(key, ""))
            for key in ("accepted", "queued", "delivered", "failed", "http_status", "latency_ms")
        ]
        words = seen.last if len(seen.last) <= 30 else seen.last[:29] + "…"
        trouble = seen.trouble or str(status.get("error_text", ""))
        shown.add_row(
            plc.name, plc.behaviour, str(plc.target), str(seen.written), str(seen.requests), str(seen.refused), words, *figures,
            trouble,
        )  # fmt: skip
    return shown


async def play(scenario: Scenario, console: Console | None) -> list[Runner]:
    """Run all PLCs of a scenario, with a live table on the console."""
    runners = [Runner(scenario, plc) for plc in scenario.plcs]
    until = time.monotonic() + scenario.seconds
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(runner.run(until)) for runner in runners]
        with Live(console=console, auto_refresh=False) if console else contextlib.nullcontext() as live:
            while not all(task.done() for task in tasks):
                if live:
                    live.update(table(runners), refresh=True)
                await asyncio.sleep(0.25)
            if live:
                live.update(table(runners), refresh=True)
    return runners


def main() -> int:
    """Read the scenario, play it, and tell how it ended."""
    parser = argparse.ArgumentParser(description="Simulated PLCs from a scenario file.")
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--port", type=int, help="instead of the scenario's")
    parser.add_argument("--json", action="store_true", help="print what was seen as JSON, nothing live")
    arguments = parser.parse_args()
    try:
        scenario = msgspec.toml.decode(arguments.scenario.read_bytes(), type=Scenario)
        if arguments.port:
            scenario.port = arguments.port
        runners = asyncio.run(play(scenario, None if arguments.json else Console()))
    except (OSError, msgspec.DecodeError, VdeviceError) as error:
        sys.stderr.write(f"{arguments.scenario}: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        print(json.dumps({runner.plc.name: msgspec.to_builtins(runner.seen) for runner in runners}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
