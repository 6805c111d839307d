"""Config and outbox in one zip: what `vdevice backup` and the page write, and `vdevice restore` reads."""

import tempfile
import time
import zipfile
from pathlib import Path
from typing import BinaryIO

import msgspec

from vdevice import __version__
from vdevice.config import Config
from vdevice.config.redact import without_secrets
from vdevice.errors import VdeviceError
from vdevice.outbox import snapshot

CONFIG, OUTBOX, ABOUT = "vdevice.toml", "outbox.db", "backup.json"


class About(msgspec.Struct):
    """What a backup says of itself."""

    version: str
    taken_at: str
    device: str
    wanted: list[str]
    """Environment variables in the place of secrets that were left out."""


def save(config: Config, text: str, to: BinaryIO, *, secrets: bool = False) -> list[str]:
    """Write a config and its outbox, also while a device runs; return the names that stand for secrets left out.

    Raises VdeviceError.
    """
    text, wanted = (text, []) if secrets else without_secrets(text)
    about = About(__version__, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), config.device.id, wanted)
    with tempfile.TemporaryDirectory(prefix="vdevice-") as folder:
        copy = Path(folder) / OUTBOX
        snapshot.take(config, copy)
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(CONFIG, text)
            archive.writestr(ABOUT, msgspec.json.encode(about))
            archive.write(copy, OUTBOX)
        # Read back: whoever has a backup believes that there is one.
        with zipfile.ZipFile(to) as archive:
            if (broken := archive.testzip()) is not None:
                raise VdeviceError(f"{broken} in the backup is not what was written; see the disk it is on")
    return wanted
