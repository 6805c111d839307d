"""Moving between outboxes: all of it arrives once, however often the move was interrupted."""

import asyncio
import contextlib
import itertools
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests import seeds
from tests.brokers import NatsServer
from tests.support import until
from vdevice.board import Board
from vdevice.config import Config
from vdevice.config.load import load, parse
from vdevice.errors import VdeviceError
from vdevice.model import ErrorCode, Event, EventState, Outcome, Stored, Verdict, new_event_id
from vdevice.outbox.api import Outbox, open_letters, open_outbox
from vdevice.outbox.jetstream import move as nats_move
from vdevice.outbox.jetstream.move import NatsMovable
from vdevice.outbox.jetstream.names import Names
from vdevice.outbox.jetstream.streams import configs
from vdevice.outbox.move import Movable, Moved, move, open_movable

DELIVERED = Outcome(Verdict.DELIVERED, http_status=200)
FAILED = Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, 404, "HTTP 404", b"no such hook")
RETRY = Outcome(Verdict.RETRY, ErrorCode.HTTP, 503, "HTTP 503")
KILLS = 6
ids = itertools.count()


@pytest.fixture(autouse=True)
def _short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs says so twice a second.
    monkeypatch.setattr(nats_move, "QUIET", 0.8)


class Stop(Exception):  # noqa: N818 (a power cut is no error)
    """The move was interrupted."""


BOTH_WAYS = [("sqlite", "nats"), ("nats", "sqlite"), ("sqlite", "sqlite"), ("nats", "nats")]


def config_of(kind: str, folder: Path, nats: NatsServer) -> Config:
    return parse(toml_of(kind, nats), folder)


def toml_of(kind: str, nats: NatsServer) -> str:
    number = next(ids)
    url = nats.url if kind == "nats" else f"sqlite:///{number}.db"
    targets = '[targets.7]\nmethod = "get"\nurl = "http://h/"\n[targets.8]\nmethod = "get"\nurl = "http://h/"\n'
    return f'[device]\nid = "move {number} {time.time()}"\n[outbox]\nurl = "{url}"\n{targets}'


def event(value: str, target: int = 7, due_at: float = 0.0) -> Event:
    now = time.time()
    return Event(new_event_id(now), target, value, now, "plc", f"target/{target}", value, "of a rule", due_at)


async def taken(outbox: Outbox, config: Config, offered: list[Stored], count: int) -> list[Stored]:
    """Return the next events of target 7 that may be sent, whichever outbox it is."""
    if config.outbox.is_nats:
        await until(lambda: len(offered) >= count)
        return offered
    return (await outbox.fetch(7, 0, 10, time.time()))[0]


async def fill(config: Config) -> None:
    """Deliver two strings, give one up, try one, and leave two more and a delayed one waiting."""
    async with open_outbox(config, Board(), "all") as outbox:
        offered: list[Stored] = []
        outbox.serve([config.targets[7]], offered.extend)
        for value, outcome in (("done", DELIVERED), ("done too", DELIVERED), ("dead", FAILED)):
            await outbox.put([event(value)])
            (item,) = (await taken(outbox, config, offered, 1))[:1]
            await outbox.finish(item, outcome, time.time())
            offered.clear()
        await outbox.put([event("tried")])
        (item,) = (await taken(outbox, config, offered, 1))[:1]
        await outbox.retry(Stored(item.seq, item.event, item.since, 2, time.time() + 60), RETRY)
        await outbox.put([event("waits"), event("other", 8)])
        await outbox.put([event("later", 7, time.time() + 600)])


async def shown(config: Config) -> dict[int, tuple[object, ...]]:
    board = Board()
    async with open_outbox(config, board, "all"):
        return {
            number: (s.accepted, s.delivered, s.failed, s.queued, s.http_status, s.error, s.error_text, s.finished_at)
            for number, s in board.targets.items()
            if s.accepted
        }


def kept(config: Config) -> list[tuple[object, ...]]:
    names = ("id", "target", "state", "accepted_at", "since", "value", "source_connection", "attempts", "next_at")
    more = ("http_status", "error_text", "answer", "description")
    with open_letters(config) as letters:
        rows = letters.select([EventState.WAITING, EventState.FAILED])
        # The last attempt's answer stays in SQLite with each event; in NATS with its target.
        tried = [row for row in rows if row["state"] == EventState.WAITING]
        for row in tried:
            row.update(http_status=0, error_text="", answer=None)
        return sorted(tuple(row[name] for name in (*names, *more)) for row in rows)


def moved(source: Config, destination: Config) -> Moved:
    with open_movable(source) as old, open_movable(destination) as new:
        return move(old, new, lambda _count: None)


