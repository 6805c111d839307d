"""The results of all targets: a key each of the bucket, changed with optimistic locking by whoever has something to record."""

import asyncio
from collections.abc import Callable

from vdevice.model import TARGETS
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.accepting import WRONG_LAST
from vdevice.outbox.jetstream.broker import Broker, BrokerError, Message
from vdevice.outbox.jetstream.documents import Progress
from vdevice.outbox.jetstream.names import Names, target_of


class Results:
    """What is known of the bucket; `show` is told which target changed."""

    def __init__(self, broker: Broker, names: Names, show: Callable[[int], None]) -> None:
        self._broker = broker
        self._names = names
        self._show = show
        self._known: dict[int, tuple[int, Progress]] = {}
        self._changing = {number: asyncio.Lock() for number in TARGETS}

    def of(self, target: int) -> Progress:
        """Return the results of a target."""
        return self._entry(target)[1]

    async def load(self) -> None:
        """Read all results. Raises BrokerError."""
        for kept in await self._broker.last(self._names.bucket_stream, self._names.progress("*")):
            self.heard(kept.seq, target_of(kept.subject), kept.data)

    def heard(self, seq: int, target: int, data: bytes) -> None:
        """Take results, unless later ones are known."""
        if seq > self._entry(target)[0]:
            self._know(seq, target, documents.progress_decoder.decode(data))

    async def change(self, target: int, change: Callable[[Progress], Progress | None]) -> bool:
        """Change the results of a target, whoever else changes them too; False where there is nothing to change.

        Raises BrokerError.
        """
        async with self._changing[target]:
            while True:
                revision, progress = self._entry(target)
                changed = change(progress)
                if changed is None:
                    return False
                headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
                message = Message(self._names.progress(target), documents.encode(changed), headers)
                try:
                    self._know(await self._broker.publish(message), target, changed)
                except BrokerError as error:
                    if error.code != WRONG_LAST:
                        raise
                    await self.load()
                else:
                    return True

    def _entry(self, target: int) -> tuple[int, Progress]:
        return self._known.get(target, (0, Progress()))

    def _know(self, seq: int, target: int, progress: Progress) -> None:
        self._known[target] = (seq, progress)
        self._show(target)
