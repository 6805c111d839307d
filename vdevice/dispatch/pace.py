"""The `rate` of a target: it delays attempts, and never drops a message."""

import asyncio

import aiolimiter

from vdevice.config import Target

SLACK_RATE = 1.0
"""Messages a second that Slack takes (https://api.slack.com/docs/rate-limits)."""

SHORTEST_SECONDS, LONGEST_SECONDS = 1e-6, 1e9
"""Between two attempts: rates of more or fewer messages a second make no difference."""


class Pace:
    """Gives leave for one attempt after the other."""

    def __init__(self, target: Target) -> None:
        self._rate: float | None = None
        self._limiter: aiolimiter.AsyncLimiter | None = None
        self.update(target)

    def update(self, target: Target) -> None:
        """Go on with other settings."""
        rate = SLACK_RATE if target.rate is None and target.method == "slack" else target.rate
        if rate != self._rate:
            self._rate = rate
            # The limiter divides by both ends.
            period = min(max(1 / rate, SHORTEST_SECONDS), LONGEST_SECONDS) if rate else 0.0
            self._limiter = aiolimiter.AsyncLimiter(1, period) if rate else None

    @property
    def is_limited(self) -> bool:
        """Whether there is a rate at all."""
        return self._limiter is not None

    @property
    def is_free(self) -> bool:
        """Whether an attempt may be made at once."""
        return self._limiter is None or self._limiter.has_capacity()

    async def leave(self, seconds: float) -> bool:
        """Wait for leave to make an attempt; tell whether it came within so many seconds."""
        if self._limiter is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._limiter.acquire()
        except TimeoutError:
            return False
        return True
