"""A move in a process of its own, to be killed: `python -m tests.outbox.moving SOURCE.toml DESTINATION.toml`.

It says that it begins; what is there before takes longer than the move.
"""

import sys
from pathlib import Path

from vdevice.config import load
from vdevice.outbox.jetstream import move as nats_move
from vdevice.outbox.move import move, open_movable

if __name__ == "__main__":
    nats_move.QUIET = 0.01
    source, destination = (load(Path(name)) for name in sys.argv[1:])
    with open_movable(source) as old, open_movable(destination) as new:
        print("begins", flush=True)  # noqa: T201 (for the test that kills it)
        move(old, new, lambda _count: None)
