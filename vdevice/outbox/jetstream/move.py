"""An outbox in NATS as one side of a move."""

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec
from nats.aio.msg import Msg

from vdevice.config import Config
from vdevice.errors import VdeviceError
from vdevice.model import TARGETS, EventState
from vdevice.outbox.contents import SAME, Contents, Totals
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.counts import Counts
from vdevice.outbox.jetstream.documents import Accepted, Progress, name_of
from vdevice.outbox.jetstream.letters import Looking, event_of, letter_of, looking_at
from vdevice.outbox.jetstream.protocol import Message
from vdevice.outbox.letters import Row

QUIET = 1.5
"""Seconds without a sign of life after which no device or dispatcher runs."""

SOON = 0.1
"""Seconds within which what the connection holds has been read."""

AT_ONCE = 500

RUNNING = "a device or dispatcher runs on this outbox; stop all of them, then move"


class NatsMovable:
    """An outbox in NATS that no device or dispatcher runs on; `heard` are the signs of life that were heard all the same."""

    def __init__(self, looking: Looking, runner: asyncio.Runner, heard: Sequence[Msg] = ()) -> None:
        self._looking = looking
        self._names = looking.names
        self._broker = looking.broker
        self._results = looking.results
        self._counts = Counts(looking.broker, looking.names, lambda _target: None)
        self._heard = heard
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
        found = await self._broker.newest(self._names.bucket_stream, self._move_key)
        return found.data.decode("ascii", "replace") if found else ""

    def contents(self) -> Contents:
        """Return all that is to be carried over."""
        return self._run(self._contents())

    async def _contents(self) -> Contents:
        waiting = await self._looking.select([EventState.WAITING], None, -1)
        failed = await self._looking.select([EventState.FAILED], None, -1)
        # What failed in between is a dead letter.
        dead = {row["id"] for row in failed}
        waiting = sorted((row for row in waiting if row["id"] not in dead), key=lambda row: int(row["seq"]))
        await self._load()
        many = Counter(row["target"] for row in waiting)
        totals = {}
        for number in TARGETS:
            count, result = self._counts.of(number), self._results.of(number)
            accepted = result.ended + many[number]
            if not accepted and not result.paused:
                continue
            totals[number] = Totals(
                accepted, result.delivered, result.failed, result.discarded, count.digest, result.http_status,
                result.error, result.error_text, result.latency_ms, result.finished_at, result.paused,
            )  # fmt: skip
        return Contents(waiting, failed[::-1], totals)

    async def _load(self) -> None:
        await self._counts.load()
        await self._results.load()

    def bring(self, contents: Contents, move: str, brought: Callable[[int], None]) -> int:
        """Take in what is not here yet; return how many events were really taken."""
        return self._run(self._bring(contents, move, brought))

    async def _bring(self, contents: Contents, move: str, brought: Callable[[int], None]) -> int:
        if await self._own_move() == move:
            raise VdeviceError(SAME)
        await self._load()
        known = {row["id"]: int(row["seq"]) for row in await self._looking.select(list(EventState), None, -1)}
        await self._bring_totals(contents.without(known).totals, move)
        count = 0
        for rows, message in ((contents.failed, self._dead_message), (contents.waiting, self._waiting_message)):
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                count += await self._publish(part, message, move, known)
                brought(len(part))
        await self._bring_retries(contents.waiting, known)
        return count

    async def _publish(
        self, rows: Sequence[Row], message: Callable[[Row], Message], move: str, known: dict[str, int]
    ) -> int:
        """Publish what is not known; return how many the server did not know either."""
        count = 0
        # A batch is for one stream, and tells nothing of a single message of it.
        for row in rows:
            if row["id"] not in known:
                # The server remembers ids for a while, also of what has left the stream since: only this move's may count.
                headers = {"Nats-Msg-Id": f"{row['id']}-{move}"}
                published = await self._broker.publish(message(row)._replace(headers=headers))
                known[row["id"]] = published.seq
                count += not published.is_duplicate
        return count

    async def _bring_retries(self, waiting: Sequence[Row], known: Mapping[str, int]) -> None:
        retries: dict[int, dict[str, tuple[int, float]]] = {}
        for row in waiting:
            if row["attempts"]:
                name = name_of(known[row["id"]], row["id"])
                retries.setdefault(row["target"], {})[name] = (row["attempts"], row["next_at"])
        for number, new in retries.items():
            await self._results.change(number, lambda progress, new=new: _with_retries(progress, new))  # type: ignore[misc]

    async def _bring_totals(self, totals: dict[int, Totals], move: str) -> None:
        for number, total in totals.items():
            seq, count = self._counts.entry(number)
            if move not in count.moved:
                more = Accepted(count.accepted + total.accepted, total.digest or count.digest, (*count.moved, move))
                await self._broker.batch([self._counts.message(number, more, seq)])
            await self._results.change(
                number,
                lambda progress, total=total: _with_totals(progress, total, move),  # type: ignore[misc]
            )

    def missing(self, contents: Contents, move: str) -> int:
        """Read back what a move brought; return how many events, and targets' counters, are not here."""
        return self._run(self._missing(contents, move))

    async def _missing(self, contents: Contents, move: str) -> int:
        await self._counts.settle(contents.totals)
        for number in contents.totals:
            await self._results.settle(number)
        uncounted = [
            number
            for number in contents.totals
            if move not in self._counts.of(number).moved or move not in self._results.of(number).moved
        ]
        rows = await self._looking.select(list(EventState), None, -1)
        return contents.missing({row["id"]: row["value"] for row in rows}) + len(uncounted)

    def _waiting_message(self, row: Row) -> Message:
        event = event_of(row)
        delayed = not row["attempts"] and row["next_at"] > time.time()
        if delayed:
            event = msgspec.structs.replace(event, due_at=row["next_at"])
        subject = self._names.delayed if delayed else self._names.target
        return Message(subject(event.target), documents.encode(event))

    def _dead_message(self, row: Row) -> Message:
        letter = letter_of(row, EventState.FAILED, row["finished_at"] or 0.0)
        return Message(self._names.dead(row["target"]), documents.encode(letter))

    def clear(self, contents: Contents) -> None:
        """Remove what was carried over, and no more, from the counters and the streams, and at last the id of the move."""
        self._run(self._clear(contents))

    async def _clear(self, contents: Contents) -> None:
        # What came in while this loop did not run.
        await asyncio.sleep(SOON)
        if self._heard:
            raise VdeviceError(f"nothing was removed from this outbox: {RUNNING}")
        names = {name_of(row["seq"], row["id"]) for row in contents.waiting}
        for number, total in contents.totals.items():
            seq, count = self._counts.entry(number)
            less = Accepted(max(count.accepted - total.accepted, 0), "", count.moved)
            await self._broker.batch([self._counts.message(number, less, seq)])
            await self._results.change(
                number,
                lambda progress, total=total, less=less: _without_totals(progress, total, less.accepted, names),  # type: ignore[misc]
            )
        await self._remove(
            self._names.waiting_stream, (self._names.target("*"), self._names.delayed("*")), contents.waiting
        )
        await self._remove(self._names.dead_stream, (self._names.dead("*"),), contents.failed)
        await self._broker.publish(Message(self._move_key, b""))

    async def _remove(self, stream: str, subjects: Sequence[str], rows: Sequence[Row]) -> None:
        """Remove rows from the beginning of a stream; what came in behind them stays."""
        last = max((int(row["seq"]) for row in rows), default=0)
        for subject in subjects if last else ():
            await self._broker.api(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": last + 1})


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


def _without_totals(progress: Progress, total: Totals, accepted: int, names: Collection[str]) -> Progress:
    return Progress(
        delivered=max(progress.delivered - total.delivered, 0),
        failed=max(progress.failed - total.failed, 0),
        discarded=max(progress.discarded - total.discarded, 0),
        retries={name: tried for name, tried in progress.retries.items() if name not in names},
        ended_last=progress.ended_last,
        moved=progress.moved,
        changes=progress.changes,
        accepted=accepted,
    )


def _with_retries(progress: Progress, retries: Mapping[str, tuple[int, float]]) -> Progress | None:
    """Return it with attempts that were brought; None where they are known, or more were made here since."""
    new = {name: tried for name, tried in retries.items() if name not in progress.retries}
    return msgspec.structs.replace(progress, retries={**progress.retries, **new}) if new else None


async def _listen(looking: Looking) -> list[Msg]:
    """Return the signs of life that come in from now on. Raises VdeviceError where there is one at once."""
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    await looking.broker.client.subscribe(looking.names.presence, cb=hear)
    await asyncio.sleep(QUIET)
    if heard:
        raise VdeviceError(RUNNING)
    return heard


@contextlib.contextmanager
def opened(config: Config) -> Iterator[NatsMovable]:
    """Open an outbox in NATS that nobody runs on. Raises VdeviceError."""
    with looking_at(config) as (looking, runner):
        yield NatsMovable(looking, runner, runner.run(_listen(looking)))
