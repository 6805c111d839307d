"""The dispatcher's half: takes what waits for its targets, one consumer each, and records what became of it.

A message that was taken is held under a lease: it is renewed while this process lives, and runs out on the server when it
does not, so that another dispatcher gets the message. A consumer lets `parallel` messages out at a time, which keeps the
order of a target whoever takes them. A result is in the bucket before the message is acknowledged; if that is lost, the
message comes again, and is known by its sequence.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import NamedTuple

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from vdevice.config import Target
from vdevice.errors import OutboxFailingError
from vdevice.model import TARGETS, ErrorCode, EventState, Outcome, Stored, Verdict
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker, BrokerError, Message
from vdevice.outbox.jetstream.names import DELAYED, Names, target_of
from vdevice.outbox.jetstream.results import Results

LEASE = 5.0
"""Seconds after which the server gives a message to another dispatcher, unless the one that has it renews."""

PULL = 10.0
"""Seconds that the server keeps a request for messages; so long a target may have two dispatchers when they share anew."""

AGAIN = 0.5

log = structlog.get_logger()


class _Held(NamedTuple):
    message: Msg
    stored: Stored


class Taking:
    """Takes for the targets in `served`, and holds what it took; `queued` says how much waits for a target."""

    def __init__(self, broker: Broker, names: Names, results: Results, queued: Callable[[int], int]) -> None:
        self.served: frozenset[int] = frozenset()
        self._broker = broker
        self._names = names
        self._results = results
        self._queued = queued
        self._targets: dict[int, Target] = {}
        self._offer: Callable[[list[Stored]], None] = lambda _stored: None
        self._held: dict[int, _Held] = {}
        self._pulling: dict[int, asyncio.Task[None]] = {}
        self._ups = 0
        self._failing = {number: asyncio.Lock() for number in TARGETS}

    def serve(self, targets: Collection[Target], offer: Callable[[list[Stored]], None]) -> None:
        """Take for these targets, as far as they are this dispatcher's."""
        self._targets = {target.number: target for target in targets}
        self._offer = offer

    @property
    def wanted(self) -> list[int]:
        """The targets that may be served; what waits for a disabled or paused one may grow too old."""
        return list(self._targets)

    def pull(self, group: asyncio.TaskGroup, mine: frozenset[int]) -> None:
        """Take for these targets from now on; 0 stands for what is delayed. A pull that is under way ends by itself."""
        self.served = mine
        if self._ups != self._broker.ups:
            # The server has forgotten what was asked for over another connection.
            self._ups = self._broker.ups
            self._stop_pulling()
        for number in mine:
            if number not in self._pulling or self._pulling[number].done():
                self._pulling[number] = group.create_task(self._delayed() if number == 0 else self._take(number))

    async def renew(self) -> None:
        """Renew the lease of all that is held, for ever."""
        while True:
            await asyncio.sleep(LEASE / 3)
            for held in list(self._held.values()):
                with contextlib.suppress(nats.errors.Error, OSError):
                    await held.message.in_progress()

    async def release(self) -> None:
        """Give back what is held, for others to take at once."""
        self._stop_pulling()
        for held in self._held.values():
            with contextlib.suppress(nats.errors.Error, OSError):
                await held.message.nak()
        self._held.clear()

    def _serves(self, number: int) -> bool:
        # The client's requests may swallow a cancellation, so that a task that was replaced must see it here.
        return number in self.served and self._pulling.get(number) is asyncio.current_task()

    def _stop_pulling(self) -> None:
        for task in self._pulling.values():
            task.cancel()
        self._pulling.clear()

    async def _take(self, number: int) -> None:
        """Take what waits for a target while it is this dispatcher's."""
        while self._serves(number) and (target := self._targets.get(number)):
            try:
                await self._consumer(number, target.parallel)
                await self._pull(number, target)
            except (BrokerError, nats.errors.Error, OSError) as error:
                log.debug("not taken", target=number, reason=repr(error))
                await asyncio.sleep(AGAIN)

    async def _consumer(self, number: int, parallel: int) -> None:
        config = {
            "durable_name": self._names.consumer(number),
            "filter_subject": self._names.target(number),
            "ack_policy": "explicit",
            "ack_wait": int(LEASE * 1e9),
            "max_ack_pending": parallel,
        }
        await make_consumer(self._broker, self._names, config)

    async def _pull(self, number: int, target: Target) -> None:
        """Pull until another dispatcher serves the target, or its settings changed."""
        async with _subscription(self._broker, self._names, self._names.consumer(number)) as subscription:
            while self._serves(number) and self._targets.get(number) is target:
                with contextlib.suppress(nats.errors.TimeoutError):
                    for message in await subscription.fetch(1, PULL):
                        stored = await self._hold(number, message)
                        if stored:
                            self._offer([stored])

    async def _hold(self, number: int, message: Msg) -> Stored | None:
        """Hold a message; return its event, unless it is held already, or has ended."""
        seq = message.metadata.sequence.stream
        progress = self._results.of(number)
        if seq in progress.ended:
            await message.ack()
            return None
        event = await _event(message)
        if event is None:
            return None
        attempts, next_at = progress.tries.get(seq, (0, 0.0))
        stored = Stored(seq, event, event.since, attempts, next_at)
        held = self._held.get(seq)
        self._held[seq] = _Held(message, stored)
        return stored if held is None else None

    async def _delayed(self) -> None:
        """Move what was delayed to its target's subject when it is due."""
        config = {
            "durable_name": DELAYED,
            "filter_subject": self._names.delayed("*"),
            "ack_policy": "explicit",
            "ack_wait": int(LEASE * 1e9),
            "max_ack_pending": -1,
        }
        while self._serves(0):
            try:
                await make_consumer(self._broker, self._names, config)
                async with _subscription(self._broker, self._names, DELAYED) as subscription:
                    while self._serves(0):
                        with contextlib.suppress(nats.errors.TimeoutError):
                            for message in await subscription.fetch(1, PULL):
                                await self._move_due(message)
            except (BrokerError, nats.errors.Error, OSError) as error:
                log.debug("not taken", target="delayed", reason=repr(error))
                await asyncio.sleep(AGAIN)

    async def _move_due(self, message: Msg) -> None:
        event = await _event(message)
        if event is None:
            return
        wait = event.due_at - time.time()
        if wait > 0:
            await message.nak(wait)
            return
        subject = self._names.target(target_of(message.subject))
        await self._broker.publish(Message(subject, message.data, {"Nats-Msg-Id": f"{event.id}-due"}))
        await message.ack()

    async def fetch(self, target: int, after: int, limit: int) -> list[Stored]:
        """Return what is held for a target, behind seq `after`; what somebody has ended meanwhile is let go."""
        held = sorted(seq for seq, h in self._held.items() if h.stored.event.target == target and seq > after)
        for seq in [seq for seq in held if seq in self._results.of(target).ended]:
            held.remove(seq)
            # Without an acknowledgement the server would keep its place, and the consumer give out no other message.
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._held.pop(seq).message.ack()
        return [self._held[seq].stored for seq in held[:limit] if seq in self._held]

    async def retry(self, stored: Stored, outcome: Outcome) -> bool:
        """Record a failed attempt; False if the event waits here no more. Raises BrokerError."""
        held = self._held.get(stored.seq)
        if held is None:
            return False
        changed = await self._results.change(stored.event.target, lambda progress: progress.retried(stored, outcome))
        if changed:
            self._held[stored.seq] = _Held(held.message, stored)
        else:
            self._held.pop(stored.seq, None)
        return changed

    async def finish(self, stored: Stored, outcome: Outcome, now: float) -> bool:
        """Record how an event ended; False if it had ended already. Raises BrokerError."""
        number = stored.event.target
        if stored.seq not in self._held:
            return False
        target = self._targets.get(number)
        parallel = target.parallel if target else 1
        if stored.seq not in self._results.of(number).ended:
            await self._keep(documents.letter(stored, outcome, now), stored.seq)
        changed = await self._results.change(number, lambda progress: progress.finished(stored, outcome, now, parallel))
        held = self._held.pop(stored.seq, None)
        if held:
            with contextlib.suppress(nats.errors.Error, OSError):
                await held.message.ack()
        return changed

    async def _keep(self, letter: documents.Letter, seq: int) -> None:
        """Keep what ended: a dead letter surely, what was delivered for the log only."""
        if letter.state == EventState.DELIVERED.name.lower():
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._broker.client.publish(self._names.done(letter.event.target), documents.encode(letter))
            return
        headers = {"Nats-Msg-Id": f"{letter.event.id}-{seq}"}
        await self._broker.publish(Message(self._names.dead(letter.event.target), documents.encode(letter), headers))

    async def fail_waiting(self, target: int, text: str, now: float) -> int:
        """Make dead letters of all that waits for a target which is gone. Raises OutboxFailingError."""
        outcome = Outcome(Verdict.GIVE_UP, ErrorCode.TARGET, text=text)
        count = 0
        if self._failing[target].locked():
            return 0
        try:
            async with self._failing[target]:
                await self._consumer(target, 1)
                async with _subscription(self._broker, self._names, self._names.consumer(target)) as subscription:
                    while self._queued(target) > 0 and target not in self._targets:
                        count += await self._fail_held(target, outcome, now)
                        with contextlib.suppress(nats.errors.TimeoutError):
                            for message in await subscription.fetch(1, AGAIN):
                                await self._hold(target, message)
        except (nats.errors.Error, OSError) as error:
            raise OutboxFailingError(str(error)) from error
        return count

    async def _fail_held(self, target: int, outcome: Outcome, now: float) -> int:
        held = await self.fetch(target, 0, len(self._held))
        return sum([await self.finish(stored, outcome, now) for stored in held])


async def _event(message: Msg) -> documents.Waiting | None:
    """Return the event in a message; what is none is taken out of the stream, with a line in the log."""
    try:
        return documents.waiting_decoder.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        seq = message.metadata.sequence.stream
        log.error("not an event", subject=message.subject, seq=seq, reason=str(error))  # noqa: TRY400 (no traceback for a user)
        await message.term()
        return None


async def make_consumer(broker: Broker, names: Names, config: dict[str, object]) -> None:
    """Make a durable consumer, or change its settings. Raises BrokerError."""
    name, subject = config["durable_name"], config["filter_subject"]
    request = {"stream_name": names.waiting_stream, "config": config}
    await broker.api(f"CONSUMER.CREATE.{names.waiting_stream}.{name}.{subject}", request)


@contextlib.asynccontextmanager
async def _subscription(
    broker: Broker, names: Names, consumer: str
) -> AsyncIterator[JetStreamContext.PullSubscription]:
    subscription = await broker.client.jetstream().pull_subscribe_bind(consumer, names.waiting_stream)
    try:
        yield subscription
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
