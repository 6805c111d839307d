"""The requests of one connection that have no response yet: begun and answered in their order. It has no socket and no clock.

Writes that store texts are begun as soon as they stand behind nothing but such writes, so that many of them share a commit;
every other request is executed when all before it have been answered, so that it sees what they did. Responses leave from the
head of the queue.
"""

from collections import deque
from collections.abc import Callable

from pymodbus.constants import ExcCodes

from vdevice.modbus.frames import Frame
from vdevice.modbus.pending import Pending
from vdevice.modbus.texts import Client
from vdevice.modbus.unit import Unit


class _Waiting:
    """One request: not begun, pending in the outbox, or answered but not yet at the head."""

    __slots__ = ("answer", "frame", "pending", "since", "stores")

    def __init__(self, frame: Frame, since: float, answer: bytes | None, *, stores: bool) -> None:
        self.frame = frame
        self.since = since
        self.stores = stores
        self.pending: Pending | None = None
        self.answer = answer


class Pipeline:
    """The queue; `on_end` is called when a request has ended that waited for the outbox."""

    def __init__(self, unit: Unit, on_end: Callable[[], None]) -> None:
        self._unit = unit
        self._on_end = on_end
        self._queue: deque[_Waiting] = deque()
        self._taking = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def oldest_since(self) -> float | None:
        """When the oldest request came, None where there is none."""
        return self._queue[0].since if self._queue else None

    def add(self, frame: Frame, since: float, client: Client, refusal: bytes | None) -> None:
        """Put a request behind the others and begin it if it may be; one with a refusal is only answered."""
        self._queue.append(_Waiting(frame, since, refusal, stores=self._unit.stores(frame.pdu)))
        self._begin(client)

    def take(self, client: Client) -> list[tuple[Frame, bytes]]:
        """Take out what is at the head and done, with its response; what may be begun then is begun for the client."""
        if self._taking:
            return []
        self._taking = True
        try:
            done = []
            while self._queue and (answer := self._answer(self._queue[0])) is not None:
                done.append((self._queue.popleft().frame, answer))
                if self._queue:
                    self._begin(client)
        finally:
            self._taking = False
        return done

    def expire(self, since: float) -> None:
        """Answer 04 what came at `since` or before: what waits for the outbox, and writes that were not begun."""
        late = [waiting for waiting in self._queue if waiting.since <= since and waiting.answer is None]
        for waiting in late:
            if waiting.pending is None and self._unit.writes_anything(waiting.frame.pdu):
                waiting.answer = self._unit.refuse(waiting.frame.pdu, ExcCodes.DEVICE_FAILURE)
        for waiting in late:
            if waiting.pending:
                self._unit.expire(waiting.pending)

    def _begin(self, client: Client) -> None:
        for index, waiting in enumerate(self._queue):
            if waiting.pending or waiting.answer is not None:
                if waiting.pending and not waiting.stores:
                    return
                continue
            if index and not waiting.stores:
                return
            answer = self._unit.begin(waiting.frame.unit, waiting.frame.pdu, client)
            if isinstance(answer, bytes):
                waiting.answer = answer
            else:
                waiting.pending = answer
                answer.on_end = self._on_end
                if not waiting.stores:
                    return

    def _answer(self, waiting: _Waiting) -> bytes | None:
        if waiting.answer is None and waiting.pending and waiting.pending.ended:
            waiting.answer = self._unit.end(waiting.frame.pdu[0], waiting.pending)
        return waiting.answer
