"""The faults in their long form; writes the table of docs/reliability.md.

.venv/bin/python -m tools.soak.faults
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests import seeds
from tests.faults.plant import Row
from tests.faults.scenarios import FAULTS
from tools.soak.page import replace

TRIES = 50
"""Times that each fault is tried; five of them are kills."""


def table(rows: Sequence[Row]) -> str:
    """Return the table of the page."""
    lines = [
        "| fault | times tried | strings answered | lost | repeated | out of order | longest recovery |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        counts = (row.tried, row.answered, row.lost, row.repeated, row.out_of_order)
        lines.append(f"| {row.fault} | {' | '.join(f'{count:,}' for count in counts)} | {row.recovery:.2f} s |")
    kills = sum(row.tried for row in rows if row.fault.startswith("kill"))
    return "\n".join([*lines, "", f"{kills} kills in all; drawn with VDEVICE_SEED={seeds.SEED}."])


async def run(tries: int, console: Console) -> list[Row]:
    """Try each fault so many times."""
    console.print(f"VDEVICE_SEED={seeds.SEED}")
    rows = []
    for name, fault in FAULTS.items():
        with tempfile.TemporaryDirectory(prefix="vdevice-fault-") as folder, console.status(name):
            row = await fault(Path(folder), tries)
        console.print(row)
        rows.append(row)
    return rows


def main() -> None:
    """Try all faults, write the table, and fail where something was lost or out of order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=TRIES)
    rows = asyncio.run(run(parser.parse_args().tries, Console()))
    replace("faults", table(rows))
    if any(row.lost or row.out_of_order for row in rows):
        raise SystemExit("strings were lost or out of order")


if __name__ == "__main__":
    main()
