"""A note beside the config that says which outbox the running device uses and where it listens, for commands beside it.

The config may name another outbox than the device was started with: that needs a restart, and until then a command would
look into the wrong one, and a backup would hold nothing. Its port may be one that was free. The note counts only while a
process holds its lock, so one that was left behind by a killed device says nothing.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog

from vdevice.config import Config
from vdevice.config.schema import Listen, Outbox

LOOKS, LOOK_SECONDS = 5, 0.02
"""How often the lock of a note is tried."""

MOST_BYTES = 65_536

log = structlog.get_logger()


class Note(msgspec.Struct, frozen=True):
    """What the running device uses: `device` is its id, which names what is in NATS.

    `modbus` and `modbus_tls` are where it listens, as host:port; empty where it does not, or not yet.
    """

    device: str
    outbox: Outbox
    modbus: str = ""
    modbus_tls: str = ""


def note_of(config: Path) -> Path:
    """Return the place of the note that belongs to a config file."""
    real = config.resolve()
    return real.with_name(f".{real.name}.running")


@contextlib.contextmanager
def noted(path: Path, config: Config) -> Iterator[Callable[[str, str], None]]:
    """Let the note say what this process uses while the block runs; without the right to write there it is left out.

    What is yielded adds where it listens, without and with TLS, to the note.
    """
    if sys.platform == "win32":
        yield lambda _modbus, _tls: None
        return
    import fcntl  # noqa: PLC0415 (not on Windows)

    try:
        handle = os.open(note_of(path), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.warning(
            "no note", file=note_of(path).name, reason=f"{error.strerror}; commands go by the config file alone"
        )
        yield lambda _modbus, _tls: None
        return
    try:
        if _is_free(handle):
            _write(handle, Note(config.device.id, config.outbox))
        # Several processes may share a config, and then its outbox: the first one has written for all.
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield lambda modbus, tls: _write(handle, Note(config.device.id, config.outbox, modbus, tls))
    finally:
        os.close(handle)


def _write(handle: int, note: Note) -> None:
    """Write a note in one step, and behind it blanks over a longer one that was there."""
    with contextlib.suppress(OSError):
        length = os.fstat(handle).st_size
        os.pwrite(handle, msgspec.json.encode(note, enc_hook=str).ljust(length), 0)


def _is_free(handle: int) -> bool:
    """Tell whether no process runs with a note; if so its lock is held now. A command holds the lock for a moment only."""
    import fcntl  # noqa: PLC0415 (not on Windows)

    for _ in range(LOOKS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOOK_SECONDS)
        else:
            return True
    return False


def as_running(path: Path, config: Config) -> Config:
    """Return a config with the outbox of the device that runs with this config file, if one does."""
    note = _read(note_of(path))
    if note is None:
        return config
    device = msgspec.structs.replace(config.device, id=note.device) if note.outbox.is_nats else config.device
    return msgspec.structs.replace(config, outbox=note.outbox, device=device)


def listens_at(path: Path, *, tls: bool) -> Listen | None:
    """Return where the device that runs with a config file listens; None where none does."""
    note = _read(note_of(path))
    address = (note.modbus_tls if tls else note.modbus) if note else ""
    return Listen(address) if address else None


def is_used(path: Path) -> bool:
    """Tell whether a device runs with a config file."""
    return _read(note_of(path)) is not None


def _read(file: Path) -> Note | None:
    """Return what a note says, None where nobody holds it."""
    if sys.platform == "win32":
        return None
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return None if _is_free(handle) else msgspec.json.decode(os.read(handle, MOST_BYTES), type=Note, dec_hook=_path)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    finally:
        os.close(handle)


def _path(_kind: type, value: str) -> Path:
    return Path(value)
