"""Reads files that somebody named: regular ones only, and no more of them than is sensible.

A named pipe would wait for its writer, a device file may have no end. What may still hang, a dead network mount, belongs
into a thread (`vdevice.threads`).
"""

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 16 * 2**20
"""Of a config, a secret, a users file: far more than any has."""

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""O_NONBLOCK: opening a named pipe must not wait for its writer. O_BINARY is Windows' word."""


def read(path: Path, most: int = MOST_BYTES, flags: int = 0) -> bytes:
    """Return the content of a regular file.

    Raises OSError whose `strerror` says why not: also for what is no regular file (EINVAL) or larger than `most` (EFBIG).
    """
    return content_of(os.open(path, FLAGS | flags), most)


def content_of(handle: int, most: int = MOST_BYTES) -> bytes:
    """Return the content of the regular file that was opened with FLAGS, and close it. Raises OSError as `read` does."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        # Before fdopen, which raises for a folder, and leaves it open.
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file")
    with os.fdopen(handle, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return content
