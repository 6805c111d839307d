"""The wall clock, which somebody may set: by how much, so that ages and waits can follow it.

A small box without a battery starts in 1970 and jumps to today when it reaches its time server.
"""

import time

LEAST = 2.0
"""Seconds from which on a difference is a jump; time servers correct less by letting the clock go slower or faster."""


class Clock:
    """Compares the wall clock with one that is never set."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()
        self.started = time.time()

    def jump(self) -> float:
        """Return the seconds by which the wall clock was set forward (back: negative) since `settle`; 0 where it was not."""
        jump = time.time() - time.monotonic() - self._ahead
        return jump if abs(jump) >= LEAST else 0.0

    def settle(self, jump: float) -> None:
        """Take a jump as done: all times that were noted before it have followed."""
        self._ahead += jump
        self.started += jump


def is_before(moment: float, jump: float, now: float) -> bool:
    """Tell whether a moment (UTC seconds) was noted before the jump that led to `now`.

    What cannot be told after a jump back, because it is older than the jump, counts as noted after it: it only seems younger.
    """
    return moment < now - jump + LEAST / 2 if jump > 0 else moment > now + LEAST / 2
