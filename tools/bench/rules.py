"""The bench of the rules: what 900 points and 500 rules cost a write, as ratios in one run.

Requests go through the unit into a real outbox, with no sockets between, so that the difference is not hidden by them.
Rounds are interleaved; each figure is the median of the rounds.
"""

import argparse
import asyncio
import statistics
import struct
import tempfile
import time
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from vdevice.board import Board
from vdevice.config.load import parse
from vdevice.modbus.texts import Client
from vdevice.modbus.unit import Unit
from vdevice.outbox.sqlite import SqliteOutbox

POINTS, RULES, REQUESTS, AT_A_TIME = 900, 500, 2000, 64
WATCHED, UNWATCHED = 10, 700
CLIENT = Client("127.0.0.1", "bench")


def config_of(rules: int) -> str:
    """Return a config with one target, and with points and rules where there are any."""
    toml = '[outbox]\nmax_messages = 100000000\n[targets.1]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'
    for number in range(POINTS if rules else 0):
        toml += f'[[points]]\nname = "p{number}"\nspace = "holding"\naddress = {number}\ntype = "int16"\n'
    for number in range(rules):
        toml += f'[[rules]]\nsource = "p{number}"\ndestinations = ["target/1"]\n'
    return toml


def write(address: int, value: int) -> bytes:
    """Return the PDU of an FC16 write of one register."""
    return struct.pack(">BHHBH", 16, address, 1, 2, value)


async def cost(unit: Unit, address: int) -> float:
    """Return the microseconds of one write, many of them under way at a time."""
    started = time.perf_counter()
    for start in range(0, REQUESTS, AT_A_TIME):
        answers = [
            unit.handle(1, write(address, 0x4141 + number % 50), CLIENT) for number in range(start, start + AT_A_TIME)
        ]
        if any(answer[0] != 16 for answer in await asyncio.gather(*answers)):
            raise SystemExit("a write was refused")
    return (time.perf_counter() - started) / REQUESTS * 1e6


async def measure(rounds: int) -> dict[str, list[float]]:
    """Return the microseconds of each kind of write, round by round."""
    found: dict[str, list[float]] = {name: [] for name in ("no rules", "unwatched", "direct", "fires")}
    with tempfile.TemporaryDirectory(prefix="vdevice-bench-") as folder:
        units = {}
        for rules in (0, RULES):
            place = Path(folder) / str(rules)
            place.mkdir()
            config = parse(config_of(rules), place)
            board = Board()
            outbox = SqliteOutbox(config.outbox_file, board, config.outbox.max_messages)
            await outbox.__aenter__()
            units[rules] = (Unit(config, outbox, board), outbox)
        for _ in range(rounds):
            found["no rules"].append(await cost(units[0][0], UNWATCHED))
            found["unwatched"].append(await cost(units[RULES][0], UNWATCHED))
            found["direct"].append(await cost(units[RULES][0], 1000))
            found["fires"].append(await cost(units[RULES][0], WATCHED))
        for _, outbox in units.values():
            await outbox.__aexit__()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    found = asyncio.run(measure(parser.parse_args().rounds))
    medians = {name: statistics.median(values) for name, values in found.items()}
    table = Table("write", "µs", "beside", "ratio", title=f"{RULES} rules on {POINTS} points")
    for name, beside, words in (
        ("unwatched", "no rules", "touches no watched point"),
        ("fires", "direct", "fires a rule, beside a write of the same string"),
    ):
        ratio = medians[name] / medians[beside]
        table.add_row(words, f"{medians[name]:.1f}", f"{medians[beside]:.1f}", f"{ratio:.2f}")
    Console().print(table)


main()
