"""The database's files as a whole: copies that are on disk before they get a name, and what is set aside, never overwritten.

SQLite applies a `-wal` to whatever database it lies beside. So a database is put in the place of another one only after that
one's log is gone, and it is set aside together with its log.
"""

import contextlib
import errno
import glob
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from vdevice.errors import VdeviceError

ENDS = ("", "-wal", "-shm")
"""What a database in WAL mode consists of; the last is made anew by whoever opens it."""

_ASIDE = re.compile(r"\.[a-z-]+-\d{8}T\d{6}(-\d+)?")


def part(file: Path, end: str) -> Path:
    """Return one of the files of a database."""
    return file.with_name(file.name + end)


def copy(source: sqlite3.Connection, to: Path) -> None:
    """Write all of an open database to a new file, read it back, and see that it is on disk.

    Also where `source` has no name any more. Raises VdeviceError where the copy is not whole, and sqlite3.Error or OSError.
    """
    for end in ENDS:
        part(to, end).unlink(missing_ok=True)
    os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with contextlib.ExitStack() as stack:
        stack.callback(to.unlink, missing_ok=True)
        with contextlib.closing(sqlite3.connect(to)) as new:
            source.backup(new)
            found = new.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise VdeviceError(
                f"{to.name}, a copy of the outbox, is not whole ({' '.join(found.split())}); see the disk it is on"
            )
        sync(to)
        stack.pop_all()


def put_in_place(new: Path, place: Path, aside: Path | None = None, keep: Sequence[str] = ("", "-wal")) -> None:
    """Give a whole database on disk the name `place`; what has it and is in `keep` gets the name `aside`. Raises OSError.

    Ended at any moment, there is a database at `place`, if there was one: the old or the new one.
    """
    if aside is not None:
        _name_all_again(place, aside, keep)
    for end in ENDS[1:]:
        part(place, end).unlink(missing_ok=True)
    new.replace(place)
    sync(place.parent)


def set_aside(file: Path, why: str) -> Path:
    """Rename an outbox that no device runs on, with all that belongs to it; return its new name. Raises OSError."""
    aside = aside_name(file, why)
    _name_all_again(file, aside, ENDS[:2])
    # A log without its database is deleted by SQLite; a database without its log would look whole.
    for end in ENDS:
        part(file, end).unlink(missing_ok=True)
    sync(file.parent)
    return aside


def undo_set_aside(file: Path) -> None:
    """Take back the second name that a set-aside gave which was ended before it was done, and its log's. Raises OSError."""
    for aside in [path for path in file.parent.glob(f"{glob.escape(file.name)}.*") if path.is_file()]:
        if not _ASIDE.fullmatch(aside.name[len(file.name) :]) or not aside.samefile(file):
            continue
        log, own = part(aside, "-wal"), part(file, "-wal")
        if log.exists() and not own.exists():
            log.rename(own)
        elif log.exists() and log.samefile(own):
            log.unlink()
        aside.unlink()
        sync(file.parent)


def is_log_alone(file: Path) -> bool:
    """Tell whether there is a log with something in it beside no database, or an empty one: never so by SQLite's own doing."""
    return _size(part(file, "-wal")) > 0 and _size(file) == 0


def set_log_aside(file: Path) -> Path:
    """Rename the log of a database that is gone, before a new one begins; return its new name. Raises OSError."""
    aside = aside_name(file, "found")
    part(file, "-wal").rename(part(aside, "-wal"))
    sync(file.parent)
    return part(aside, "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def aside_name(file: Path, why: str) -> Path:
    """Return a name for what is set aside, which nobody has."""
    stem = f"{file.name}.{why}-{time.strftime('%Y%m%dT%H%M%S')}"
    aside, number = file.with_name(stem), 2
    while any(part(aside, end).exists() for end in ENDS):
        aside, number = file.with_name(f"{stem}-{number}"), number + 1
    return aside


def sync(path: Path) -> None:
    """See that a file, or the names in a folder, are on disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems cannot sync a folder.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def _name_all_again(file: Path, other: Path, ends: Sequence[str]) -> None:
    # The log first: a database with its name but without its log would look whole.
    for end in sorted(ends, reverse=True):
        if part(file, end).exists():
            name_again(part(file, end), part(other, end))
    sync(file.parent)


def name_again(path: Path, other: Path) -> None:
    """Give a file a second name; a copy where the file system has no hard links."""
    try:
        other.hardlink_to(path)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(path, other)
        sync(other)