@pytest.mark.parametrize(("old", "new"), BOTH_WAYS)
async def test_all_that_waits_dead_letters_and_counters_arrive(
    nats: NatsServer, tmp_path: Path, old: str, new: str
) -> None:
    source, destination = config_of(old, tmp_path, nats), config_of(new, tmp_path, nats)
    await fill(source)
    before, rows = await shown(source), await asyncio.to_thread(kept, source)
    assert before[7][:4] == (6, 2, 1, 3)
    assert len(rows) == 5
    assert await asyncio.to_thread(moved, source, destination) == Moved(4, 1, 5)
    assert await asyncio.to_thread(kept, destination) == rows
    assert await shown(destination) == before
    assert await asyncio.to_thread(kept, source) == []
    assert await shown(source) == {}
    # Once more moves nothing.
    assert await asyncio.to_thread(moved, source, destination) == Moved(0, 0, 0)
    assert await shown(destination) == before
    # And the first thing that is sent is the string that was first.
    async with open_outbox(destination, Board(), "all") as outbox:
        offered: list[Stored] = []
        outbox.serve([destination.targets[7]], offered.extend)
        item = (await taken(outbox, destination, offered, 1))[0]
        assert (item.event.value, item.attempts) == ("tried", 2)


class Interrupted:
    """An outbox whose power goes at a step of the move."""

    def __init__(self, outbox: Movable, step: str) -> None:
        self._outbox = outbox
        self._step = step

    def __getattr__(self, name: str) -> object:
        if name == self._step:
            raise Stop
        return getattr(self._outbox, name)


@pytest.mark.parametrize("step", ["contents", "bring", "clear", "brought", "cleared"])
@pytest.mark.parametrize(("old", "new"), [("sqlite", "nats"), ("nats", "sqlite")])
async def test_an_interrupted_move_is_finished_by_the_next(
    nats: NatsServer, tmp_path: Path, old: str, new: str, step: str
) -> None:
    source, destination = config_of(old, tmp_path, nats), config_of(new, tmp_path, nats)
    await fill(source)
    before, rows = await shown(source), await asyncio.to_thread(kept, source)

    def interrupted() -> None:
        def brought(_count: int) -> None:
            if step == "brought":
                raise Stop

        with open_movable(source) as from_, open_movable(destination) as to:
            move(Interrupted(from_, step), Interrupted(to, step), brought)  # type: ignore[arg-type]
            if step == "cleared":
                raise Stop

    with pytest.raises(Stop):
        await asyncio.to_thread(interrupted)
    await asyncio.to_thread(moved, source, destination)
    assert await asyncio.to_thread(kept, destination) == rows
    assert await shown(destination) == before
    assert await shown(source) == {}


@pytest.mark.parametrize("kind", ["sqlite", "nats"])
async def test_a_move_to_itself_or_beside_a_running_device_is_refused(
    nats: NatsServer, tmp_path: Path, kind: str
) -> None:
    source, other = config_of(kind, tmp_path, nats), config_of(kind, tmp_path, nats)
    await fill(source)
    rows = await asyncio.to_thread(kept, source)

    def to_itself() -> None:
        with open_movable(source) as outbox:
            move(outbox, outbox, lambda _count: None)

    with pytest.raises(VdeviceError, match="same outbox"):
        await asyncio.to_thread(to_itself)
    async with open_outbox(source, Board(), "all"):
        with pytest.raises(VdeviceError, match="stop"):
            await asyncio.to_thread(moved, source, other)
    assert await asyncio.to_thread(kept, source) == rows


async def test_what_is_there_already_stays_and_counts_on(nats: NatsServer, tmp_path: Path) -> None:
    source, destination = config_of("sqlite", tmp_path, nats), config_of("nats", tmp_path, nats)
    await fill(source)
    await fill(destination)
    await asyncio.to_thread(moved, source, destination)
    assert [totals[:4] for totals in (await shown(destination)).values()] == [(12, 4, 2, 6), (2, 0, 0, 2)]


@pytest.mark.parametrize(("old", "new"), BOTH_WAYS)
async def test_there_and_back_and_there_again_loses_nothing(
    nats: NatsServer, tmp_path: Path, old: str, new: str
) -> None:
    here, there = config_of(old, tmp_path, nats), config_of(new, tmp_path, nats)
    await fill(here)
    before, rows = await shown(here), await asyncio.to_thread(kept, here)
    for source, destination in ((here, there), (there, here)) * 2:
        # All of it within the time for which a stream remembers ids.
        assert await asyncio.to_thread(moved, source, destination) == Moved(4, 1, 5)
        assert await asyncio.to_thread(kept, destination) == rows
        assert await asyncio.to_thread(kept, source) == []
        assert await shown(destination) == before


@pytest.mark.parametrize("kind", ["sqlite", "nats"])
async def test_what_a_restored_source_brings_again_is_not_counted_again(
    nats: NatsServer, tmp_path: Path, kind: str
) -> None:
    """Or it would be shown as waiting, and take its place in the outbox, for ever."""
    source, destination = config_of("sqlite", tmp_path, nats), config_of(kind, tmp_path, nats)
    await fill(source)
    shutil.copy(source.outbox_file, tmp_path / "backup")
    await asyncio.to_thread(moved, source, destination)

    def discard_one() -> None:
        with open_letters(destination) as letters:
            assert letters.discard([row for row in letters.select([EventState.WAITING]) if row["value"] == "waits"])

    await asyncio.to_thread(discard_one)
    shutil.copy(tmp_path / "backup", source.outbox_file)
    assert (await asyncio.to_thread(moved, source, destination)).brought == 0
    queued = {number: totals[3] for number, totals in (await shown(destination)).items()}
    rows = [row for row in await asyncio.to_thread(kept, destination) if row[2] == EventState.WAITING]
    assert queued == Counter(row[1] for row in rows) == {7: 2, 8: 1}
    assert [totals[2] for totals in (await shown(destination)).values()] == [1, 0], "one dead letter"


