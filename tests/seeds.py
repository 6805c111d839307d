"""One seed for all that a run of the tests draws: another one each time, printed at the end of the run and beside each failure.

`VDEVICE_SEED=123 .venv/bin/python -m pytest …` draws the same again.
"""

import os
import random
import secrets

SEED = int(os.environ.get("VDEVICE_SEED") or secrets.randbits(32))


def lots(name: str) -> random.Random:
    """Return what draws for one test or fault: by its name, so that it does not matter which others ran before."""
    return random.Random(f"{SEED} {name}")
