"""The last hour, a sample every few seconds, for the page's plots."""

import asyncio
import time
from collections import deque

from vdevice.board import Board
from vdevice.web.views import Moment

EVERY = 5.0
SAMPLES = 720
"""An hour of them."""


async def keep(board: Board, history: deque[Moment]) -> None:
    """Add a sample every few seconds, for ever."""
    accepted, delivered = _totals(board)
    while True:
        await asyncio.sleep(EVERY)
        before, (accepted, delivered) = (accepted, delivered), _totals(board)
        latency = max((state.latency_ms for state in board.targets.values()), default=0)
        history.append(Moment(int(time.time()), accepted - before[0], delivered - before[1], board.waiting, latency))


def _totals(board: Board) -> tuple[int, int]:
    states = board.targets.values()
    return sum(state.accepted for state in states), sum(state.delivered for state in states)
