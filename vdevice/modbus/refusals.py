"""Refused writes: counted for the target's registers, and logged without a flood.

A client that is set up wrongly writes the same thing in every cycle. Its first refusal is one line in the log, the rest
are counted, and the next line, `QUIET_SECONDS` later at the earliest, says how many there were.
"""

import time
from collections.abc import Callable, Iterable

import structlog

from vdevice.board import Board

QUIET_SECONDS = 60.0
"""Seconds between two lines about the same thing of the same client and target."""

MOST_KEYS = 1000
"""Kinds of lines that are remembered; above that the one that was silent longest may be logged once more."""

log = structlog.get_logger()

Key = tuple[str, str, int]
"""What happened, to which client, on which target."""


Hint = Callable[[], str]
"""Returns settings that read better, as in the config, or nothing; asked only where a line is logged, as it takes time."""


def no_hint() -> str:
    """Return nothing."""
    return ""


class Repeats:
    """Tells which of many equal lines is to be logged. Time is passed in (seconds of a clock that never goes back)."""

    def __init__(self) -> None:
        self._seen: dict[Key, tuple[float | None, int]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def count(self, key: Key, now: float) -> int | None:
        """Count one; return how many were kept back since the last line, or None where this one is kept back too."""
        logged_at, kept_back = self._seen.pop(key, (None, 0))
        if logged_at is not None and now - logged_at < QUIET_SECONDS:
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

    def due(self, now: float) -> list[tuple[Key, int]]:
        """Return what was kept back and not told yet, QUIET_SECONDS after its line, so that no count is left untold."""
        due = [
            (key, kept_back)
            for key, (logged_at, kept_back) in self._seen.items()
            if kept_back and logged_at is not None and now - logged_at >= QUIET_SECONDS
        ]
        for key, _ in due:
            del self._seen[key]
        return due


class Refusals:
    """Counts writes to targets that stored nothing, and says so in the log."""

    def __init__(self, board: Board, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._repeats = Repeats()
        self._clock = clock

    def refuse(self, event: str, target: int, client: str, reason: str, hint: Hint = no_hint) -> None:
        """Count a write to a target that stored nothing, or a staged text that was thrown away; log it."""
        self._board.refuse(target)
        self.warn(event, target, client, reason, hint)

    def count(self, targets: Iterable[int]) -> None:
        """Count a write to each of some targets that stored nothing."""
        for target in targets:
            self._board.refuse(target)

    def warn(self, event: str, target: int, client: str, reason: str, hint: Hint = no_hint) -> None:
        """Log what a client did to a target, once in a while, with the settings that would read it."""
        kept_back = self._repeats.count((event, client, target), self._clock())
        if kept_back is None:
            return
        more: dict[str, object] = {"not_logged": kept_back} if kept_back else {}
        settings = hint()
        if settings:
            more["try"] = settings
        refused = self._board.targets[target].refused
        log.warning(event, target=target, client=client, reason=reason, refused=refused, **more)
