"""The counts of accepted messages of all targets: a message each of the stream that they count, replaced in the same batch.

The stream may be deleted, purged or restored from an older copy while this process knows more: a count that was shown never
goes back.
"""

from collections.abc import Callable, Collection

import msgspec
import structlog

from vdevice.model import TARGETS
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.documents import Accepted
from vdevice.outbox.jetstream.names import Names, target_of
from vdevice.outbox.jetstream.protocol import Kept, Message

log = structlog.get_logger()


class Counts:
    """What is known of the counts; `show` is told which target changed."""

    def __init__(self, broker: Broker, names: Names, show: Callable[[int], None]) -> None:
        self._broker = broker
        self._names = names
        self._show = show
        self._known: dict[int, tuple[int, Accepted]] = {}

    def of(self, target: int) -> Accepted:
        """Return the count of a target."""
        return self.entry(target)[1]

    def entry(self, target: int) -> tuple[int, Accepted]:
        """Return the count of a target, and the sequence of its message."""
        return self._known.get(target, (0, Accepted()))

    async def load(self) -> None:
        """Read the counts of all targets. Raises BrokerError."""
        found = set()
        for kept in await self._broker.last(self._names.waiting_stream, self._names.accepted("*")):
            target = target_of(kept.subject)
            self.heard(kept.seq, target, kept.data)
            if kept.seq == self.entry(target)[0]:
                found.add(target)
        # What is not found so went back, or was changed in this moment: the leader knows.
        await self.settle(set(self._known) - found)

    async def settle(self, targets: Collection[int]) -> None:
        """Take the counts as the stream's leader has them now, also where they went back. Raises BrokerError."""
        for target in targets:
            before = self.entry(target)
            kept = await self._broker.newest(self._names.waiting_stream, self._names.accepted(target))
            now = self.entry(target)
            if kept and kept.seq <= now[0] and now is not before:
                continue  # news overtook the answer
            self.know(kept.seq if kept else 0, target, _decoded(kept) if kept else Accepted())

    def heard(self, seq: int, target: int, data: bytes) -> None:
        """Take a count, unless a later one is known."""
        if target in TARGETS and seq > self.entry(target)[0]:
            self.know(seq, target, _decoded(Kept(seq, self._names.accepted(target), data)))

    def know(self, seq: int, target: int, count: Accepted) -> None:
        """Take a count of this sequence, but never a lower one than was shown."""
        known = self.of(target).accepted
        if count.accepted < known:
            # Which message was the last is not known any more; the next one is stored even if it repeats it.
            count = msgspec.structs.replace(count, accepted=known, digest="")
        self._known[target] = (seq, count)
        self._show(target)

    def message(self, target: int, count: Accepted, after: int) -> Message:
        """Return the message that replaces a target's count, refused unless sequence `after` is the last one."""
        headers = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(after)}
        return Message(self._names.accepted(target), documents.encode(count), headers)


def _decoded(kept: Kept) -> Accepted:
    """Return the count in a message; what is none was not written by vdevice, and is replaced with the next batch."""
    try:
        return documents.accepted_decoder.decode(kept.data)
    except documents.NOT_OURS as error:
        log.error("no count", subject=kept.subject, seq=kept.seq, reason=str(error))  # noqa: TRY400 (no traceback for a user)
        return Accepted()
