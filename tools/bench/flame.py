"""Where the time goes: a flame graph of a device under load, sampled by py-spy, as docs/flamegraph.svg.

    .venv/bin/python -m tools.bench.flame

The device's own process at 64 connections; the writer has a process of its own and is not in it.
"""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.bench.bench import Bench, Case, process, ready, wait_for

TARGET = Path(__file__).parents[2] / "docs" / "flamegraph.svg"


def main() -> None:
    """Run a device under load and sample it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--output", type=Path, default=TARGET)
    given = parser.parse_args()
    spy = str(Path(sys.executable).with_name("py-spy"))
    with tempfile.TemporaryDirectory(prefix="vdevice-flame-") as folder:
        bench = Bench(Path(folder), given.seconds)
        bench.configure(Path(folder), Case("64 connections"))
        port = int((Path(folder) / "port").read_text())
        options = ["record", "--rate", "200", "--output", str(given.output)]
        with process(bench.peers, "receive", str(bench.port)):
            wait_for(bench.port)
            device = subprocess.Popen(
                [spy, *options, "--", *bench.vdevice(Path(folder))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            wait_for(port)
            ready(port)
            answers, _ = bench.load(port, Case("64 connections"), given.seconds)
            time.sleep(0.5)
            device.send_signal(signal.SIGINT)
            device.wait(60)
    # The sampler writes its own command line as the title, which names places of this machine.
    picture = re.sub(
        r">[^<>]*py-spy record[^<]*<", ">vdevice at 64 connections: the device's process<", given.output.read_text()
    )
    given.output.write_text(picture)
    print(f"{answers['count'] / given.seconds:.0f} strings/s under the profiler; {given.output.name} written")


if __name__ == "__main__":
    main()
