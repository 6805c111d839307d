"""The breaker of one target: when it may be tried, from what its last attempts brought. Pure; time and chance are passed in."""

import random
from collections.abc import Callable

from vdevice.config import Target
from vdevice.dispatch import backoff
from vdevice.model import Outcome, Verdict

FAILURES = 5
"""Failures in a row after which a target is tried with one attempt at a time, spaced by the backoff."""


class Breaker:
    """Counts failures in a row; while it is open, nothing is sent before `not_before` (UTC seconds)."""

    def __init__(self) -> None:
        self.failures = 0
        self.not_before = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the target keeps failing."""
        return self.failures >= FAILURES

    def note(self, target: Target, outcome: Outcome, now: float, draw: Callable[[], float] = random.random) -> None:
        """Take the outcome of an attempt.

        Only what would be tried again is a failure of the target. A message that it refused (400, 404) is its answer, as
        good as a delivery; what was never sent says nothing about it.
        """
        if outcome.verdict is Verdict.RETRY:
            self.failures += 1
            if self.is_open:
                # A receiver that asks to be tried at once is spared all the same.
                asked = min(outcome.retry_after or 0, target.backoff_max)
                self.not_before = now + max(backoff.delay(target, self.failures, draw=draw), asked)
        elif outcome.verdict is Verdict.DELIVERED or outcome.http_status:
            self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.failures = 0
        self.not_before = 0.0

    def shift(self, jump: float) -> None:
        """Follow a clock that was set by `jump` seconds."""
        self.not_before += jump if self.not_before else 0
