"""`vdevice backup` and `vdevice restore`: config and outbox in one file."""

import os
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from vdevice import logs
from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, console
from vdevice.config import load
from vdevice.config.load import outbox_of
from vdevice.errors import VdeviceError
from vdevice.outbox import archive, snapshot


def backup(
    file: Path,
    *,
    secrets: Annotated[bool, Parameter(negative="", help="Keep the secrets that stand in the config.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Write config and outbox to FILE, also while a device runs; secrets of the config are left out."""
    logs.configure(quiet=True)
    loaded, text = load(config), config.read_text("utf-8")
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise VdeviceError(f"{file} cannot be written ({error.strerror}); name another file") from None
    try:
        with os.fdopen(handle, "wb") as raw:
            wanted = archive.save(loaded, text, raw, secrets=secrets)
    except BaseException:
        # A half of a backup must not be taken for one.
        file.unlink()
        raise
    console.print(f"config and outbox are in {file}", markup=False)
    if wanted:
        console.print(f"{len(wanted)} secrets are left out; --secrets keeps them", markup=False)


def restore(
    file: Path,
    *,
    replace: Annotated[bool, Parameter(negative="", help="Set aside what is there.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Make config and outbox from FILE, while no device runs; what is there stays unless --replace sets it aside."""
    logs.configure(quiet=True)
    try:
        with zipfile.ZipFile(file) as kept, tempfile.TemporaryDirectory(prefix="vdevice-") as folder:
            text = kept.read(archive.CONFIG).decode()
            about = msgspec.json.decode(kept.read(archive.ABOUT), type=archive.About)
            copy = Path(folder) / archive.OUTBOX
            copy.write_bytes(kept.read(archive.OUTBOX))
            if config.exists() and not replace:
                raise VdeviceError(f"{config} is there already; --replace sets it aside")
            snapshot.give(outbox_of(text, config.resolve().parent), copy, replace=replace)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise VdeviceError(f"{file} is no backup of vdevice ({error})") from None
    _put(config, text)
    console.print(f"{config} and its outbox are those of {about.device}, {about.taken_at}", markup=False)
    for name in about.wanted:
        console.print(f"set {name}, or write the secret into {config} in its place", markup=False)


def _put(config: Path, text: str) -> None:
    if config.exists():
        config.rename(f"{config}.before-restore-{time.strftime('%Y%m%dT%H%M%S')}")
    handle = os.open(config, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as new:
        new.write(text)
