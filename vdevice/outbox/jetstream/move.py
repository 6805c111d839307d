"""An outbox in NATS as one side of a move."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import msgspec
from nats.aio.msg import Msg

from vdevice.config import Config
from vdevice.errors import VdeviceError
from vdevice.model import TARGETS, EventState
from vdevice.outbox.contents import SAME, Contents, Totals
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.accepting import Accepting, count_message
from vdevice.outbox.jetstream.broker import Message
from vdevice.outbox.jetstream.documents import Accepted, Progress
from vdevice.outbox.jetstream.letters import Looking, event_of, letter_of, looking_at
from vdevice.outbox.letters import Row

QUIET = 1.5
"""Seconds without a sign of life after which no device or dispatcher runs."""

AT_ONCE = 500


class NatsMovable:
    """An outbox in NATS that no device or dispatcher runs on."""

    def __init__(self, looking: Looking, runner: asyncio.Runner) -> None:
        self._looking = looking
        self._names = looking.names
        self._broker = looking.broker
        self._counts = Accepting(looking.broker, looking.names, lambda _target: None)
        self._run = runner.run
        self._move_key = f"$KV.{self._names.bucket}.move"

    def begin(self) -> str:
        """Return the id of the move out of here that is under way; a new one where there is none."""
        return self._run(self._begin())

    async def _begin(self) -> str:
        name = await self._own_move()
        if not name:
            name = uuid.uuid4().hex
            await self._broker.publish(Message(self._move_key, name.encode()))
        return name

    async def _own_move(self) -> str:
        found = await self._broker.last(self._names.bucket_stream, self._move_key)
        return found[0].data.decode() if found else ""

    def contents(self) -> Contents:
        """Return all that is to be carried over."""
        return self._run(self._contents())

    async def _contents(self) -> Contents:
        waiting = await self._looking.select([EventState.WAITING], None, -1)
        failed = await self._looking.select([EventState.FAILED], None, -1)
        await self._load()
        totals = {}
        for number in TARGETS:
            count, result = self._counts.entry(number)[1], self._looking.results.of(number)
            if not count.accepted and not result.paused:
                continue
            totals[number] = Totals(
                count.accepted, result.delivered, result.failed, result.discarded, count.digest, result.http_status,
                result.error, result.error_text, result.latency_ms, result.finished_at, result.paused,
            )  # fmt: skip
        return Contents(sorted(waiting, key=lambda row: int(row["seq"])), failed[::-1], totals)

    async def _load(self) -> None:
        await self._counts.load()
        await self._looking.results.load()

    def bring(self, contents: Contents, move: str, brought: Callable[[int], None]) -> int:
        """Take in what is not here yet; return how many events that were."""
        return self._run(self._bring(contents, move, brought))

    async def _bring(self, contents: Contents, move: str, brought: Callable[[int], None]) -> int:
        if await self._own_move() == move:
            raise VdeviceError(SAME)
        await self._load()
        known = {row["id"] for row in await self._looking.select(list(EventState), None, -1)}
        await self._bring_totals(contents.totals, move)
        count = 0
        for rows, message in ((contents.failed, self._dead_message), (contents.waiting, self._waiting_message)):
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                new = [row for row in part if row["id"] not in known]
                await self._publish(new, message)
                count += len(new)
                brought(len(part))
        return count

    async def _publish(self, rows: Sequence[Row], message: Callable[[Row], Message]) -> None:
        tried: dict[int, dict[int, tuple[int, float]]] = {}
        # A batch is for one stream, and the bucket of results is another one.
        for row in rows:
            seq = await self._broker.publish(message(row))
            if row["state"] == EventState.WAITING and row["attempts"]:
                tried.setdefault(row["target"], {})[seq] = (row["attempts"], row["next_at"])
        for number, tries in tried.items():
            await self._looking.results.change(number, lambda progress, tries=tries: _with_tries(progress, tries))  # type: ignore[misc]

    async def _bring_totals(self, totals: dict[int, Totals], move: str) -> None:
        for number, total in totals.items():
            seq, count = self._counts.entry(number)
            if move not in count.moved:
                more = Accepted(count.accepted + total.accepted, total.digest or count.digest, (*count.moved, move))
                await self._broker.batch([count_message(self._names, number, more, seq)])
            await self._looking.results.change(
                number,
                lambda progress, total=total: _with_totals(progress, total, move),  # type: ignore[misc]
            )

    def _waiting_message(self, row: Row) -> Message:
        event = event_of(row)
        delayed = not row["attempts"] and row["next_at"] > time.time()
        if delayed:
            event = msgspec.structs.replace(event, due_at=row["next_at"])
        subject = self._names.delayed if delayed else self._names.target
        return Message(subject(event.target), documents.encode(event), {"Nats-Msg-Id": event.id})

    def _dead_message(self, row: Row) -> Message:
        letter = letter_of(row, EventState.FAILED, row["finished_at"] or 0.0)
        return Message(self._names.dead(row["target"]), documents.encode(letter), {"Nats-Msg-Id": f"{row['id']}-moved"})

    def clear(self, contents: Contents) -> None:
        """Remove what was carried over, the counters, and at last the id of the move."""
        self._run(self._clear(contents))

    async def _clear(self, contents: Contents) -> None:
        for subject in (self._names.target("*"), self._names.delayed("*")):
            await self._broker.api(f"STREAM.PURGE.{self._names.waiting_stream}", {"filter": subject})
        await self._broker.api(f"STREAM.PURGE.{self._names.dead_stream}", {})
        for number in contents.totals:
            seq, count = self._counts.entry(number)
            await self._broker.batch([count_message(self._names, number, Accepted(moved=count.moved), seq)])
            await self._looking.results.change(number, lambda progress: Progress(moved=progress.moved))
        await self._broker.publish(Message(self._move_key, b""))


def _with_totals(progress: Progress, total: Totals, move: str) -> Progress | None:
    if move in progress.moved:
        return None
    last = total if total.finished_at >= progress.finished_at else progress
    return msgspec.structs.replace(
        progress,
        delivered=progress.delivered + total.delivered,
        failed=progress.failed + total.failed,
        discarded=progress.discarded + total.discarded,
        http_status=last.http_status,
        error=last.error,
        error_text=last.error_text,
        latency_ms=last.latency_ms,
        finished_at=last.finished_at,
        paused=progress.paused or total.paused,
        moved=(*progress.moved, move),
    )


def _with_tries(progress: Progress, tries: dict[int, tuple[int, float]]) -> Progress:
    return msgspec.structs.replace(progress, tries={**progress.tries, **tries})


async def _check_quiet(looking: Looking) -> None:
    """Raise VdeviceError where a device or a dispatcher gives a sign of life."""
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    await looking.broker.client.subscribe(looking.names.presence, cb=hear)
    await asyncio.sleep(QUIET)
    if heard:
        raise VdeviceError("a device or dispatcher runs on this outbox; stop all of them, then move")


@contextlib.contextmanager
def opened(config: Config) -> Iterator[NatsMovable]:
    """Open an outbox in NATS that nobody runs on. Raises VdeviceError."""
    with looking_at(config) as (looking, runner):
        runner.run(_check_quiet(looking))
        yield NatsMovable(looking, runner)
