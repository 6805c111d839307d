"""Asks the system which file is at a path and how long it is, but not when it was written.

Whoever asks for the times of a file makes its next write cost more: Linux 6.13 and later then give that write a finer time,
which changes the inode, and that goes into the file system's journal. The log is written and looked for at each commit, of
which this was a sixth. The call that can leave the times out is statx(2), which Python has from 3.15 on.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self

_AT_FDCWD = -100
_INODE, _SIZE = 0x100, 0x200
_WANTED = _INODE | _SIZE
_STATX_BYTES = 256
_STATX = struct.Struct("=I28xQQ88xII")
"""Of `struct statx` (linux/stat.h): what is filled in, inode, size, and the device's major and minor number."""


class Found(NamedTuple):
    """A file, by device and inode, and its size in bytes."""

    device: int
    inode: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return what a status tells of a file."""
        return cls(status.st_dev, status.st_ino, status.st_size)


class Place:
    """A path that is asked for again and again, so that nothing is made anew."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._bytes = os.fsencode(path)
        self._answer = ctypes.create_string_buffer(_STATX_BYTES)

    def look(self) -> Found:
        """Return what is there. Raises OSError."""
        if _statx is not None and _statx(_AT_FDCWD, self._bytes, 0, _WANTED, self._answer) == 0:
            filled, inode, size, major, minor = _STATX.unpack_from(self._answer)
            if filled & _WANTED == _WANTED:
                return Found(os.makedev(major, minor), inode, size)
        # It says what is wrong; and a container or a file system may not have the other call.
        return Found.of(os.stat(self._path))  # noqa: PTH116 (at each commit; a Path costs more than the call)


def _load() -> Any:  # noqa: ANN401 (a function of the C library)
    """Return statx of the C library, None where there is none."""
    if sys.platform != "linux":
        return None
    call = getattr(ctypes.CDLL(None), "statx", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    return call


_statx = _load()
