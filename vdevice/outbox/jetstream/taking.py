"""The dispatcher's half: takes what waits for its targets, one consumer each, and records what became of it.

A message that was taken is held under a lease: it is renewed while this process lives, and runs out on the server when it
does not, so that another dispatcher gets the message. A consumer lets `parallel` messages out at a time, which keeps the
order of a target whoever takes them. A result is in the bucket before the message is acknowledged; if that is lost, the
message comes again, and is known by its sequence.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator

import nats.errors
import structlog
from nats.aio.msg import Msg

from vdevice.config import Target
from vdevice.model import EventState, Outcome, Stored
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.consumers import event_of, make_consumer, subscribed
from vdevice.outbox.jetstream.documents import name_of
from vdevice.outbox.jetstream.leases import LEASE, Held, Leases, now
from vdevice.outbox.jetstream.names import DELAYED, Names, target_of
from vdevice.outbox.jetstream.protocol import STORE_FULL, BrokerError, Message
from vdevice.outbox.jetstream.reserve import Reserve
from vdevice.outbox.jetstream.results import Results

PULL = 10.0
"""Seconds that the server keeps a request for messages; so long a target may have two dispatchers when they share anew."""

AGAIN = 0.5

LOOK = 0.25
"""Seconds between two looks at the clock."""

log = structlog.get_logger()


class Taking:
    """Takes for the targets in `served`, and holds what it took."""

    def __init__(self, broker: Broker, names: Names, results: Results, reserve: Reserve) -> None:
        self.on_stuck: Callable[[bool], None] = lambda _stuck: None
        self.served: frozenset[int] = frozenset()
        self._broker = broker
        self._names = names
        self._results = results
        self._reserve = reserve
        self._targets: dict[int, Target] = {}
        self._offer: Callable[[list[Stored]], None] = lambda _stored: None
        self._leases = Leases()
        self._pulling: dict[int, asyncio.Task[None]] = {}
        self._ups = 0

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

    async def look(self) -> None:
        """Look at the clock, for ever, so that it is noticed when this process was stopped."""
        while True:
            self._leases.look()
            await asyncio.sleep(LOOK)

    async def renew(self) -> None:
        """Renew the lease of all that is held, for ever."""
        while True:
            await asyncio.sleep(LEASE / 3)
            await asyncio.gather(*(self._renew(place, held) for place, held in self._leases.held.items()))

    async def _renew(self, place: int, held: Held) -> None:
        moment = now()
        with contextlib.suppress(nats.errors.Error, OSError):
            # Only an answer says that the server knows.
            await self._broker.client.request(held.message.reply, b"+WPI", timeout=LEASE / 4)
            self._leases.renewed(place, moment)

    def holds(self, stored: Stored) -> bool:
        """Tell whether a message is this dispatcher's to send now."""
        if self._leases.has(stored):
            return True
        log.warning("lease ran out", event_id=stored.event.id, target=stored.event.target)
        return False

    async def release(self) -> None:
        """Give back what is held, for others to take at once."""
        self._stop_pulling()
        for place, held in self._leases.held.items():
            if not self._leases.may_be_anothers(place):
                with contextlib.suppress(nats.errors.Error, OSError):
                    await held.message.nak()
        self._leases.held.clear()

    def begin_anew(self) -> None:
        """Go on with a stream whose sequences began anew, or went back."""
        self._leases.begin_anew()

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
        async with subscribed(self._broker, self._names, self._names.consumer(number)) as subscription:
            while self._serves(number) and self._targets.get(number) is target:
                with contextlib.suppress(nats.errors.TimeoutError):
                    for message in await subscription.fetch(1, PULL):
                        stored = await self._hold(number, message)
                        if stored:
                            self._offer([stored])

    async def _hold(self, number: int, message: Msg) -> Stored | None:
        """Hold a message; return it, unless it is held already, or has ended."""
        event = await event_of(message, number)
        if event is None:
            return None
        seq = message.metadata.sequence.stream
        progress, name = self._results.of(number), name_of(seq, event.id)
        if name in progress.ended_last:
            log.warning("had ended already", event_id=event.id, target=number, seq=seq)
            await message.ack()
            return None
        attempts, next_at = progress.retries.get(name, (0, 0.0))
        return self._leases.hold(seq, message, Stored(seq, event, event.since, attempts, next_at))

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
                async with subscribed(self._broker, self._names, DELAYED) as subscription:
                    while self._serves(0):
                        with contextlib.suppress(nats.errors.TimeoutError):
                            for message in await subscription.fetch(1, PULL):
                                await self._move_due(message)
            except (BrokerError, nats.errors.Error, OSError) as error:
                log.debug("not taken", target="delayed", reason=repr(error))
                await asyncio.sleep(AGAIN)

    async def _move_due(self, message: Msg) -> None:
        event = await event_of(message, target_of(message.subject))
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
        held = self._leases.held
        found = sorted(seq for seq, h in held.items() if h.stored.event.target == target and seq > after)
        for seq in found:
            if (known := held.get(seq)) and not await self._waits(known):
                held.pop(seq, None)
                # Without an acknowledgement the server would keep its place, and the consumer give out no other message.
                with contextlib.suppress(nats.errors.Error, OSError):
                    await known.message.ack()
        return [held[seq].stored for seq in [seq for seq in found if seq in held][:limit]]

    async def _waits(self, held: Held) -> bool:
        """Tell whether a message that is held waits still, as far as results and stream know. Raises BrokerError."""
        if held.name in self._results.of(held.stored.event.target).ended_last:
            return False
        return not self._leases.is_of_now(held.stored.seq) or await self._is_in_stream(held)

    async def _is_in_stream(self, held: Held) -> bool:
        kept = await self._broker.at(self._names.waiting_stream, held.message.metadata.sequence.stream)
        return kept is not None and documents.name_in(kept.seq, kept.data) == held.name

    async def retry(self, stored: Stored, outcome: Outcome) -> bool:
        """Record a failed attempt; False if the event waits here no more. Raises BrokerError."""
        with self._telling():
            return await self._retry(stored, outcome)

    async def finish(self, stored: Stored, outcome: Outcome, at: float) -> bool:
        """Record how an event ended; False if it had ended already. Raises BrokerError."""
        with self._telling():
            return await self._finish(stored, outcome, at)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell whether a result could be recorded."""
        try:
            yield
        except BrokerError as error:
            if error.code in STORE_FULL:
                self.on_stuck(True)
            raise
        self.on_stuck(False)

    async def _retry(self, stored: Stored, outcome: Outcome) -> bool:
        held = self._leases.held.get(stored.seq)
        if held is None or not await self._may_record(held):
            return False
        is_ours = not self._leases.may_be_anothers(stored.seq)
        changed = await self._results.change(
            stored.event.target, lambda progress: progress.retried(held.name, stored, outcome)
        )
        if changed and is_ours:
            self._leases.held[stored.seq] = self._leases.held.get(stored.seq, held)._replace(stored=stored)
        else:
            # Whoever gets it next knows of the attempt.
            self._leases.held.pop(stored.seq, None)
        return changed and is_ours

    async def _finish(self, stored: Stored, outcome: Outcome, at: float) -> bool:
        number = stored.event.target
        held = self._leases.held.get(stored.seq)
        if held is None:
            return False
        if not await self._may_record(held):
            return False
        target = self._targets.get(number)
        parallel = target.parallel if target else 1
        await self._keep(documents.letter(stored, outcome, at), held.name)
        changed = await self._results.change(
            number, lambda progress: progress.finished(held.name, stored, outcome, at, parallel)
        )
        latest = self._leases.held.pop(stored.seq, held)
        # What a stream gave before it began anew has a sequence there that is another's now.
        if self._leases.is_of_now(stored.seq):
            with contextlib.suppress(nats.errors.Error, OSError):
                await latest.message.ack()
        return changed

    async def _may_record(self, held: Held) -> bool:
        """Tell whether what came of an attempt counts; where another may have had the message, the servers are asked.

        Another one had it where the lease ran out, or where something behind it has ended. Raises BrokerError.
        """
        place, number = held.stored.seq, held.stored.event.target
        seq = held.message.metadata.sequence.stream
        ours = not self._leases.may_be_anothers(place)
        if ours and not self._results.of(number).has_passed(seq):
            return held.name not in self._results.of(number).ended_last
        await self._results.settle(number)
        if held.name not in self._results.of(number).ended_last:
            if await self._is_in_stream(held):
                return True
            # With its stream the message itself went; that it was sent is known all the same.
            if not self._leases.is_of_now(place):
                return True
        log.warning(
            "ended elsewhere", event_id=held.stored.event.id, target=number, reason="sent after its lease ran out"
        )
        self._leases.held.pop(place, None)
        return False

    async def _keep(self, letter: documents.Letter, name: str) -> None:
        """Keep what ended: a dead letter surely, what was delivered for the log only."""
        if letter.state == EventState.DELIVERED.name.lower():
            if self._reserve.is_short:
                return
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._broker.client.publish(self._names.done(letter.event.target), documents.encode(letter))
            return
        subject = self._names.dead(letter.event.target)
        message = Message(subject, documents.encode(letter), {"Nats-Msg-Id": name})
        await self._broker.publish_once(self._names.dead_stream, message, letter.event.id)
