"""`vdevice backup` and `vdevice restore`: config and outbox in one file."""

import contextlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from vdevice import logs, running
from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, console, load_beside
from vdevice.config.load import outbox_of
from vdevice.config.writing import write
from vdevice.errors import VdeviceError
from vdevice.outbox import archive, files, snapshot


def backup(
    file: Path,
    *,
    secrets: Annotated[bool, Parameter(negative="", help="Keep the secrets that stand in the config.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Write config and outbox to FILE, also while a device runs; secrets of the config are left out."""
    logs.configure(quiet=True)
    loaded, text = load_beside(config), config.read_text("utf-8")
    if file.exists():
        raise VdeviceError(f"{file} cannot be written (it is there already); name another file")
    # A half of a backup must not be taken for one, however this process ends: it gets its name when it is whole.
    part = file.with_name(f".{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            stack.callback(part.unlink, missing_ok=True)
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "w+b") as raw:
                wanted = archive.save(loaded, text, raw, secrets=secrets)
            files.sync(part)
            part.rename(file)
            files.sync(file.parent)
    except OSError as error:
        raise VdeviceError(f"{file} cannot be written ({error.strerror}); name another file") from None
    console.print(f"config and outbox are in {file}")
    if wanted:
        console.print(f"{len(wanted)} secrets are left out; --secrets keeps them")


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
            with kept.open(archive.OUTBOX) as packed, copy.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            if running.is_used(config):
                # Its outbox may be another one than the backup's, and what waits there would be left behind.
                raise VdeviceError(f"a device runs with {config}; stop it, then restore")
            if config.exists() and not replace:
                raise VdeviceError(f"{config} is there already; --replace sets it aside")
            snapshot.give(outbox_of(text, config.resolve().parent), copy, replace=replace)
    except (zipfile.BadZipFile, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise VdeviceError(f"{file} is no backup of vdevice ({error})") from None
    except OSError as error:
        where = error.filename or tempfile.gettempdir()
        raise VdeviceError(f"{file} cannot be restored ({where}: {error.strerror}); see there") from None
    _put(config, text)
    console.print(f"{config} and its outbox are those of {about.device}, {about.taken_at}")
    for name in about.wanted:
        console.print(f"set {name}, or write the secret into {config} in its place")


def _put(config: Path, text: str) -> None:
    """Write the config, and keep what was there: ended at any moment, there is a whole config, the old or the new one."""
    # Beside the file itself: a second name of a link to it would lead to the new one.
    real = config.resolve()
    if real.exists():
        files.name_again(real, files.aside_name(real, "before-restore"))
    write(real, text)
