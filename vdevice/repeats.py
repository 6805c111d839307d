"""Lines that a mistake would write into the log again and again: the first one is logged, the others are counted.

Whoever is set up wrongly does the same thing in every cycle. The next line about it, `QUIET_SECONDS` later at the earliest,
says how many were kept back. Pure: time is passed in.
"""

import math
from collections.abc import Callable

QUIET_SECONDS = 60.0
"""Seconds between two lines about the same thing of the same client and target."""

MOST_KEYS = 1000
"""Kinds of lines that are remembered; above that the one that was silent longest may be logged once more."""

Key = tuple[str, str, int]
"""What happened, to which client or thing, on which target (0: none)."""


class Repeats:
    """Tells which of many equal lines is to be logged. Time is passed in (seconds of a clock that never goes back)."""

    def __init__(self) -> None:
        self._seen: dict[Key, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def count(self, key: Key, now: float) -> int | None:
        """Count one; return how many were kept back since the last line, or None where this one is kept back too."""
        logged_at, kept_back = self._seen.pop(key, (-math.inf, 0))
        if now - logged_at < QUIET_SECONDS:
            self._seen[key] = (logged_at, kept_back + 1)
            return None
        self._seen[key] = (now, 0)
        # Each one was put at the end, so that the first key is the one that was silent longest.
        if len(self._seen) > MOST_KEYS:
            del self._seen[next(iter(self._seen))]
        return kept_back

    def tell(self, log_line: Callable[..., None], event: str, about: str, now: float, **line: object) -> None:
        """Log a line by `log_line`, unless one of the same event about the same thing was logged a moment ago."""
        kept_back = self.count((event, about, 0), now)
        if kept_back is not None:
            log_line(event, **line, **({"not_logged": kept_back} if kept_back else {}))

    def tell_due(self, log_line: Callable[..., None], now: float) -> None:
        """Log what was kept back and is over, so that no count is left untold; what goes on tells it in its next line."""
        for key, (logged_at, kept_back) in list(self._seen.items()):
            if kept_back and now - logged_at >= 2 * QUIET_SECONDS:
                del self._seen[key]
                event, about, target = key
                where = {"target": target} if target else {}
                log_line(event, **where, reason=f"as before: {about}", not_logged=kept_back)
