"""Standard output and standard error of a program with an event loop: written from a thread of their own.

A pipe that nobody reads (a pager, a stalled log driver), a terminal that is held, a full or dead disk: `write` of the
operating system then waits for as long as that lasts. Whoever writes here never waits and never fails: what does not fit
into the queue, or cannot be written, is dropped, counted, and the count is written when it flows again.
"""

import atexit
import io
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

QUEUE_BYTES = 4 * 2**20
"""What waits to be written at most: some seconds of a busy device's log."""

END_SECONDS = 2.0
"""How long the end of the process waits for what is still to be written."""

_at_end: list[Callable[[], None]] = []

AGAIN_SECONDS = 0.05
"""Until a stream that another process made non-blocking is tried again."""


class ThreadWriter(io.RawIOBase):
    """Writes to a file descriptor from a thread; `dropped` makes the line that says how many were dropped."""

    def __init__(self, descriptor: int, dropped: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._dropped_line = dropped
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._dropped = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=f"stream {descriptor}", daemon=True).start()

    def writable(self) -> bool:
        """Return True: io's word."""
        return True

    def fileno(self) -> int:
        """Return the descriptor, which is asked whether it is a terminal."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether a person reads it."""
        return os.isatty(self._descriptor)

    def write(self, data: bytes) -> int:  # type: ignore[override] # bytes are kept, so a buffer that changes is no use
        """Take bytes to write, whole lines at best; return how many, which is always all."""
        with self._changed:
            # Once a line was dropped the shorter ones behind it are, too: the count stands where they would be.
            if self._queued and (self._dropped or self._queued + len(data) > QUEUE_BYTES):
                self._dropped += max(data.count(b"\n"), 1)
            else:
                self._queue.append(data)
                self._queued += len(data)
                self._changed.notify()
        return len(data)

    def finish(self, seconds: float) -> None:
        """Wait until all is written, at most so long."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: not self._queued, max(deadline - time.monotonic(), 0))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                data = b"".join(self._queue)
                self._queue.clear()
            lost = _write(self._descriptor, data)
            with self._changed:
                self._queued -= len(data)
                self._dropped += lost
                count = 0
                if not self._queue:
                    # What was dropped came behind all that was in the queue.
                    count, self._dropped = self._dropped, 0
                self._changed.notify_all()
            if count and _write(self._descriptor, self._dropped_line(count)):
                with self._changed:
                    self._dropped += count


def _write(descriptor: int, data: bytes) -> int:
    """Write all, however long it takes; return how many lines could not be written: reader gone, disk full, closed."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            time.sleep(AGAIN_SECONDS)
        except OSError:
            return max(bytes(rest).count(b"\n"), 1)
    return 0


def detach(name: Literal["stdout", "stderr"], dropped: Callable[[int], bytes]) -> None:
    """Write a standard stream of this process from a thread from now on; a closed one takes what is written, and drops it."""
    stream = getattr(sys, name)
    if stream is None or isinstance(getattr(stream, "buffer", None), ThreadWriter):
        return
    stream.flush()
    writer = ThreadWriter(stream.fileno(), dropped)
    at_end(lambda: writer.finish(END_SECONDS))
    setattr(sys, name, io.TextIOWrapper(writer, stream.encoding, "backslashreplace", write_through=True))


def at_end(work: Callable[[], None]) -> None:
    """Do something when the process ends; what was named last comes first."""
    atexit.register(work)
    _at_end.append(work)


def leave_within(seconds: float) -> None:
    """End the process with 0 after so many seconds if it has not ended by itself by then, when all is closed.

    The ends of uvloop and of the interpreter wait for threads of the system's resolver, whose name server may hang.
    """

    def leave() -> None:
        time.sleep(seconds)
        for work in reversed(_at_end):
            work()
        os._exit(0)

    threading.Thread(target=leave, name="end", daemon=True).start()


def open_closed() -> None:
    """Open the null device where a standard stream was closed: else the next file or socket would be in its place."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 (stays open to the end)
