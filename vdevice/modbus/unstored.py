"""Messages that no request waits for: idle texts whose time has come, and what rules did by time.

They are in memory, and tried again until the outbox takes them. How many wait is bounded for each target, and a target
whose outbox has no room holds up its own messages only.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

import structlog

from vdevice.errors import OutboxFailingError, OutboxFullError
from vdevice.modbus.refusals import Repeats
from vdevice.model import Event, Stored

MOST_UNSTORED = 100
"""Messages of one target that may wait for the outbox; above that its writes are answered 06."""

log = structlog.get_logger()

Put = Callable[[Sequence[Event]], asyncio.Future[list[Stored]]]


class Unstored:
    """What waits to be stored, in order; the messages of one request or moment are stored together."""

    def __init__(self) -> None:
        self._waiting: deque[Sequence[Event]] = deque()
        self._counts: Counter[int] = Counter()
        self._storing = asyncio.Lock()
        self._repeats = Repeats()

    def __len__(self) -> int:
        return len(self._waiting)

    def check_room(self, target: int) -> None:
        """Raise OutboxFullError where as many messages wait for a target as may."""
        if self._counts[target] >= MOST_UNSTORED:
            raise OutboxFullError(f"{MOST_UNSTORED} messages for it are complete and wait for the outbox")

    def add(self, events: Sequence[Event]) -> None:
        """Keep messages until they are stored."""
        self._waiting.append(events)
        self._counts.update(event.target for event in events)

    async def store(self, put: Put) -> bool:
        """Store what waits; False where the outbox did not take all of it. The order of each target is kept."""
        async with self._storing:
            held: list[Sequence[Event]] = []
            held_up: set[int] = set()
            reason = ""
            try:
                # What is added meanwhile stands behind these, and has its turn the next time.
                for _ in range(len(self._waiting)):
                    events = self._waiting[0]
                    targets = {event.target for event in events}
                    if not targets & held_up:
                        try:
                            await put(events)
                        except (OutboxFullError, OutboxFailingError) as error:
                            reason = str(error)
                        else:
                            self._waiting.popleft()
                            self._counts.subtract(event.target for event in events)
                            continue
                    held_up |= targets
                    held.append(self._waiting.popleft())
            finally:
                self._waiting.extendleft(reversed(held))
        if held_up:
            self._tell(held_up, reason)
        return not held_up

    def _tell(self, targets: set[int], reason: str) -> None:
        if self._repeats.count(("not stored yet", "", min(targets)), time.monotonic()) is not None:
            log.warning("not stored yet", messages=len(self._waiting), targets=sorted(targets), reason=reason)
