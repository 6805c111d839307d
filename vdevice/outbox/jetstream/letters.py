"""What a person does with the outbox in NATS: list, show, replay and discard events, beside running devices."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import msgspec

from vdevice.config import Config
from vdevice.errors import VdeviceError
from vdevice.model import EventState
from vdevice.outbox.jetstream import documents, streams
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.documents import Letter, Progress, name_of
from vdevice.outbox.jetstream.names import Names
from vdevice.outbox.jetstream.protocol import Kept, Message
from vdevice.outbox.jetstream.reserve import Reserve
from vdevice.outbox.jetstream.results import Results
from vdevice.outbox.letters import EVENT, MOST_FOUND, Row

CONNECT = 5.0
"""Seconds that NATS may take to be there."""


DISCARDED_KEPT = 100
"""Discarded messages of a target that its results name; whether an older one is there still, the stream itself tells."""


class Looking:
    """One connection for a person, and the names and results that are there. Coroutines, unlike NatsLetters."""

    def __init__(self, config: Config) -> None:
        self.names = Names(config.device.id)
        self.broker = Broker(config.outbox, f"vdevice {config.device.id} command line", self._set_up, {})
        self.results = Results(self.broker, self.names, lambda _target: None)
        # What an operator discards makes room, and needs some.
        self.broker.make_room = Reserve(self.broker, self.names).make_room
        self._config = config

    async def _set_up(self) -> None:
        await streams.make(self.broker, self.names, self._config.outbox)
        await self.results.load()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Be connected while the block runs. Raises VdeviceError where NATS is not there."""
        running = asyncio.create_task(self.broker.run())
        try:
            async with asyncio.timeout(CONNECT):
                await self.broker.came_up.wait()
            yield
        except TimeoutError:
            reason = self.broker.reason or "no answer"
            raise VdeviceError(
                f"NATS cannot be used at {self._config.outbox.url} ({reason}); check that it runs"
            ) from None
        finally:
            await self.broker.close()
            running.cancel()
            await asyncio.wait([running])

    async def select(self, states: Sequence[EventState], target: int | None, limit: int) -> list[Row]:
        """Return the newest events in these states, newest first."""
        number = "*" if target is None else target
        rows = []
        if EventState.WAITING in states:
            for subject in (self.names.target(number), self.names.delayed(number)):
                rows += await self._rows(self.names.waiting_stream, subject, self._waiting)
        for stream, subject in (
            (self.names.dead_stream, self.names.dead(number)),
            (self.names.done_stream, self.names.done(number)),
        ):
            if any(state is not EventState.WAITING for state in states):
                rows += await self._rows(stream, subject, _ended)
        rows = [row for row in rows if row["state"] in states]
        rows.sort(key=lambda row: (row["since"], row["seq"]), reverse=True)
        return rows if limit < 0 else rows[:limit]

    async def _rows(self, stream: str, subject: str, row_of: Callable[[Kept], Row]) -> list[Row]:
        """Return the rows of a subject; what vdevice did not write there is none."""
        rows = []
        async for kept in self.broker.scan(stream, subject):
            with contextlib.suppress(*documents.NOT_OURS, KeyError):
                rows.append(row_of(kept))
        return rows

    def _waiting(self, kept: Kept) -> Row:
        event = documents.waiting_decoder.decode(kept.data)
        attempts, next_at = self.results.of(event.target).retries.get(name_of(kept.seq, event.id), (0, event.due_at))
        row = _row(kept, event, EventState.WAITING)
        return {**row, "attempts": attempts, "next_at": next_at}

    async def replay(self, row: Row) -> bool:
        """Queue a dead letter again, behind all that waits; False if it is none any more."""
        if row["state"] is not EventState.FAILED or not await self._is_there(row):
            return False
        event = msgspec.structs.replace(event_of(row), replayed_at=time.time(), due_at=0.0)
        headers = {"Nats-Msg-Id": f"{event.id}-replay-{row['seq']}"}
        message = Message(self.names.target(event.target), documents.encode(event), headers)
        await self.broker.publish_once(self.names.waiting_stream, message, event.id)
        await self.broker.delete(self.names.dead_stream, row["seq"])
        return await self.results.change(event.target, _replayed)

    async def discard(self, row: Row, reason: str = "") -> bool:
        """End a waiting event or a dead letter without delivery; False if it is none any more."""
        failed = row["state"] is EventState.FAILED
        if row["state"] not in {EventState.WAITING, EventState.FAILED} or not await self._is_there(row):
            return False
        seq = row["seq"]
        letter = letter_of(row, EventState.DISCARDED, time.time(), reason)
        await self.broker.publish(Message(self.names.done(row["target"]), documents.encode(letter)))
        changed = await self.results.change(
            row["target"], lambda progress: _discarded(progress, None if failed else name_of(seq, row["id"]))
        )
        await self.broker.delete(self.names.dead_stream if failed else self.names.waiting_stream, seq)
        return changed

    async def _is_there(self, row: Row) -> bool:
        """Tell whether a row's own message is still there; its sequence may be another one's now."""
        waiting = row["state"] is EventState.WAITING
        kept = await self.broker.at(self.names.waiting_stream if waiting else self.names.dead_stream, row["seq"])
        if kept is None:
            return False
        try:
            decode = documents.waiting_decoder.decode if waiting else _event_of_letter
            found: bool = decode(kept.data).id == row["id"]
        except documents.NOT_OURS:
            return False
        return found


def _paused(progress: Progress, *, paused: bool) -> Progress | None:
    return None if progress.paused == paused else msgspec.structs.replace(progress, paused=paused)


