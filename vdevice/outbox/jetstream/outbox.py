"""The outbox on JetStream, as the device sees it: both halves, who else is there, and the board.

It opens whether NATS is there or not: until it is, nothing is accepted and all else goes on. Every process of a device id
says twice a second that it lives; the dispatchers among them share the targets.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Self

import structlog
from nats.aio.msg import Msg

from vdevice.board import Board
from vdevice.config import Config, Target
from vdevice.errors import OutboxFailingError
from vdevice.model import ErrorCode, Event, Outcome, Stored
from vdevice.outbox.jetstream import documents, streams
from vdevice.outbox.jetstream.accepting import Accepting
from vdevice.outbox.jetstream.balance import Balance
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.counts import Counts
from vdevice.outbox.jetstream.documents import Presence, seq_of
from vdevice.outbox.jetstream.names import Names, target_of
from vdevice.outbox.jetstream.protocol import BrokerError
from vdevice.outbox.jetstream.reserve import Reserve
from vdevice.outbox.jetstream.results import Results
from vdevice.outbox.jetstream.sharing import owner
from vdevice.outbox.jetstream.taking import Taking
from vdevice.outbox.room import Room

TICK = 0.5
"""Seconds between two signs of life."""

GONE = 2.0
"""Seconds without a sign of life after which a process counts as gone."""

START, STOP = 3.0, 3.0
"""Seconds that NATS may take at the start before the device goes on without it, and to store the last strings at the end."""

log = structlog.get_logger()


class NatsOutbox:
    """The open outbox of one process. `role` says which halves of it work."""

    def __init__(self, config: Config, board: Board, role: str) -> None:
        self.on_stored: Callable[[list[Stored]], None] = lambda _stored: None
        self.on_outside_change: Callable[[], None] = lambda: None
        self.process = uuid.uuid4().hex[:12]
        self._config = config
        self._board = board
        self._role = role
        self._names = names = Names(config.device.id)
        self._broker = Broker(
            config.outbox,
            f"vdevice {config.device.id} {role}",
            self._set_up,
            {f"{names.news}.>": self._hear_news, names.presence: self._hear_presence},
        )
        self._broker.on_change = self._changed
        self._room = Room(board, config.outbox.max_messages)
        self._counts = Counts(self._broker, names, self._show)
        self._reserve = Reserve(self._broker, names, self._shut)
        self._broker.make_room = self._reserve.make_room
        self._accepting = Accepting(self._broker, names, self._counts, self._reserve, config.modbus.answer_timeout)
        self._results = Results(self._broker, names, self._show, lambda number: self._counts.of(number).accepted)
        self._balance = Balance(self._broker, names, self._counts, self._results)
        self._made: dict[str, streams.Life] = {}
        self._taking = Taking(self._broker, names, self._results, self._reserve)
        self._taking.on_stuck = self._stuck
        self._is_stuck = False
        self._others: dict[str, tuple[float, Presence]] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._board.outbox_failing = True
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        tasks = [self._broker.run(), self._accepting.run(), self._taking.renew(), self._taking.look(), self._live()]
        self._running, self._storing, *self._tasks = [self._group.create_task(task) for task in tasks]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START):
                await self._broker.came_up.wait()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._accepting.close()
        await asyncio.wait([self._storing], timeout=STOP)
        await self._taking.release()
        await self._broker.close()
        for task in (self._running, self._storing, *self._tasks):
            task.cancel()
        await self._stack.aclose()

    def apply(self, config: Config) -> None:
        """Go on with another config; the streams keep their settings until NATS is set up anew."""
        self._config = config
        self._room.most = config.outbox.max_messages
        self._accepting.answer_timeout = config.modbus.answer_timeout

    def put(self, events: Sequence[Event], changed_only: frozenset[int] = frozenset()) -> asyncio.Future[list[Stored]]:
        """Store the events of one request, all or none; the future is done once NATS has them.

        Raises OutboxFullError now; the future raises OutboxFailingError, or OutboxFullError where the stream is full.
        """
        targets = [event.target for event in events]
        self._room.reserve(targets)
        future = self._accepting.put(events, changed_only)
        future.add_done_callback(lambda _future: self._room.release(targets))
        future.add_done_callback(self._stored)
        return future

    def _stored(self, future: asyncio.Future[list[Stored]]) -> None:
        if not future.cancelled() and not future.exception():
            self.on_stored(future.result())

    def serve(self, targets: Collection[Target], offer: Callable[[list[Stored]], None]) -> None:
        """Take what waits for these targets from now on, as far as no other dispatcher does, and offer it."""
        self._taking.serve(targets, offer)
        self._share()

    async def fetch(self, target: int, after: int, limit: int, _now: float) -> tuple[list[Stored], float | None]:
        """Return what was taken for a target, behind seq `after`; what is delayed is not taken before it is due."""
        return await self._taking.fetch(target, after, limit), None

    def holds(self, stored: Stored) -> bool:
        """Tell whether an event is this process's to send now: its lease was renewed in time."""
        return self._taking.holds(stored)

    async def retry(self, stored: Stored, outcome: Outcome) -> bool:
        """Record a failed attempt whose event goes on waiting; False if it waits no more. Raises OutboxFailingError."""
        return await self._taking.retry(stored, outcome)

    async def finish(self, stored: Stored, outcome: Outcome, now: float) -> bool:
        """Record how an event ended; False if it was ended already. Raises OutboxFailingError."""
        return await self._taking.finish(stored, outcome, now)

    async def purge(self, delivered_before: float, failed_before: float) -> int:  # noqa: ARG002 (the outbox's own words)
        """Delete nothing: the streams have an age."""
        return 0

    async def shift(self, jump: float, now: float, started: float) -> None:
        """Do nothing: what waits has the times of the servers' clock."""

    async def probe(self) -> None:
        """See whether the streams answer and are the same as before, and whether all counters lead somewhere.

        Raises OutboxFailingError.
        """
        if not self._broker.is_up:
            raise OutboxFailingError("NATS cannot be reached now")
        try:
            made = await streams.lives(self._broker, self._names)
            streams.check_same(made, self._made)
            self._made = made
            await self._reserve.look(made[self._names.reserve_stream].messages)
            await self._balance.look(await self._broker.subjects(self._names.waiting_stream, f"{self._names.root}.>"))
        except BrokerError as error:
            self._broker.lost(str(error))
            raise

    async def _set_up(self) -> None:
        await streams.make(self._broker, self._names, self._config.outbox)
        made = await streams.lives(self._broker, self._names)
        for name, life in made.items():
            before = self._made.get(name)
            if before and (life.began != before.began or life.last_seq < before.last_seq):
                log.error("stream went back", stream=name, last_seq=life.last_seq, before=before.last_seq)
                if name == self._names.waiting_stream:
                    self._taking.begin_anew()
        self._made = made
        await self._reserve.look(made[self._names.reserve_stream].messages)
        await self._counts.load()
        await self._results.load()

    def _changed(self, up: bool) -> None:  # noqa: FBT001 (the state of the connection)
        self._board.outbox_failing = not up or self._is_stuck
        if up:
            self._share()
            self.on_outside_change()

    def _shut(self, short: bool) -> None:  # noqa: FBT001 (the state of the reserve)
        """Take nothing more while the room for results is not there."""
        self._room.is_shut = short
        self._room.show()

    def _stuck(self, stuck: bool) -> None:  # noqa: FBT001 (whether a result could not be recorded)
        """Show that a result cannot be recorded, until one could."""
        if stuck != self._is_stuck:
            self._is_stuck = stuck
            self._board.outbox_failing = stuck or not self._broker.is_up
            if stuck:
                log.error("results cannot be recorded", reason="NATS is full; make room there, or discard messages")
            else:
                log.info("results are recorded again")

    async def _hear_news(self, message: Msg) -> None:
        headers = message.headers or {}
        if message.subject == f"{self._names.news}.reserve":
            self._reserve.set_short(short=True)
            return
        kind = message.subject.removeprefix(f"{self._names.news}.").partition(".")[0]
        half = self._counts if kind == "accepted" else self._results
        seq = headers.get("Nats-Sequence", "")
        if seq.isdecimal():
            half.heard(int(seq), target_of(message.subject), message.data)

    async def _hear_presence(self, message: Msg) -> None:
        try:
            presence = documents.presence_decoder.decode(message.data)
        except documents.NOT_OURS:
            return  # by somebody else
        if presence.process == self.process:
            return
        known = presence.process in self._others
        self._others[presence.process] = (time.monotonic(), presence)
        if not known:
            self._share()

    async def _live(self) -> None:
        """Give signs of life, and see which others give none any more, for ever."""
        while True:
            if self._broker.is_up:
                with contextlib.suppress(BrokerError):
                    await self._broker.tell(self._names.presence, documents.encode(self._presence()))
            now = time.monotonic()
            self._others = {who: (heard, it) for who, (heard, it) in self._others.items() if now - heard < GONE}
            self._share()
            await asyncio.sleep(TICK)

    def _presence(self) -> Presence:
        states = self._board.targets.items()
        return Presence(
            self.process,
            self._role,
            tuple(number for number, state in states if state.sending),
            tuple(number for number, state in states if state.retrying),
        )

    def _share(self) -> None:
        """Take what is this dispatcher's share of the targets, and show what the others do with theirs."""
        others = [presence for _, presence in self._others.values()]
        dispatchers = {presence.process for presence in others if presence.role != "device"}
        if self._role == "device":
            self._board.delivering = bool(dispatchers)
        elif self._broker.is_up:
            dispatchers.add(self.process)
            mine = {number for number in (0, *self._taking.wanted) if owner(number, dispatchers) == self.process}
            self._taking.pull(self._group, frozenset(mine))
        sending = {number for presence in others for number in presence.sending}
        retrying = {number for presence in others for number in presence.retrying}
        for number, state in self._board.targets.items():
            state.sending_elsewhere, state.retrying_elsewhere = number in sending, number in retrying

    def _show(self, number: int) -> None:
        """Put a target's counters and its last outcome on the board."""
        state, result = self._board.targets[number], self._results.of(number)
        queued, discarded = state.queued, state.discarded
        ended = result.ended
        # A result may be heard before the news of the string that it is for.
        state.accepted = max(self._counts.of(number).accepted, ended)
        state.delivered, state.failed, state.discarded = result.delivered, result.failed, result.discarded
        state.http_status, state.latency_ms = result.http_status, result.latency_ms
        state.error, state.error_text = ErrorCode(result.error), result.error_text
        state.finished_at = result.finished_at
        is_changed = state.paused != result.paused or discarded != result.discarded
        state.paused = result.paused
        if is_changed:
            self.on_outside_change()
        state.attempts = result.retries[min(result.retries, key=seq_of)][0] if result.retries else 0
        self._board.waiting += state.queued - queued
        self._room.show()
