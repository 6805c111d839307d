"""Watches the size of the write-ahead log, which grows for as long as somebody reads the outbox in an open transaction.

SQLite can begin the log anew only when nobody needs what is in it. A shell or a backup tool with a forgotten transaction
stops that, and nothing that the device could do helps but to say so.
"""

import contextlib
import os
from pathlib import Path

LARGE_LOG_BYTES = 64 * 2**20
"""A log that is checkpointed has about 4 MiB."""


class LogWatch:
    """What to say of the log of an outbox as it grows: at each doubling, and when it has become small again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._next = LARGE_LOG_BYTES

    def notes(self, size: int) -> list[str]:
        """Return what there is to say of a log of so many bytes."""
        if size >= self._next:
            while self._next <= size:
                self._next *= 2
            return [warning(self._file, size)]
        if self._next > LARGE_LOG_BYTES and size < LARGE_LOG_BYTES:
            self._next = LARGE_LOG_BYTES
            return [f"{self._file.name}-wal has become small again"]
        return []


def warning(file: Path, size: int) -> str:
    """Return what is wrong with a log of so many bytes, and what to do."""
    return (
        f"{file.name}-wal has grown to {size // 2**20} MiB, because a program reads the outbox in a transaction that it does "
        f"not end; end that program ({others(file)})"
    )


def others(file: Path) -> str:
    """Return who else has the outbox open, for a sentence."""
    return ", ".join(_readers(file)) or "such a program is not seen from here"


def _readers(file: Path) -> list[str]:
    """Return the other processes that have the outbox open, as far as the system shows them."""
    found = []
    with contextlib.suppress(OSError):
        status = file.stat()
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and int(process.name) != os.getpid() and _has_open(process, status):
                with contextlib.suppress(OSError):
                    found.append(f"process {process.name}, {(process / 'comm').read_text(errors='replace').strip()}")
    return found


def _has_open(process: Path, status: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(handle.stat(), status):
                    return True
    return False
