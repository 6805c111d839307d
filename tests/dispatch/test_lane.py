"""The rules of one target's delivery, on a real outbox and without a socket: an attempt is whatever the test says."""

import asyncio
import contextlib
import itertools
import time
import types
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.support import event_of, target_of, until
from vdevice.board import Board
from vdevice.clock import Clock
from vdevice.config import Target
from vdevice.dispatch import lane
from vdevice.dispatch.lane import Lane
from vdevice.model import ErrorCode, EventState, Outcome, Stored, Verdict
from vdevice.outbox import letters
from vdevice.outbox.sqlite import SqliteOutbox

DELIVERED = Outcome(Verdict.DELIVERED, http_status=200)
REFUSED = Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, 400, "HTTP 400, given up")
UNAVAILABLE = Outcome(Verdict.RETRY, ErrorCode.HTTP, 503, "HTTP 503")
NOW_AGAIN = Outcome(Verdict.RETRY, ErrorCode.HTTP, 503, "HTTP 503", retry_after=0)


class Site:
    """A lane for target 7 on an outbox; `outcomes` are those of the attempts in order, the last one also of the rest."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.target: Target = target_of(settings)[1]
        self.board = Board()
        self.board.configure({7: True})
        self.file = folder / "o.db"
        self.outbox = SqliteOutbox(self.file, self.board, 1000)
        self.lane = Lane(self.target, self.outbox, self.board, self.attempt, Clock())
        self.outcomes = [DELIVERED]
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.most_at_once = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def attempt(self, _target: Target, stored: Stored) -> Outcome:
        self.begun.append(stored.event.value)
        self.most_at_once = max(self.most_at_once, len(self.begun) - len(self.ended))
        await asyncio.sleep(0)
        await self.may_end.wait()
        outcome = self.outcomes[min(len(self.begun) - 1, len(self.outcomes) - 1)]
        self.ended.append(stored.event.value)
        return outcome

    def offer(self, stored: list[Stored]) -> None:
        for item in stored:
            self.lane.offer(item)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        async with self.outbox, asyncio.TaskGroup() as group:
            self.outbox.serve((), self.offer)
            self.lane.start(group.create_task)
            yield self
            self.lane.stop()

    async def put(self, *values: str) -> None:
        for value in values:
            await self.outbox.put([event_of(value, time.time())])

    def discard(self, value: str) -> None:
        with letters.opened(self.file) as kept:
            rows = [row for row in kept.select([EventState.WAITING]) if row["value"] == value]
            assert kept.discard(rows) == 1

    def rows(self) -> list[letters.Row]:
        with letters.opened(self.file) as kept:
            return kept.select(list(EventState))

    @property
    def queued(self) -> int:
        return self.board.targets[7].queued


async def test_one_at_a_time_and_in_order(tmp_path: Path) -> None:
    async with Site(tmp_path, "backoff = 0.001").running() as site:
        site.outcomes = [UNAVAILABLE, UNAVAILABLE, DELIVERED]
        await site.put(*"abcde")
        await until(lambda: site.queued == 0)
    assert "".join(site.begun) == "aaabcde"
    assert site.most_at_once == 1


async def test_parallel_is_how_many_at_a_time(tmp_path: Path) -> None:
    async with Site(tmp_path, "parallel = 3").running() as site:
        site.may_end.clear()
        await site.put(*"abcdefgh")
        await until(lambda: len(site.begun) == 3)
        site.may_end.set()
        await until(lambda: site.queued == 0)
    assert site.most_at_once == 3
    assert sorted(site.begun) == list("abcdefgh")


async def test_fewer_and_more_in_parallel_from_one_moment_to_the_next(tmp_path: Path) -> None:
    async with Site(tmp_path, "parallel = 4").running() as site, asyncio.TaskGroup() as group:
        site.may_end.clear()
        await site.put(*"abcd")
        await until(lambda: len(site.begun) == 4)
        for parallel in (2, 4, 3):
            site.lane.update(msgspec.structs.replace(site.target, parallel=parallel))
            site.lane.start(group.create_task)
        site.may_end.set()
        await until(lambda: site.queued == 0)
        site.may_end.clear()
        await site.put(*"efgh")
        await until(lambda: len(site.begun) == 7)
        site.lane.stop()
        site.may_end.set()
    assert len(site.begun) == 7


async def test_a_discarded_message_is_not_tried_again_though_nobody_said_so(tmp_path: Path) -> None:
    async with Site(tmp_path, "backoff_max = 0.3").running() as site:
        site.outcomes = [msgspec.structs.replace(UNAVAILABLE, retry_after=0.3), DELIVERED]
        await site.put("a")
        await until(lambda: site.board.targets[7].retrying == 1)
        await asyncio.to_thread(site.discard, "a")
        await site.put("b")
        await until(lambda: site.board.targets[7].delivered == 1)
    assert site.begun == ["a", "b"]


async def test_a_discarded_message_that_waits_for_the_rate_is_not_sent(tmp_path: Path) -> None:
    async with Site(tmp_path, "rate = 2").running() as site:
        await site.put(*"abc")
        await until(lambda: site.ended == ["a"])
        await asyncio.to_thread(site.discard, "b")
        await until(lambda: site.board.targets[7].delivered == 2)
    assert site.begun == ["a", "c"]


async def test_what_was_discarded_behind_a_message_in_flight_is_fetched_no_more(tmp_path: Path) -> None:
    async with Site(tmp_path, "").running() as site:
        site.may_end.clear()
        await site.put(*"abc")
        await until(lambda: site.begun == ["a"])
        await asyncio.to_thread(site.discard, "b")
        site.lane.look_again()
        site.may_end.set()
        await until(lambda: site.board.targets[7].delivered == 2)
    assert site.begun == ["a", "c"]


async def test_what_was_discarded_during_its_attempt_is_not_counted_as_delivered(tmp_path: Path) -> None:
    async with Site(tmp_path, "").running() as site:
        site.may_end.clear()
        await site.put("a")
        await until(lambda: site.begun == ["a"])
        await asyncio.to_thread(site.discard, "a")
        await site.outbox.probe()
        site.may_end.set()
        await site.put("b")
        await until(lambda: site.queued == 0)
        state = site.board.targets[7]
        assert (state.accepted, state.delivered, state.discarded) == (2, 1, 1)


@pytest.mark.parametrize("verdict", [Verdict.RETRY, Verdict.GIVE_UP])
async def test_a_reason_that_cannot_be_encoded_is_recorded_and_shown_all_the_same(
    tmp_path: Path, verdict: Verdict
) -> None:
    async with Site(tmp_path, "backoff = 3600\nbackoff_max = 3600").running() as site:
        site.outcomes = [Outcome(verdict, ErrorCode.HTTP, 503, "half a pair: \ud800")]
        await site.put("a")
        await until(lambda: bool(site.board.targets[7].error))
        await until(lambda: [row["error_text"] for row in site.rows()] == ["half a pair: \ufffd"])
        assert site.board.targets[7].error_text == "half a pair: \ufffd"
        assert [one.outcome.text for one in site.board.tries] == ["half a pair: \ufffd"]


async def test_what_is_given_up_holds_up_no_other(tmp_path: Path) -> None:
    async with Site(tmp_path, "backoff = 3600\nbackoff_max = 3600").running() as site:
        site.outcomes = [REFUSED]
        await site.put(*map(str, range(20)))
        await until(lambda: site.board.targets[7].failed == 20)


async def test_a_target_that_keeps_failing_gets_one_attempt_at_a_time(tmp_path: Path) -> None:
    async with Site(tmp_path, "parallel = 8\nattempts = 1\nbackoff = 0.0001\nbackoff_max = 0.01").running() as site:
        site.outcomes = [UNAVAILABLE]
        await site.put(*map(str, range(8)))
        await until(lambda: site.board.targets[7].failed == 8)
        site.most_at_once = 0
        await site.put(*map(str, range(20)))
        await until(lambda: site.board.targets[7].failed == 28)
        assert site.most_at_once == 1
        site.outcomes = [DELIVERED]
        await site.put("x")
        await until(lambda: site.board.targets[7].delivered == 1)
        site.may_end.clear()
        await site.put(*"abcdefgh")
        await until(lambda: len(site.begun) - len(site.ended) == 8)
        site.may_end.set()
        await until(lambda: site.queued == 0)


async def test_a_target_that_keeps_failing_is_spared_though_it_asks_to_be_tried_at_once(tmp_path: Path) -> None:
    settings = "attempts = 100\nbackoff = 3600\nbackoff_max = 3600"
    async with Site(tmp_path, settings).running() as site:
        site.outcomes = [NOW_AGAIN]
        await site.put("a")
        await until(lambda: len(site.ended) == 5 and site.board.targets[7].retrying == 1)
        assert site.lane._breaker.not_before > time.time()


@pytest.mark.parametrize("parallel", [1, 5])
async def test_a_stop_lets_attempts_end_and_begins_none(tmp_path: Path, parallel: int) -> None:
    async with Site(tmp_path, f"parallel = {parallel}").running() as site:
        site.may_end.clear()
        await site.put(*"abcdefghij")
        await until(lambda: len(site.begun) == parallel)
        site.lane.stop()
        workers = site.lane.under_way
        assert len(workers) == parallel
        site.may_end.set()
        await asyncio.wait(workers)
        assert (len(site.begun), site.board.targets[7].delivered) == (parallel, parallel)
        assert not site.lane.under_way


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [("rate = 0.001", DELIVERED), ("backoff_max = 3600", msgspec.structs.replace(UNAVAILABLE, retry_after=3600))],
    ids=["the rate", "a retry"],
)
async def test_a_stop_ends_waits(tmp_path: Path, settings: str, outcome: Outcome) -> None:
    async with Site(tmp_path, settings).running() as site:
        site.outcomes = [outcome]
        await site.put(*"ab")
        await until(lambda: site.ended == ["a"] and not site.lane.under_way)
        site.lane.stop()
        assert not site.lane.under_way
    assert site.begun == ["a"]


async def test_a_failed_attempt_that_ends_during_a_stop_is_recorded_and_not_repeated(tmp_path: Path) -> None:
    async with Site(tmp_path, "backoff = 0.001").running() as site:
        site.outcomes = [UNAVAILABLE]
        site.may_end.clear()
        await site.put("a")
        await until(lambda: site.begun == ["a"])
        site.lane.stop()
        site.may_end.set()
        await asyncio.wait(site.lane.under_way)
        ((stored,), _) = await site.outbox.fetch(7, 0, 10, time.time() + 1)
        assert stored.attempts == 1
    assert site.begun == ["a"]


async def test_a_lane_that_was_stopped_goes_on(tmp_path: Path) -> None:
    async with Site(tmp_path, "").running() as site, asyncio.TaskGroup() as group:
        site.may_end.clear()
        await site.put(*"abc")
        await until(lambda: site.begun == ["a"])
        site.lane.stop()
        site.lane.start(group.create_task)
        site.may_end.set()
        await until(lambda: site.queued == 0)
        site.lane.stop()
    assert site.begun == ["a", "b", "c"]
    assert site.most_at_once == 1


@pytest.mark.parametrize("outcome", [UNAVAILABLE, DELIVERED], ids=["a retry", "the rate"])
async def test_what_grew_too_old_waits_for_no_retry_and_no_rate(tmp_path: Path, outcome: Outcome) -> None:
    settings = "max_age = 0.5\nrate = 0.001\nbackoff = 3600\nbackoff_max = 3600"
    async with Site(tmp_path, settings).running() as site:
        site.outcomes = [outcome]
        await site.put(*"abc")
        await until(lambda: site.queued == 0)
        assert site.board.targets[7].failed >= 2
        assert site.board.targets[7].error is ErrorCode.TOO_OLD
    assert site.begun == ["a"]


@pytest.mark.parametrize("why", ["paused", "disabled"])
async def test_what_waits_for_a_target_at_rest_grows_too_old_all_the_same(tmp_path: Path, why: str) -> None:
    async with Site(tmp_path, "max_age = 0.5").running() as site:
        site.board.targets[7].paused = why == "paused"
        site.lane.update(msgspec.structs.replace(site.target, enabled=why != "disabled"))
        await site.put(*"abcdef")
        await until(lambda: site.board.targets[7].failed == 6)
    assert site.begun == []


@pytest.mark.parametrize("settings", ["max_age = inf", "max_age = 1e300\nrate = 1e-320", "rate = inf"])
async def test_times_without_end_stop_nothing(tmp_path: Path, settings: str) -> None:
    async with Site(tmp_path, f"{settings}\nbackoff = inf\nbackoff_max = inf").running() as site:
        site.outcomes = [UNAVAILABLE]
        await site.put("a")
        await until(lambda: site.ended == ["a"] and site.board.targets[7].retrying == 1)
        site.board.targets[7].paused = True
        site.lane.look_again()
        await site.outbox.put([msgspec.structs.replace(event_of("late", time.time()), due_at=1e300)])
        site.board.targets[7].paused = False
        site.outcomes = [DELIVERED]
        site.lane.update(msgspec.structs.replace(site.target, rate=None))
        await until(lambda: site.board.targets[7].delivered == 1)


async def test_a_retry_that_becomes_due_while_it_is_looked_at_is_attempted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that goes on between any two looks at it, so that each moment is passed between two of them.
    looks = itertools.count()
    clock = types.SimpleNamespace(time=lambda: time.time() + 0.0005 * next(looks), monotonic=time.monotonic)
    monkeypatch.setattr(lane, "time", clock)
    async with Site(tmp_path, "backoff = 0.002\nbackoff_max = 0.002\nattempts = 100").running() as site:
        site.outcomes = [UNAVAILABLE] * 60 + [DELIVERED]
        await site.put("a")
        await until(lambda: site.queued == 0)
    assert site.begun == ["a"] * 61
