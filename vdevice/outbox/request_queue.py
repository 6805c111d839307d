"""The requests that the writer process has not answered yet, in order. Pure: time is passed in, nothing is sent.

Two rules. One batch is under way at a time, so what comes meanwhile shares the next commit. And every request that was put in
comes out exactly once: answered, too old to be sent, or lost with the writer.

A request may have to be given up on time. One that was not sent is taken out: nothing of it was stored. One that was sent
stays in its place until its batch ends, because the reply names requests only by their order.
"""

from collections import deque
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """A request as this queue sees it."""

    @property
    def asked_at(self) -> float:
        """When it was asked for, by the clock that `now` is read from."""

    @property
    def is_put(self) -> bool:
        """Whether it stores messages: so many of them share a commit, while all others go at once."""

    @property
    def seconds(self) -> float:
        """How long the writer may take for a batch with it."""


R = TypeVar("R", bound=Queued)


class OutOfTurnError(Exception):
    """A reply to requests that were never sent: whoever wrote it is not our writer any more."""


class RequestQueue(Generic[R]):
    """Requests on their way to the writer; at most `puts_at_once` puts share a batch."""

    def __init__(self, puts_at_once: int) -> None:
        self._puts_at_once = puts_at_once
        self._puts: deque[R] = deque()
        self._others: deque[R] = deque()
        self._sent: deque[R] = deque()
        self._sent_at = 0.0

    def __len__(self) -> int:
        return len(self._puts) + len(self._others) + len(self._sent)

    @property
    def has_unsent(self) -> bool:
        """Whether a batch can follow the one under way."""
        return bool(self._puts or self._others)

    def add(self, request: R) -> None:
        """Put a request in."""
        (self._puts if request.is_put else self._others).append(request)

    def next_batch(self, now: float) -> list[R]:
        """Return what is to be sent now, and count it as sent; nothing while a batch is under way."""
        if self._sent:
            return []
        batch = [*self._others, *(self._puts.popleft() for _ in range(min(len(self._puts), self._puts_at_once)))]
        self._others.clear()
        self._sent.extend(batch)
        self._sent_at = now
        return batch

    def answered(self, count: int, now: float) -> list[R]:
        """Take out the oldest `count` requests of the batch. Raises OutOfTurnError where it has fewer, and takes none."""
        if not 0 < count <= len(self._sent):
            raise OutOfTurnError(f"{count} requests answered, {len(self._sent)} sent")
        # A batch may be answered in pieces; each of them shows that the writer goes on.
        self._sent_at = now
        return [self._sent.popleft() for _ in range(count)]

    def take_late(self, now: float, limit: float) -> list[R]:
        """Take out what was asked for `limit` seconds ago or earlier and was not sent."""
        late = []
        for waiting in (self._others, self._puts):
            while waiting and now - waiting[0].asked_at >= limit:
                late.append(waiting.popleft())
        return late

    def is_stuck(self, now: float) -> bool:
        """Tell whether the writer takes longer for its batch than any of its requests may take."""
        return bool(self._sent) and now - self._sent_at >= max(request.seconds for request in self._sent)

    def age(self, now: float) -> float:
        """Return for how long the oldest request has been waiting for its reply, 0 where there is none."""
        oldest = [waiting[0].asked_at for waiting in (self._sent, self._others, self._puts) if waiting]
        return now - min(oldest) if oldest else 0.0

    def clear(self) -> tuple[list[R], list[R]]:
        """Take out all requests, as their writer is gone; return the sent, which may be done, and the unsent."""
        sent, unsent = list(self._sent), [*self._others, *self._puts]
        for waiting in (self._sent, self._others, self._puts):
            waiting.clear()
        return sent, unsent
