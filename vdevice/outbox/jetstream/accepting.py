"""The device's half: stores strings with the counts of accepted ones, many requests in one atomic batch.

While one batch is under way the next collects. Each batch holds the new count of every target that it touches, and is
refused by the server where another device has changed one of them meanwhile: then it is made anew from what is there now.
A batch whose answer was lost is sent again with the same message ids, which tells whether it had been stored.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

import structlog

from vdevice.errors import OutboxFailingError, OutboxFullError, VdeviceError
from vdevice.model import Event, Stored, digest_of
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.counts import Counts
from vdevice.outbox.jetstream.documents import Accepted
from vdevice.outbox.jetstream.names import Names
from vdevice.outbox.jetstream.protocol import STORE_FULL, STREAM_FULL, WRONG_LAST, BrokerError, Message
from vdevice.outbox.jetstream.reserve import Reserve

EVENTS_A_BATCH = 800
"""The server takes 1,000 messages a batch, of which one is the count of each of 64 targets."""

PATIENCE_SECONDS = 2.0
"""How long a batch is tried again, while a cluster elects a leader or the connection moves to another server."""

PART_TO_WAIT = 0.7
"""What of `modbus.answer_timeout` a request may wait for the batches before its own; the rest is for its own."""

AGAIN = 0.05
DUPLICATE = 10201
"""err_code of JetStream: an id is stored already."""

NO_ROOM_PERHAPS = STORE_FULL | {10176}
"""err_code of JetStream: there is no room, or a message of the batch was lost, for which no room is one reason."""

HEADERS = 300
"""Bytes that the headers of a message of a batch take at most."""

log = structlog.get_logger()


Item = tuple[Event, Message]


class _Put(NamedTuple):
    items: tuple[Item, ...]
    changed_only: frozenset[int]
    future: asyncio.Future[list[Stored]]
    until: float


class Accepting:
    """Group commit over one connection."""

    def __init__(self, broker: Broker, names: Names, counts: Counts, reserve: Reserve, answer_timeout: float) -> None:
        self.answer_timeout = answer_timeout
        self._broker = broker
        self._names = names
        self._counts = counts
        self._reserve = reserve
        self._waiting: deque[_Put] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    def put(self, events: Sequence[Event], changed_only: frozenset[int]) -> asyncio.Future[list[Stored]]:
        """Store the events of one request, all or none; the future raises OutboxFailingError or OutboxFullError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Stored]] = loop.create_future()
        # Encoded before anything is counted: what cannot be encoded fails alone.
        try:
            self._check_open()
            put = _Put(self._items(events), changed_only, future, loop.time() + PART_TO_WAIT * self.answer_timeout)
        except OutboxFailingError as error:
            loop.call_soon(_fail, future, error)
            return future
        self._waiting.append(put)
        self._wake.set()
        return future

    def _check_open(self) -> None:
        if not self._broker.is_up or self._closing:
            raise OutboxFailingError("NATS cannot be reached now")

    def _items(self, events: Sequence[Event]) -> tuple[Item, ...]:
        """Return some events with their messages. Raises OutboxFailingError where NATS cannot take them."""
        if len(events) > EVENTS_A_BATCH:
            raise OutboxFailingError(f"one request makes {len(events)} messages; NATS takes {EVENTS_A_BATCH} together")
        try:
            items = tuple((event, self._message(event)) for event in events)
        except UnicodeEncodeError as error:
            raise OutboxFailingError(f"a message cannot be encoded ({error.reason})") from error
        longest = max((len(message.data) for _, message in items), default=0) + HEADERS
        if longest > (most := self._broker.client.max_payload):
            raise OutboxFailingError(f"a message takes {longest} bytes, NATS takes {most}; raise max_payload there")
        return items

    def _message(self, event: Event) -> Message:
        subject = self._names.delayed if event.due_at > event.accepted_at else self._names.target
        return Message(subject(event.target), documents.encode(documents.waiting(event)), {"Nats-Msg-Id": event.id})

    async def run(self) -> None:
        """Store what is put, until `close`."""
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if puts := self._next():
                    await self._commit(puts)

    def close(self) -> None:
        """Take nothing more; `run` ends with what is under way."""
        self._closing = True
        self._wake.set()

    def _next(self) -> list[_Put]:
        """Return the requests of the next batch; what has waited too long fails."""
        puts: list[_Put] = []
        count, now = 0, asyncio.get_running_loop().time()
        while self._waiting and count + len(self._waiting[0].items) <= EVENTS_A_BATCH:
            put = self._waiting.popleft()
            if put.until < now:
                _fail(put.future, OutboxFailingError("NATS is too slow: it was not stored in time"))
                continue
            puts.append(put)
            count += len(put.items)
        return puts

    async def _commit(self, puts: list[_Put]) -> None:
        """Store some requests, and tell each what came of it: whatever goes wrong, none is left without an answer."""
        kept: list[list[Item]] = [[] for _ in puts]
        error: VdeviceError | None = OutboxFailingError("the device ends")
        try:
            kept = await self._store(puts)
            error = None
        except VdeviceError as reason:
            error = reason
        except Exception as reason:
            # The last line of defence: one batch must not end the device.
            log.exception("internal error", puts=len(puts))
            error = OutboxFailingError(f"internal error ({type(reason).__name__})")
        finally:
            for put, items in zip(puts, kept, strict=True):
                if error:
                    _fail(put.future, error)
                elif not put.future.done():
                    put.future.set_result([Stored(0, event, event.accepted_at) for event, _ in items])

    async def _store(self, puts: list[_Put]) -> list[list[Item]]:
        """Return what was stored of each put: all but unchanged repetitions."""
        loop = asyncio.get_running_loop()
        deadline = min(loop.time() + PATIENCE_SECONDS, *(put.until for put in puts))
        reason = ""
        while loop.time() <= deadline:
            counts, kept = self._plan(puts)
            messages = [message for items in kept for _, message in items]
            messages += [
                self._counts.message(number, count, self._counts.entry(number)[0]) for number, count in counts.items()
            ]
            try:
                last = await self._broker.batch(messages) if messages else 0
            except BrokerError as error:
                reason = str(error)
                if error.code in STREAM_FULL or await self._is_store_full(error):
                    await self._take_back(kept)
                    raise OutboxFullError(f"NATS has no room for it ({error})") from error
                if error.code not in {WRONG_LAST, DUPLICATE}:
                    await asyncio.sleep(AGAIN)
                elif await self._settle(counts) and error.code == DUPLICATE:
                    return kept
                continue
            for place, (target, count) in enumerate(reversed(counts.items())):
                self._counts.know(last - place, target, count)
            return kept
        if reason:
            self._broker.lost(reason)
        raise OutboxFailingError(f"NATS did not store it ({reason or 'it was too late'})")

    async def _is_store_full(self, error: BrokerError) -> bool:
        """Tell whether a batch was refused because NATS has no room; of one that is incomplete it does not say why."""
        try:
            return (
                await self._reserve.refused(is_sure=error.code in STORE_FULL)
                if error.code in NO_ROOM_PERHAPS
                else False
            )
        except BrokerError:
            return False

    async def _take_back(self, kept: list[list[Item]]) -> None:
        """Remove what was stored of a refused batch: where its room ends, the server keeps the first messages of one."""
        ids = {event.id for items in kept for event, _ in items}
        with contextlib.suppress(BrokerError):
            for subject, target in {(message.subject, event.target) for items in kept for event, message in items}:
                async for found in self._broker.scan(
                    self._names.waiting_stream, subject, self._counts.entry(target)[0] + 1
                ):
                    if documents.id_in(found.data) in ids:
                        await self._broker.delete(self._names.waiting_stream, found.seq)

    async def _settle(self, targets: Collection[int]) -> bool:
        """Take the counts as they are now; False where NATS does not tell."""
        try:
            await self._counts.settle(targets)
        except BrokerError:
            await asyncio.sleep(AGAIN)
            return False
        return True

    def _plan(self, puts: list[_Put]) -> tuple[dict[int, Accepted], list[list[Item]]]:
        """Return the counts that storing these makes, and what is to be stored of each."""
        counts: dict[int, Accepted] = {}
        kept: list[list[Item]] = []
        for put in puts:
            items = []
            for event, message in put.items:
                before = counts.get(event.target) or self._counts.of(event.target)
                digest = digest_of(event.value).hex()
                if event.target in put.changed_only and before.digest == digest:
                    continue
                counts[event.target] = Accepted(before.accepted + 1, digest, before.moved)
                items.append((event, message))
            kept.append(items)
        return counts, kept


def _fail(future: asyncio.Future[list[Stored]], error: VdeviceError) -> None:
    if not future.done():
        future.set_exception(error)
        # A future that nobody waits for any more (a client that left) is no error of its own.
        future.exception()
