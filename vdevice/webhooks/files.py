"""Reads the files that `file:` values name, and nothing outside `files.root`.

A name may hold variables, so it is not trusted: `..`, absolute paths, and links that leave the folder are refused. Whoever may
write into the folder is not trusted either: what is opened is what was looked at, and a file with a second name, a hard link,
may be anybody's.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vdevice import regular
from vdevice.config import Target
from vdevice.errors import FileRefusedError
from vdevice.threads import in_thread

T = TypeVar("T")

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)


async def reading(target: Target, work: Callable[[], T]) -> T:
    """Do what reads a target's files in a thread, within the time of one attempt: they may be on a mount that hangs.

    Raises what `work` raises, and StalledError.
    """
    return await in_thread(f"a file of {target.name}", target.timeout, work)


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
        handle = _open(inside, place.relative_to(inside))
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            os.close(handle)
            raise FileRefusedError(
                f"file {name[:80]!r} is a hard link, whose other name may be anywhere; put a copy there"
            )
        return regular.content_of(handle, max_bytes)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise FileRefusedError(f"file {name[:80]!r} is larger than files.max_bytes ({max_bytes})") from None
        raise FileRefusedError(f"file {name[:80]!r}: {error.strerror or 'cannot be read'}") from None
    except UnicodeEncodeError:
        # A character that the file system's charset does not have.
        raise FileRefusedError(f"file {name[:80]!r} cannot be a file name on this system") from None


def _open(root: Path, place: Path) -> int:
    """Open a file below a folder, and no link on the way: there was none, so one that is there now was put there meanwhile.

    Raises OSError.
    """
    no_link = getattr(os, "O_NOFOLLOW", 0)
    if os.open not in os.supports_dir_fd:
        return os.open(root / place, regular.FLAGS | no_link)
    *folders, name = place.parts or (".",)
    # Folder by folder, each from the one that is open: a path would be looked up anew.
    with contextlib.ExitStack() as opened:
        at = os.open(root, _FOLDER)
        opened.callback(os.close, at)
        for folder in folders:
            at = os.open(folder, _FOLDER | no_link, dir_fd=at)
            opened.callback(os.close, at)
        return os.open(name, regular.FLAGS | no_link, dir_fd=at)
