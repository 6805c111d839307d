"""Messages that no request waits for: idle texts whose time has come, and what rules did by time.

They are in memory, and tried again until the outbox takes them. How many wait is bounded for each target, and a target
whose outbox has no room holds up its own messages only.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

import msgspec
import structlog

from vdevice.errors import OutboxFailingError, OutboxFullError, OutboxLateError
from vdevice.modbus.pending import too_late
from vdevice.model import Event, Stored
from vdevice.repeats import Repeats

MOST_UNSTORED = 100
"""Messages of one target that may wait for the outbox; above that its writes are answered 06."""

log = structlog.get_logger()

Put = Callable[[Sequence[Event]], asyncio.Future[list[Stored]]]


class _Batch(msgspec.Struct):
    """The messages of one request or moment, which are stored together, and what the outbox was asked for and owes."""

    events: Sequence[Event]
    stored: asyncio.Future[list[Stored]] | None = None


class Unstored:
    """What waits to be stored, in order."""

    def __init__(self) -> None:
        self._waiting: deque[_Batch] = deque()
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
        self._waiting.append(_Batch(events))
        self._counts.update(event.target for event in events)

    async def store(self, put: Put, seconds: float) -> bool:
        """Store what waits; False where the outbox did not take all of it. The order of each target is kept.

        Raises OutboxLateError where the outbox did not answer within `seconds`.
        """
        async with self._storing:
            held: list[_Batch] = []
            held_up: set[int] = set()
            reason = ""
            try:
                # What is added meanwhile stands behind these, and has its turn the next time.
                for _ in range(len(self._waiting)):
                    batch = self._waiting[0]
                    targets = {event.target for event in batch.events}
                    if not targets & held_up:
                        try:
                            await _store(batch, put, seconds)
                        except OutboxLateError as error:
                            self._tell(targets, str(error))
                            raise
                        except (OutboxFullError, OutboxFailingError) as error:
                            reason = str(error)
                        except Exception:
                            log.exception("not stored", targets=sorted(targets))
                            self._drop()
                            continue
                        else:
                            self._drop()
                            continue
                    held_up |= targets
                    held.append(self._waiting.popleft())
            finally:
                self._waiting.extendleft(reversed(held))
        if held_up:
            self._tell(held_up, reason)
        return not held_up

    def _drop(self) -> None:
        self._counts.subtract(event.target for event in self._waiting.popleft().events)

    def tell_due(self, now: float) -> None:
        """Log how many lines were kept back of what is over, at `now` of the monotonic clock."""
        self._repeats.tell_due(log.warning, now)

    def _tell(self, targets: set[int], reason: str) -> None:
        about = f"target {min(targets)}"
        shown = {"messages": len(self._waiting), "targets": sorted(targets), "reason": reason}
        self._repeats.tell(log.warning, "not stored yet", about, time.monotonic(), **shown)


async def _store(batch: _Batch, put: Put, seconds: float) -> None:
    """Store a batch. What the outbox did not answer in time is waited for again, not stored again: it would be there twice."""
    if batch.stored is None:
        batch.stored = put(batch.events)
    done, _ = await asyncio.wait([batch.stored], timeout=seconds)
    if not done:
        raise OutboxLateError(too_late(seconds))
    stored, batch.stored = batch.stored, None
    if stored.cancelled():
        raise OutboxFailingError("the outbox was closed")
    await stored
