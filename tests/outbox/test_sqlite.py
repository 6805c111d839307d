"""The outbox on a real SQLite file."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import time
from pathlib import Path

import psutil
import pytest
import structlog

from tests.support import empty_disk, event_of, fill_disk, until
from vdevice.board import Board
from vdevice.errors import OutboxFailingError, OutboxFullError, VdeviceError
from vdevice.model import ErrorCode, Event, EventState, Outcome, Stored, Verdict
from vdevice.outbox import database
from vdevice.outbox.letters import SqliteLetters
from vdevice.outbox.sqlite import PURGED_AT_ONCE, SqliteOutbox

DELIVERED = Outcome(Verdict.DELIVERED, http_status=200)
FAILED = Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, 404, "HTTP 404", b"no such hook")


def opened(folder: Path, most: int = 1000) -> SqliteOutbox:
    return SqliteOutbox(folder / "o.db", Board(), most)


def rows(folder: Path, state: EventState) -> list[str]:
    connection = sqlite3.connect(folder / "o.db")
    try:
        found = connection.execute("SELECT value FROM event WHERE state = ? ORDER BY seq", (state,)).fetchall()
    finally:
        connection.close()
    return [row[0] for row in found]


async def test_what_is_stored_can_be_read_by_another_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        (stored,) = await outbox.put([event_of("Grüße\0\n")])
        assert rows(tmp_path, EventState.WAITING) == ["Grüße\0\n"]
        assert await outbox.fetch(7, 0, 10, time.time()) == ([stored], None)


async def test_many_requests_share_commits_and_keep_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path, 5000) as outbox:
        seen: list[Stored] = []
        outbox.on_stored = seen.extend
        await asyncio.gather(*(outbox.put([event_of(str(n))]) for n in range(2000)))
        assert [item.event.value for item in seen] == [str(n) for n in range(2000)]
        assert rows(tmp_path, EventState.WAITING) == [str(n) for n in range(2000)]


async def test_events_of_one_request_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        broken = Event("id", 7, None, 0.0, "", "", "")  # type: ignore[arg-type]
        with pytest.raises(OutboxFailingError):
            await outbox.put([event_of("a"), broken])
        assert rows(tmp_path, EventState.WAITING) == []
        await outbox.put([event_of("b"), event_of("c")])
        assert rows(tmp_path, EventState.WAITING) == ["b", "c"]


async def test_a_full_outbox_refuses_and_takes_again(tmp_path: Path) -> None:
    async with opened(tmp_path, 1) as outbox:
        stored = await outbox.put([event_of("a")])
        with pytest.raises(OutboxFullError):
            outbox.put([event_of("c")])
        assert outbox._board.outbox_full
        await outbox.finish(stored[0], DELIVERED, time.time())
        assert not outbox._board.outbox_full
        await outbox.put([event_of("c")])


async def test_counters_and_last_outcome_survive_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        first, second, third = await outbox.put([event_of(v) for v in "abc"])
        await outbox.finish(first, DELIVERED, first.since + 0.25)
        await outbox.finish(second, FAILED, 1_750_000_100.0)
        await outbox.retry(third, FAILED)
    async with opened(tmp_path) as outbox:
        state = outbox._board.targets[7]
        assert (state.accepted, state.delivered, state.failed, state.queued) == (3, 1, 1, 1)
        assert (state.latency_ms, state.finished_at) == (250, 1_750_000_100)
        assert (state.http_status, state.error, state.error_text) == (404, ErrorCode.HTTP, "HTTP 404")
        assert outbox._board.waiting == 1


async def test_an_event_ends_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        (stored,) = await outbox.put([event_of("a")])
        assert await outbox.finish(stored, DELIVERED, time.time())
        assert not await outbox.finish(stored, FAILED, time.time())
        assert not await outbox.retry(stored, FAILED)
        state = outbox._board.targets[7]
        assert (state.delivered, state.failed) == (1, 0)


async def test_only_changes_are_stored_also_after_a_restart(tmp_path: Path) -> None:
    changed = frozenset({7})
    async with opened(tmp_path) as outbox:
        kept = [len(await outbox.put([event_of(v)], changed)) for v in ("a", "a", "b", "a", "a")]
        assert kept == [1, 0, 1, 1, 0]
    async with opened(tmp_path) as outbox:
        assert [len(await outbox.put([event_of(v)], changed)) for v in ("a", "b")] == [0, 1]


async def test_a_failed_commit_does_not_count_as_the_last_text(tmp_path: Path) -> None:
    changed = frozenset({7})
    async with opened(tmp_path) as outbox:
        broken = Event("id", 7, None, 0.0, "", "", "")  # type: ignore[arg-type]
        with pytest.raises(OutboxFailingError):
            await outbox.put([event_of("a"), broken], changed)
        assert len(await outbox.put([event_of("a")], changed)) == 1


async def test_a_full_disk_fails_the_write_and_recovers_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path, 10_000) as outbox:
        await outbox.put([event_of("before")])
        fill_disk(outbox)
        with pytest.raises(OutboxFailingError):
            await outbox.put([event_of("x" * 1800)])
        assert outbox._board.outbox_failing
        with pytest.raises(OutboxFailingError):
            await outbox.probe()
        empty_disk(outbox)
        await outbox.probe()
        assert not outbox._board.outbox_failing
        await outbox.put([event_of("after")])
        assert rows(tmp_path, EventState.WAITING)[-1] == "after"


async def test_a_writer_that_ends_fails_what_waits_and_is_started_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("a")])
        assert outbox.writer_pid
        os.kill(outbox.writer_pid, signal.SIGKILL)
        with pytest.raises(OutboxFailingError):
            await outbox.put([event_of("b")])
        assert outbox._board.outbox_failing
        with pytest.raises(OutboxFailingError, match="not running"):
            await outbox.put([event_of("c")])
        looked: list[bool] = []
        outbox.on_outside_change = lambda: looked.append(True)
        await outbox.probe()
        assert looked, "what the last writer stored without an answer must be looked for"
        assert not outbox._board.outbox_failing
        await outbox.put([event_of("d")])
        assert outbox._board.waiting == 2
    assert rows(tmp_path, EventState.WAITING) == ["a", "d"]


async def test_a_file_that_is_taken_away_fails_and_recovers(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("a")])
        assert outbox.writer_pid
        os.kill(outbox.writer_pid, signal.SIGKILL)
        await until(lambda: outbox.writer_pid is None)
        (tmp_path / "o.db").rename(tmp_path / "away")
        (tmp_path / "o.db").mkdir()
        with pytest.raises(OutboxFailingError, match="cannot be opened"):
            await outbox.probe()
        with pytest.raises(OutboxFailingError):
            await outbox.put([event_of("b")])
        (tmp_path / "o.db").rmdir()
        (tmp_path / "away").rename(tmp_path / "o.db")
        await outbox.probe()
        await outbox.put([event_of("c")])
    assert rows(tmp_path, EventState.WAITING) == ["a", "c"]


async def test_the_writer_ends_with_its_device_and_not_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        pid = outbox.writer_pid
        assert pid
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        await outbox.put([event_of("a")])
        last = [outbox.put([event_of(str(n))]) for n in range(50)]
    assert all(future.done() and not future.exception() for future in last)
    assert not psutil.pid_exists(pid)


async def test_retention_deletes_in_pieces_what_is_over(tmp_path: Path) -> None:
    async with opened(tmp_path, 5000) as outbox:
        stored = await outbox.put([event_of(str(n)) for n in range(1203)])
        for item in stored[:1201]:
            outbox.finish(item, DELIVERED, 1000.0)
        await outbox.finish(stored[1201], FAILED, 1000.0)
        deleted = [await outbox.purge(2000.0, 500.0) for _ in range(14)]
        assert deleted == [PURGED_AT_ONCE] * 12 + [1201 - 12 * PURGED_AT_ONCE, 0]
        assert await outbox.purge(0, 2000.0) == 1
        assert rows(tmp_path, EventState.WAITING) == ["1202"]
        assert outbox._board.targets[7].accepted == 1203


async def test_letters_are_replayed_behind_all_others_and_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        changes: list[bool] = []
        outbox.on_outside_change = lambda: changes.append(True)
        first, second = await outbox.put([event_of("a"), event_of("b")])
        await outbox.finish(first, FAILED, time.time())
        other = database.connect(tmp_path / "o.db")
        letters = SqliteLetters(other)
        assert letters.replay([{"seq": first.seq}, {"seq": second.seq}]) == 1
        await outbox.probe()
        assert changes == [True]
        assert [item.event.value for item in (await outbox.fetch(7, 0, 10, time.time()))[0]] == ["b", "a"]
        assert (outbox._board.targets[7].failed, outbox._board.waiting) == (0, 2)
        assert letters.discard([{"seq": second.seq}]) == 1
        await outbox.probe()
        state = outbox._board.targets[7]
        assert (state.discarded, state.queued) == (1, 1)
        assert [row["value"] for row in letters.select([EventState.DISCARDED])] == ["b"]
        other.close()


async def test_a_long_replay_beside_a_device_lets_it_store_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdevice.outbox.letters.ROWS_AT_ONCE", 10)
    async with opened(tmp_path, 100_000) as outbox:
        stored = await outbox.put([event_of(str(number)) for number in range(100)])
        await asyncio.gather(*(outbox.finish(item, FAILED, time.time()) for item in stored))
        with contextlib.closing(database.connect(tmp_path / "o.db")) as other:
            replaying = asyncio.create_task(
                asyncio.to_thread(SqliteLetters(other).replay, [{"seq": item.seq} for item in stored])
            )
            while not replaying.done():
                await outbox.put([event_of("new")])
            assert await replaying == 100
        await outbox.probe()
        assert outbox._board.targets[7].failed == 0
        values = [item.event.value for item in (await outbox.fetch(7, 0, 100_000, time.time()))[0]]
    assert values.index("new") < values.index("99"), "it did not wait for all of them"
    assert [value for value in values if value != "new"] == [str(number) for number in range(100)]


async def test_counters_are_right_where_others_change_the_outbox_amid_a_flood(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        (first, second) = await outbox.put([event_of("a"), event_of("b")])
        other = database.connect(tmp_path / "o.db")
        assert SqliteLetters(other).discard([{"seq": first.seq}]) == 1
        other.close()
        # All of it is one commit.
        probing = asyncio.create_task(outbox.probe())
        flood = [outbox.put([event_of(str(n))]) for n in range(5)]
        ending = outbox.finish(second, DELIVERED, time.time())
        await asyncio.gather(probing, ending, *flood)
        state = outbox._board.targets[7]
        assert (state.accepted, state.delivered, state.discarded, state.queued) == (7, 1, 1, 5)
        assert outbox._board.waiting == 5


async def test_a_retry_keeps_what_the_last_ending_showed(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        first, second = await outbox.put([event_of("a"), event_of("b")])
        # All of it is one commit.
        await asyncio.gather(outbox.finish(first, DELIVERED, first.since + 0.25), outbox.retry(second, FAILED))
    async with opened(tmp_path) as outbox:
        state = outbox._board.targets[7]
        assert (state.latency_ms, state.finished_at) == (250, int(first.since + 0.25))
        assert (state.http_status, state.error_text) == (404, "HTTP 404")


async def test_one_device_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(VdeviceError, match="another vdevice is running"):
            async with opened(tmp_path):
                pass


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("a")])
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


SAMPLES = sorted((Path(__file__).parent / "samples").glob("version-*.sqlite"))


def test_there_is_a_sample_of_each_version() -> None:
    assert [int(file.stem.split("-")[1]) for file in SAMPLES] == list(range(1, database.SCHEMA_VERSION + 1))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda file: file.stem)
async def test_a_file_of_an_earlier_version_is_brought_forward(sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "vdevice.db"
    file.write_bytes(sample.read_bytes())
    board = Board()
    async with SqliteOutbox(file, board, 100) as outbox:
        waiting, due = await outbox.fetch(7, 0, 10, time.time())
        assert [(item.event.value, item.event.description, item.next_at) for item in waiting] == [
            ("waits", "", 0.0),
            ("waits too", "", 0.0),
        ]
        assert due is None
        state = board.targets[7]
        assert (state.accepted, state.delivered, state.failed) == (4, 1, 1)
    connection = database.connect(file)
    assert connection.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    new = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    fresh = database.connect(tmp_path / "fresh.db")
    assert {row[0] for row in fresh.execute("SELECT name FROM sqlite_schema")} == new
    fresh.close()


async def test_opening_to_read_waits_for_nobody_who_writes(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        (stored,) = await outbox.put([event_of("a")])
        with contextlib.closing(database.connect(tmp_path / "o.db")) as writing, database.transaction(writing):
            writing.execute("UPDATE target SET paused = 1")
            with contextlib.closing(database.connect(tmp_path / "o.db", create=False, patience=0)) as reading:
                assert [row["seq"] for row in SqliteLetters(reading).select(list(EventState))] == [stored.seq]


async def test_a_delayed_event_is_left_out_until_it_is_due(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        now = time.time()
        late = Event("a" * 32, 7, "late", now, "c", "p", "s", "", now + 60)
        soon = Event("b" * 32, 7, "soon", now, "c", "p", "s")
        await outbox.put((late, soon))
        found, due = await outbox.fetch(7, 0, 10, now)
        assert ([item.event.value for item in found], due) == (["soon"], now + 60)
        found, due = await outbox.fetch(7, 0, 10, now + 61)
        assert ([item.event.value for item in found], due) == (["late", "soon"], None)


async def test_times_follow_a_clock_that_is_set(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        now, hour = time.time(), 3600.0
        old, retried, failed = [(await outbox.put([event_of(text, now)]))[0] for text in ("old", "retried", "failed")]
        assert await outbox.retry(Stored(retried.seq, retried.event, now, 3, now + 9), FAILED)
        assert await outbox.finish(failed, FAILED, now)
        await outbox.shift(hour, now + hour, now - 5)
        (late,) = await outbox.put([event_of("since then", now + hour)])
        found, _ = await outbox.fetch(7, 0, 10, now + hour)
        assert [(item.seq, item.since - now, item.next_at and item.next_at - now) for item in found] == [
            (old.seq, hour, 0),
            (retried.seq, hour, hour + 9),
            (late.seq, hour, 0),
        ]
        # What had failed by the old clock is no older than it was, and no older after the way back.
        await outbox.purge(now, now + hour - 1)
        assert rows(tmp_path, EventState.FAILED) == ["failed"]
        await outbox.shift(-hour, now, now + hour - 5)
        found, _ = await outbox.fetch(7, 0, 10, now)
        assert [item.since for item in found] == [now, now, now]


def test_a_newer_file_is_refused_with_a_clear_sentence(tmp_path: Path) -> None:
    connection = database.connect(tmp_path / "o.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(VdeviceError, match="newer vdevice"):
        database.connect(tmp_path / "o.db")


def test_a_file_that_is_no_outbox_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "o.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(VdeviceError, match="set-aside"):
        database.connect(tmp_path / "o.db")


async def test_a_client_that_left_does_not_stop_its_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        outbox.put([event_of("a")]).cancel()
        await until(lambda: outbox._board.waiting == 1)
        assert rows(tmp_path, EventState.WAITING) == ["a"]


async def test_damage_that_only_reads_meet_is_told_once_and_stays_shown(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("first of all " + "x" * 1000)])
        for number in range(20):
            await outbox.put([event_of(f"{number} " + "x" * 1000)])
    file, page = tmp_path / "o.db", 4096
    whole = file.read_bytes()
    start = whole.index(b"first of all") // page * page
    assert int.from_bytes(whole[16:18]) == page
    file.write_bytes(whole[:start] + bytes(page) + whole[start + page :])
    with structlog.testing.capture_logs() as lines:
        async with opened(tmp_path) as outbox:
            for _ in range(5):
                with pytest.raises(OutboxFailingError, match="damaged"):
                    await outbox.fetch(7, 0, 10, time.time())
                await outbox.probe()
                await outbox.put([event_of("the end of the file is whole")])
                assert outbox._board.outbox_failing
    told = [line for line in lines if line["event"] in {"the outbox fails", "the outbox works again"}]
    assert [line["event"] for line in told] == ["the outbox fails"]
    assert "vdevice restore" in told[0]["reason"]
