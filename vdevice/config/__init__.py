"""`vdevice.toml` as typed, immutable structs, with every problem named by its path.

Rules of this room: files are read here and nowhere later, so a struct that left this room is complete and right;
a secret leaves it only inside a `Secret`.
"""

from vdevice.config.load import load
from vdevice.config.schema import Config, Target
from vdevice.config.secret import Secret

__all__ = ["Config", "Secret", "Target", "load"]
