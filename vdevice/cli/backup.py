"""`vdevice backup` and `vdevice restore`: config and outbox in one file."""

import os
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from vdevice import __version__, logs
from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, console
from vdevice.config import load
from vdevice.config.load import outbox_of
from vdevice.config.redact import without_secrets
from vdevice.errors import VdeviceError
from vdevice.outbox import snapshot

CONFIG, OUTBOX, ABOUT = "vdevice.toml", "outbox.db", "backup.json"


class _About(msgspec.Struct):
    """What a backup says of itself."""

    version: str
    taken_at: str
    device: str
    wanted: list[str]
    """Environment variables in the place of secrets that were left out."""


def backup(
    file: Path,
    *,
    secrets: Annotated[bool, Parameter(negative="", help="Keep the secrets that stand in the config.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Write config and outbox to FILE, also while a device runs; secrets of the config are left out."""
    logs.configure(quiet=True)
    loaded, text = load(config), config.read_text("utf-8")
    text, wanted = (text, []) if secrets else without_secrets(text)
    about = _About(__version__, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), loaded.device.id, wanted)
    with tempfile.TemporaryDirectory(prefix="vdevice-") as folder:
        copy = Path(folder) / OUTBOX
        snapshot.take(loaded, copy)
        try:
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise VdeviceError(f"{file} cannot be written ({error.strerror}); name another file") from None
        with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(CONFIG, text)
            archive.writestr(ABOUT, msgspec.json.encode(about))
            archive.write(copy, OUTBOX)
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
        with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory(prefix="vdevice-") as folder:
            text = archive.read(CONFIG).decode()
            about = msgspec.json.decode(archive.read(ABOUT), type=_About)
            copy = Path(folder) / OUTBOX
            copy.write_bytes(archive.read(OUTBOX))
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
