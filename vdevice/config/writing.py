"""Writes the files of config and users: whole or not at all, where they really are, and so that they stay whose they were."""

import contextlib
import errno
import os
from pathlib import Path

_IN_PLACE = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS})
"""Why a file cannot be put in another's place where that may be written itself: it is a mount, or its folder is shut."""


def write(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file whole or not at all, readable by whoever could read it before, or by its owner only. Raises OSError."""
    # What a symbolic link leads to, so that the link stays.
    path, content = Path(os.path.realpath(path)), text.encode("utf-8")
    try:
        _replace(path, content, private=private)
    except OSError as error:
        if error.errno not in _IN_PLACE or not path.exists():
            raise
        _overwrite(path, content)


def _replace(path: Path, content: bytes, *, private: bool) -> None:
    """Put a new file in the place of the old one."""
    new = path.with_name(f".{path.name}.new")
    try:
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            if path.exists():
                status = path.stat()
                # Only root gives files away; who may not writes a file of his own. Windows has no owners of this kind.
                with contextlib.suppress(PermissionError, AttributeError):
                    os.chown(new, status.st_uid, status.st_gid)
                # Behind chown, which takes bits away; and `open` would have left out those of the umask.
                new.chmod(0o600 if private else status.st_mode & 0o777)
            _fill(file.fileno(), content)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    _sync_folder(path.parent)


def _overwrite(path: Path, content: bytes) -> None:
    """Write into the file itself; where that fails halfway, what was in it is put back."""
    before = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        try:
            _fill(file.fileno(), content)
        except OSError:
            file.seek(0)
            _fill(file.fileno(), before)
            raise


def _fill(handle: int, content: bytes) -> None:
    """Make this the whole content of an open file, on the disk."""
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]
    os.ftruncate(handle, len(content))
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    # Not every system opens a folder; the file itself is safe.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
