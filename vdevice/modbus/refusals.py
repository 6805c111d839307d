"""Refused writes: counted for the target's registers, and logged without a flood.

A client that is set up wrongly writes the same thing in every cycle. Its first refusal is one line in the log, the rest
are counted, and the next line says how many there were (`vdevice.repeats`).
"""

import time
from collections.abc import Callable, Iterable

import structlog

from vdevice.board import Board
from vdevice.repeats import Repeats

log = structlog.get_logger()

Hint = Callable[[], str]
"""Returns settings that read better, as in the config, or nothing; asked only where a line is logged, as it takes time."""


def no_hint() -> str:
    """Return nothing."""
    return ""


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

    def tell_due(self, now: float) -> None:
        """Log how many lines were kept back of what is over, at `now` of its clock."""
        self._repeats.tell_due(log.warning, now)
