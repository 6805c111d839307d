"""The part of a target's queue that is in memory: the next messages in order, and whether more wait in the outbox only.

Pure. It is small, so that a hundred thousand waiting messages cost no memory; and nothing that is offered passes what waits
in the outbox only, or is just being fetched.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Container, Iterator

import msgspec

from vdevice.clock import is_before
from vdevice.model import Stored

SIZE = 64
"""Messages that are held in memory at most."""


class Window:
    """The next messages of one target. `generation` goes up with each `clear`: what was read before it is out of date."""

    def __init__(self) -> None:
        self.cursor = 0
        self.generation = 0
        self.has_more = True
        self._held: deque[Stored] = deque()
        self._is_read = False

    def __len__(self) -> int:
        return len(self._held)

    def pop(self) -> Stored | None:
        """Take the next message, unless some are being fetched that may go before it."""
        return self._held.popleft() if self._held and not self._is_read else None

    def offer(self, stored: Stored) -> None:
        """Take a message that was just stored, unless others before it wait in the outbox only."""
        if self.has_more or self._is_read or len(self._held) >= SIZE:
            self.has_more = True
        else:
            self._held.append(stored)
            self.cursor = max(self.cursor, stored.seq)

    def clear(self) -> None:
        """Forget what is held: somebody else has changed the queue, and it is to be fetched anew."""
        self._held.clear()
        self.cursor = 0
        self.generation += 1
        self.has_more = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[list[Stored], Container[int]], None]]:
        """Fetch in this block what is behind `cursor`; what is yielded takes what was found, but for what is in flight."""
        generation, is_done = self.generation, False

        def read(found: list[Stored], in_flight: Container[int]) -> None:
            nonlocal is_done
            is_done = True
            if generation != self.generation:
                return
            self.has_more = self.has_more or len(found) == SIZE
            self._held.extend(stored for stored in found if stored.seq not in in_flight)
            self.cursor = found[-1].seq if found else self.cursor

        self._is_read, self.has_more = True, False
        try:
            yield read
        finally:
            self._is_read = False
            self.has_more = self.has_more or not is_done

    def shift(self, jump: float, now: float) -> None:
        """Let ages and waits follow a clock that was set by `jump` seconds to `now`."""
        self._held = deque(shifted(stored, jump, now) for stored in self._held)


def shifted(stored: Stored, jump: float, now: float) -> Stored:
    """Return a message whose times follow a clock that was set by `jump` seconds to `now`."""
    if not is_before(stored.since, jump, now):
        return stored
    next_at = stored.next_at + jump if stored.next_at else 0.0
    return msgspec.structs.replace(stored, since=stored.since + jump, next_at=next_at)
