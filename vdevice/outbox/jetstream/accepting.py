"""The device's half: stores strings with the counts of accepted ones, many requests in one atomic batch.

While one batch is under way the next collects. Each batch holds the new count of every target that it touches, and is
refused by the server where another device has changed one of them meanwhile: then it is made anew from what is there now.
A batch whose answer was lost is sent again with the same message ids, which tells whether it had been stored.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vdevice.errors import OutboxFailingError, OutboxFullError, VdeviceError
from vdevice.model import Event, Stored, digest_of
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker, BrokerError, Message
from vdevice.outbox.jetstream.documents import Accepted
from vdevice.outbox.jetstream.names import Names, target_of

EVENTS_A_BATCH = 800
"""The server takes 1,000 messages a batch, of which one is the count of each of 64 targets."""

PATIENCE = 2.0
"""Seconds for which a batch is tried again, while a cluster elects a leader or the connection moves to another server."""

AGAIN = 0.05
WRONG_LAST, DUPLICATE = 10071, 10201
FULL = frozenset({10077, 10047, 10122})
"""err_code of JetStream: a count changed meanwhile; an id is stored already; the stream is full."""


class _Put(NamedTuple):
    events: tuple[Event, ...]
    changed_only: frozenset[int]
    future: asyncio.Future[list[Stored]]


class Accepting:
    """Group commit over one connection."""

    def __init__(self, broker: Broker, names: Names, show: Callable[[int], None]) -> None:
        self._counts: dict[int, tuple[int, Accepted]] = {}
        self._broker = broker
        self._names = names
        self._show = show
        self._waiting: deque[_Put] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    async def load(self) -> None:
        """Read the counts of all targets. Raises BrokerError."""
        for kept in await self._broker.last(self._names.waiting_stream, self._names.accepted("*")):
            self.heard(kept.seq, target_of(kept.subject), kept.data)

    def heard(self, seq: int, target: int, data: bytes) -> None:
        """Take a count, unless a later one is known."""
        if seq > self.entry(target)[0]:
            self._counts[target] = (seq, documents.accepted_decoder.decode(data))
            self._show(target)

    def entry(self, target: int) -> tuple[int, Accepted]:
        """Return the count of a target, and the sequence of its message."""
        return self._counts.get(target, (0, Accepted()))

    def put(self, events: Sequence[Event], changed_only: frozenset[int]) -> asyncio.Future[list[Stored]]:
        """Store the events of one request, all or none; the future raises OutboxFailingError or OutboxFullError."""
        future: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        put = _Put(tuple(events), changed_only, future)
        if self._broker.is_up and not self._closing:
            self._waiting.append(put)
            self._wake.set()
        else:
            asyncio.get_running_loop().call_soon(self._fail, [put], OutboxFailingError("NATS cannot be reached now"))
        return future

    async def run(self) -> None:
        """Store what is put, until `close`."""
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._commit(self._next())

    def close(self) -> None:
        """Take nothing more; `run` ends with what is under way."""
        self._closing = True
        self._wake.set()

    def _next(self) -> list[_Put]:
        puts = [self._waiting.popleft()]
        count = len(puts[0].events)
        while self._waiting and count + len(self._waiting[0].events) <= EVENTS_A_BATCH:
            puts.append(self._waiting.popleft())
            count += len(puts[-1].events)
        return puts

    async def _commit(self, puts: list[_Put]) -> None:
        try:
            kept = await self._store(puts)
        except asyncio.CancelledError:
            self._fail(puts, OutboxFailingError("the device ends"))
            raise
        except VdeviceError as error:
            self._fail(puts, error)
            return
        for put, events in zip(puts, kept, strict=True):
            if not put.future.done():
                put.future.set_result([Stored(0, event, event.accepted_at) for event in events])

    async def _store(self, puts: list[_Put]) -> list[list[Event]]:
        """Return what was stored of each put: all but unchanged repetitions."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            counts, kept = self._plan(puts)
            messages = [self._message(event) for events in kept for event in events]
            messages += [
                count_message(self._names, number, count, self.entry(number)[0]) for number, count in counts.items()
            ]
            try:
                last = await self._broker.batch(messages) if messages else 0
            except BrokerError as error:
                if error.code in FULL:
                    raise OutboxFullError("the stream in NATS is full (outbox.max_messages)") from error
                if loop.time() > deadline:
                    self._broker.lost(str(error))
                    raise OutboxFailingError(f"NATS did not store it ({error})") from error
                if error.code not in {WRONG_LAST, DUPLICATE}:
                    await asyncio.sleep(AGAIN)
                elif await self._reload() and error.code == DUPLICATE:
                    return kept
                continue
            for place, (target, count) in enumerate(reversed(counts.items())):
                self._counts[target] = (last - place, count)
                self._show(target)
            return kept

    async def _reload(self) -> bool:
        try:
            await self.load()
        except BrokerError:
            await asyncio.sleep(AGAIN)
            return False
        return True

    def _plan(self, puts: list[_Put]) -> tuple[dict[int, Accepted], list[list[Event]]]:
        """Return the counts that storing these makes, and what is to be stored of each."""
        counts: dict[int, Accepted] = {}
        kept: list[list[Event]] = []
        for put in puts:
            events = []
            for event in put.events:
                before = counts.get(event.target) or self.entry(event.target)[1]
                digest = digest_of(event.value).hex()
                if event.target in put.changed_only and before.digest == digest:
                    continue
                counts[event.target] = Accepted(before.accepted + 1, digest, before.moved)
                events.append(event)
            kept.append(events)
        return counts, kept

    def _message(self, event: Event) -> Message:
        subject = self._names.delayed if event.due_at > event.accepted_at else self._names.target
        return Message(subject(event.target), documents.encode(documents.waiting(event)), {"Nats-Msg-Id": event.id})

    def _fail(self, puts: list[_Put], error: VdeviceError) -> None:
        for put in puts:
            if not put.future.done():
                put.future.set_exception(error)
                # A future that nobody waits for any more (a client that left) is no error of its own.
                put.future.exception()


def count_message(names: Names, target: int, count: Accepted, after: int) -> Message:
    """Return the message that replaces a target's count, which is refused unless sequence `after` is the last one."""
    headers = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(after)}
    return Message(names.accepted(target), documents.encode(count), headers)
