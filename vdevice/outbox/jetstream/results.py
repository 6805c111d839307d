"""The results of all targets: a key each of the bucket, changed with optimistic locking by whoever has something to record.

The bucket may be deleted, purged or restored from an older copy while this process knows more: what is known here is kept
then, and written back.
"""

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from vdevice.model import TARGETS
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.documents import Progress
from vdevice.outbox.jetstream.names import Names, target_of
from vdevice.outbox.jetstream.protocol import WRONG_LAST, BrokerError, Kept, Message

log = structlog.get_logger()


class Results:
    """What is known of the bucket; `show` is told which target changed, `accepted` tells a target's count."""

    def __init__(
        self,
        broker: Broker,
        names: Names,
        show: Callable[[int], None],
        accepted: Callable[[int], int] = lambda _target: 0,
    ) -> None:
        self._broker = broker
        self._names = names
        self._show = show
        self._accepted = accepted
        self._known: dict[int, tuple[int, Progress]] = {}
        self._changing = {number: asyncio.Lock() for number in TARGETS}

    def of(self, target: int) -> Progress:
        """Return the results of a target."""
        return self.entry(target)[1]

    def entry(self, target: int) -> tuple[int, Progress]:
        """Return the results of a target, and their sequence in the bucket."""
        return self._known.get(target, (0, Progress()))

    async def load(self) -> None:
        """Read all results; what this process knows better is written back. Raises BrokerError."""
        found = set()
        for kept in await self._broker.last(self._names.bucket_stream, self._names.progress("*")):
            target = target_of(kept.subject)
            self.heard(kept.seq, target, kept.data)
            if kept.seq == self.entry(target)[0]:
                found.add(target)
        for target in set(self._known) - found:
            # It went back, or was changed in this moment: the leader knows.
            await self.settle(target)

    async def settle(self, target: int) -> None:
        """Take a target's results as the bucket's leader has them now, also where they went back. Raises BrokerError."""
        before = self.entry(target)
        kept = await self._broker.newest(self._names.bucket_stream, self._names.progress(target))
        now = self.entry(target)
        if kept and kept.seq <= now[0] and now is not before:
            return  # news overtook the answer
        there = _decoded(kept) if kept else Progress()
        self._know(kept.seq if kept else 0, target, there.with_memory(now[1]))
        if there.changes < now[1].changes:
            log.error("results went back", target=target, kept=now[1].changes, found=there.changes)
            await self.change(target, lambda progress: progress)

    def heard(self, seq: int, target: int, data: bytes) -> None:
        """Take results, unless later ones are known."""
        if target in self._changing and seq > self.entry(target)[0]:
            found = _decoded(Kept(seq, self._names.progress(target), data))
            self._know(seq, target, found.with_memory(self.of(target)))

    async def change(self, target: int, change: Callable[[Progress], Progress | None]) -> bool:
        """Change the results of a target, whoever else changes them too; False where there is nothing to change.

        Raises BrokerError.
        """
        async with self._changing[target]:
            while True:
                revision, progress = self.entry(target)
                changed = change(progress)
                if changed is None:
                    return False
                changed = msgspec.structs.replace(
                    changed, changes=progress.changes + 1, accepted=max(changed.accepted, self._accepted(target))
                )
                headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
                message = Message(self._names.progress(target), documents.encode(changed), headers)
                try:
                    self._know((await self._broker.publish(message)).seq, target, changed)
                except BrokerError as error:
                    if error.code != WRONG_LAST:
                        raise
                    await self._follow(target)
                else:
                    return True

    async def _follow(self, target: int) -> None:
        """Take what another process recorded meanwhile, or what the bucket went back to."""
        kept = await self._broker.newest(self._names.bucket_stream, self._names.progress(target))
        there = _decoded(kept) if kept else Progress()
        self._know(kept.seq if kept else 0, target, there.with_memory(self.of(target)))

    def _know(self, seq: int, target: int, progress: Progress) -> None:
        self._known[target] = (seq, progress)
        self._show(target)


def _decoded(kept: Kept) -> Progress:
    """Return the results in a message; what is none was not written by vdevice, and is replaced by the next result."""
    try:
        return documents.progress_decoder.decode(kept.data)
    except documents.NOT_OURS as error:
        log.error("no results", subject=kept.subject, seq=kept.seq, reason=str(error))  # noqa: TRY400 (no traceback for a user)
        return Progress()