@pytest.mark.parametrize("kind", ["sqlite", "nats"])
async def test_nothing_is_removed_that_the_destination_does_not_have(
    nats: NatsServer, tmp_path: Path, kind: str
) -> None:
    source, destination = config_of(kind, tmp_path, nats), config_of("nats", tmp_path, nats)
    await fill(source)
    rows = await asyncio.to_thread(kept, source)
    names = Names(destination.device.id)

    def taken_away() -> None:
        with open_movable(source) as old, open_movable(destination) as new:
            # Somebody else takes what is brought, before it is all there.
            assert isinstance(new, NatsMovable)
            new._run(new._broker.api(f"STREAM.UPDATE.{names.dead_stream}", short_lived(destination)))
            move(old, new, lambda _count: time.sleep(0.3))

    with pytest.raises(VdeviceError, match="1 of 5 messages are not in the other outbox"):
        await asyncio.to_thread(taken_away)
    assert await asyncio.to_thread(kept, source) == rows


def short_lived(config: Config) -> dict[str, object]:
    """Return the settings of a stream of dead letters that forgets them at once."""
    (dead,) = [one for one in configs(Names(config.device.id), config.outbox) if "vdevice-dead" in one["name"]]
    return {**dead, "max_age": 100_000_000, "duplicate_window": 100_000_000}


async def test_a_destination_whose_file_was_removed_meanwhile_clears_nothing(nats: NatsServer, tmp_path: Path) -> None:
    source, destination = config_of("sqlite", tmp_path, nats), config_of("sqlite", tmp_path, nats)
    await fill(source)
    rows = await asyncio.to_thread(kept, source)

    def removed() -> None:
        with open_movable(source) as old, open_movable(destination) as new:
            move(old, new, lambda _count: destination.outbox_file.unlink())

    with pytest.raises(VdeviceError, match="cannot be used"):
        await asyncio.to_thread(removed)
    assert await asyncio.to_thread(kept, source) == rows


async def test_what_came_in_during_a_move_stays(nats: NatsServer, tmp_path: Path) -> None:
    source, destination = config_of("nats", tmp_path, nats), config_of("sqlite", tmp_path, nats)
    await fill(source)
    rows = await asyncio.to_thread(kept, source)

    def with_a_device() -> None:
        with open_movable(source) as old, open_movable(destination) as new:

            def brought(_count: int) -> None:
                # A device that somebody starts all the same.
                asyncio.run(write(source, "late"))

            move(old, new, brought)

    with pytest.raises(VdeviceError, match="runs on this outbox"):
        await asyncio.to_thread(with_a_device)
    assert len(await asyncio.to_thread(kept, source)) == len(rows) + 1
    await asyncio.to_thread(moved, source, destination)
    assert {row[5] for row in await asyncio.to_thread(kept, destination)} == {"late", *(row[5] for row in rows)}


async def write(config: Config, value: str) -> None:
    async with open_outbox(config, Board(), "device") as outbox:
        await outbox.put([event(value)])
        await asyncio.sleep(0.8)  # until it has said that it lives


@pytest.mark.parametrize(("old", "new"), BOTH_WAYS)
async def test_a_move_that_is_killed_at_any_moment_loses_nothing(
    nats: NatsServer, tmp_path: Path, old: str, new: str
) -> None:
    files = []
    for name, kind in (("old", old), ("new", new)):
        files.append(tmp_path / f"{name}.toml")
        files[-1].write_text(toml_of(kind, nats))
    source, destination = (load(file) for file in files)
    await fill(source)
    async with open_outbox(source, Board(), "all") as outbox:
        await asyncio.gather(*(outbox.put([event(f"more {number}")]) for number in range(300)))
    before, rows = await shown(source), await asyncio.to_thread(kept, source)
    lots = seeds.lots(f"kills of a move from {old} to {new}")
    for kills in itertools.count():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.outbox.moving", *map(str, files), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout
        if await process.stdout.readline() == b"begins\n" and kills < KILLS:
            # From a millisecond to a third of a second, as often short as long.
            await asyncio.sleep(10 ** (-0.5 - 2.5 * lots.random()))
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if await process.wait() == 0:
            break
        assert kills < KILLS
    # What a kill left of the move is done by the next.
    await asyncio.to_thread(moved, source, destination)
    assert await asyncio.to_thread(kept, destination) == rows
    assert await shown(destination) == before
    assert await asyncio.to_thread(kept, source) == []
    assert await shown(source) == {}