def _replayed(progress: Progress) -> Progress:
    return msgspec.structs.replace(progress, failed=progress.failed - 1)


def _discarded(progress: Progress, name: str | None) -> Progress | None:
    """Return it with one more discarded: a dead letter, or the waiting one of this name unless that has ended."""
    if name is None:
        return msgspec.structs.replace(progress, failed=progress.failed - 1, discarded=progress.discarded + 1)
    if name in progress.ended_last:
        return None
    retries = {other: tried for other, tried in progress.retries.items() if other != name}
    # As many as there are, so that none that was sent is pushed out; thousands would not fit into a message of NATS.
    kept = max(len(progress.ended_last), DISCARDED_KEPT)
    ended_last = (*progress.ended_last, name)[-kept:]
    return msgspec.structs.replace(progress, discarded=progress.discarded + 1, ended_last=ended_last, retries=retries)


def _row(kept: Kept, event: documents.Waiting, state: EventState) -> Row:
    return {
        "seq": kept.seq,
        "id": event.id,
        "target": event.target,
        "state": state,
        "accepted_at": event.accepted_at,
        "since": event.since,
        "value": event.value,
        "source_connection": event.source_connection,
        "source_parameter": event.source_parameter,
        "source_value": event.source_value,
        "attempts": 0,
        "next_at": 0.0,
        "finished_at": None,
        "http_status": 0,
        "error": 0,
        "error_text": "",
        "answer": None,
        "description": event.description,
    }


def _event_of_letter(data: bytes) -> documents.Waiting:
    return documents.letter_decoder.decode(data).event


def _ended(kept: Kept) -> Row:
    letter = documents.letter_decoder.decode(kept.data)
    return {
        **_row(kept, letter.event, EventState[letter.state.upper()]),
        "attempts": letter.attempts,
        "finished_at": letter.finished_at,
        "http_status": letter.http_status,
        "error": letter.error,
        "error_text": letter.error_text,
        "answer": letter.answer,
    }


def event_of(row: Row) -> documents.Waiting:
    """Return the document of a row's event; what was delayed is not any more."""
    replayed_at = row["since"] if row["since"] != row["accepted_at"] else 0.0
    return documents.Waiting(**{name: row[name] for name in EVENT}, replayed_at=replayed_at)


def letter_of(row: Row, state: EventState, finished_at: float, reason: str = "") -> Letter:
    """Return the document of a row that ended so; a reason stands instead of why it failed."""
    return Letter(
        event_of(row), state.name.lower(), row["attempts"], finished_at, row["http_status"], row["error"],
        reason or row["error_text"], row["answer"] or b"",
    )  # fmt: skip


class NatsLetters:
    """The events in NATS, for whoever has no event loop: the command line."""

    def __init__(self, looking: Looking, runner: asyncio.Runner) -> None:
        self._looking = looking
        self._run = runner.run

    def select(
        self,
        states: Sequence[EventState],
        target: int | None = None,
        limit: int = 100,
        *,
        words: str = "",
        among: int = -1,
    ) -> list[Row]:
        """Return the newest events in these states, newest first; a limit of -1 is none.

        With `words`, those of the newest `among` whose value or reason holds them, in capitals or not.
        """
        if not words:
            return self._run(self._looking.select(states, target, limit))
        wanted = words.lower()
        rows = self._run(self._looking.select(states, target, among))
        held = [row for row in rows if wanted in row["value"].lower() or wanted in row["error_text"].lower()]
        return held if limit < 0 else held[:limit]

    def oldest(self) -> float:
        """Return since when the oldest string waits (UTC seconds), 0 where none does."""
        rows = self._run(self._looking.select([EventState.WAITING], None, -1))
        return min((float(row["since"]) for row in rows), default=0.0)

    def find(self, event_id: str) -> list[Row]:
        """Return the first `MOST_FOUND` events whose id starts with `event_id`, by id: the one that is it comes first."""
        rows = self._run(self._looking.select(list(EventState), None, -1))
        found = [row for row in rows if row["id"].startswith(event_id)]
        return sorted(found, key=lambda row: (row["id"], row["seq"]))[:MOST_FOUND]

    def replay(self, rows: Sequence[Row]) -> int:
        """Queue dead letters again, behind all that waits, with the same ids; return how many were dead letters."""
        return sum(self._run(self._looking.replay(row)) for row in rows)

    def discard(self, rows: Sequence[Row], reason: str = "") -> int:
        """End waiting events and dead letters without delivery, for a reason if any; return how many there were."""
        return sum(self._run(self._looking.discard(row, reason)) for row in rows)

    def pause(self, target: int, *, paused: bool) -> bool:
        """Let what waits for a target wait on, or be delivered again; False if it is so already."""
        return self._run(self._looking.results.change(target, lambda progress: _paused(progress, paused=paused)))


@contextlib.contextmanager
def looking_at(config: Config) -> Iterator[tuple[Looking, asyncio.Runner]]:
    """Be connected, with a loop that runs what is asked for. Raises VdeviceError."""
    with asyncio.Runner() as runner:
        looking = Looking(config)
        connected = looking.connected()
        runner.run(connected.__aenter__())
        try:
            yield looking, runner
        finally:
            runner.run(connected.__aexit__(None, None, None))


@contextlib.contextmanager
def opened(config: Config) -> Iterator[NatsLetters]:
    """Open the events in NATS. Raises VdeviceError."""
    with looking_at(config) as (looking, runner):
        yield NatsLetters(looking, runner)
