"""Reads the files that `file:` values name, and nothing outside `files.root`.

A name may hold variables, so it is not trusted: `..`, absolute paths, and links that leave the folder are refused.
"""

import os
import stat
from pathlib import Path

from vdevice.errors import FileRefusedError


def read(root: Path, name: str, max_bytes: int) -> bytes:
    """Return the content of the regular file `name` below `root`, at most `max_bytes`.

    Raises FileRefusedError with the reason.
    """
    try:
        wanted = Path(name)
        if not name or "\0" in name or wanted.is_absolute() or ".." in wanted.parts:
            raise FileRefusedError(f"file {name[:80]!r} does not name a file below files.root")
        inside = root.resolve()
        place = (inside / wanted).resolve()
        if not place.is_relative_to(inside):
            raise FileRefusedError(f"file {name[:80]!r} leads out of files.root")
        return _read(place, name, max_bytes)
    except OSError as error:
        raise FileRefusedError(f"file {name[:80]!r}: {error.strerror or 'cannot be read'}") from None
    except UnicodeEncodeError:
        # A character that the file system's charset does not have.
        raise FileRefusedError(f"file {name[:80]!r} cannot be a file name on this system") from None


def _read(place: Path, name: str, max_bytes: int) -> bytes:
    # O_NONBLOCK: opening a named pipe must not wait for its writer.
    handle = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FileRefusedError(f"file {name[:80]!r} is not a regular file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FileRefusedError(f"file {name[:80]!r} is larger than files.max_bytes ({max_bytes})")
    return content
