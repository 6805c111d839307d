"""The writer process seen from the device: bad requests, bad callbacks, hanging, dying, all with the real process."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.support import empty_disk, event_of, fill_disk, until
from vdevice.board import Board
from vdevice.errors import OutboxFailingError, OutboxLateError, VdeviceError
from vdevice.model import ErrorCode, Event, Outcome, Stored, Verdict
from vdevice.outbox import database, messages
from vdevice.outbox.letters import SqliteLetters
from vdevice.outbox.messages import Reply
from vdevice.outbox.sqlite import SqliteOutbox
from vdevice.outbox.writer_client import WriterClient, limit_of

LONE = "\ud800"
FAILED = Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, 400, f"HTTP 400: {LONE}", b"\xff{")
TIMEOUT = 0.5


@contextlib.asynccontextmanager
async def opened(folder: Path, answer_timeout: float = 5.0) -> AsyncIterator[SqliteOutbox]:
    async with SqliteOutbox(folder / "o.db", Board(), 1000, answer_timeout) as outbox:
        yield outbox


def stored_values(folder: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / "o.db")) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM event ORDER BY seq")]


def the_writer(outbox: SqliteOutbox) -> psutil.Process:
    assert outbox.writer_pid
    return psutil.Process(outbox.writer_pid)


async def failing(*futures: Awaitable[object]) -> None:
    for future in futures:
        with pytest.raises(OutboxFailingError):
            await future


@pytest.mark.parametrize(
    "bad",
    [
        event_of(LONE),
        Event("id", 7, None, 0.0, "", "", ""),  # type: ignore[arg-type]
        Event("id", 2**63, "x", 0.0, "", "", ""),
        Event("id", 2**64, "x", 0.0, "", "", ""),
        Event("id", 7, "x", float("nan"), "", "", ""),
        Event(object(), 7, "x", 0.0, "", "", ""),  # type: ignore[arg-type]
    ],
    ids=["surrogate", "no value", "number too large for SQLite", "and for the pipe", "time that is none", "object"],
)
async def test_one_request_that_cannot_be_stored_fails_alone(bad: Event, tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        # All of it goes to the writer at once.
        first, wrong, last = outbox.put([event_of("a")]), outbox.put([event_of("b"), bad]), outbox.put([event_of("c")])
        probing = asyncio.ensure_future(outbox.probe())
        assert [stored.event.value for stored in await first + await last] == ["a", "c"]
        await failing(wrong)
        await probing
        assert not outbox._board.outbox_failing, "nothing is wrong with the outbox"
        assert (outbox._board.waiting, outbox._room.arriving) == (2, 0)
        await outbox.put([event_of("d")])
    assert stored_values(tmp_path) == ["a", "c", "d"]


async def test_an_outcome_that_cannot_be_encoded_fails_alone(tmp_path: Path) -> None:
    """Whoever makes outcomes cleans their texts; if one does not, the others are recorded all the same."""
    async with opened(tmp_path) as outbox:
        first, second = await outbox.put([event_of("a"), event_of("b")])
        retried = outbox.retry(second, FAILED)
        finished = outbox.finish(first, msgspec.structs.replace(FAILED, text="HTTP 400"), time.time())
        with pytest.raises(OutboxFailingError, match="cannot be encoded"):
            await retried
        assert await finished
        assert not outbox._board.outbox_failing
    async with opened(tmp_path) as outbox:
        assert outbox._board.targets[7].error_text == "HTTP 400"


def _raise(_stored: object) -> None:
    raise RuntimeError("a bug in a callback")


@pytest.mark.parametrize("which", ["on_stored", "_offer"])
async def test_an_error_in_a_callback_moves_nothing_out_of_place(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as outbox:
        heard: list[Stored] = []
        outbox.serve((), heard.extend)
        outbox.on_stored = heard.extend
        monkeypatch.setattr(outbox, which, _raise)
        found = await asyncio.gather(*(outbox.put([event_of(str(number))]) for number in range(5)))
        assert [stored.event.value for (stored,) in found] == ["0", "1", "2", "3", "4"], "they are on disk"
        assert [stored.event.value for stored in heard] == ["0", "1", "2", "3", "4"], "the other one is called"
        looked: list[bool] = []
        outbox.on_outside_change = lambda: looked.append(True)
        await outbox.probe()
        assert looked == [True], "who was not told looks again"
        await outbox.probe()
        assert looked == [True]


async def test_a_result_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("a"), event_of("b")])
        with contextlib.closing(sqlite3.connect(tmp_path / "o.db")) as connection, connection:
            connection.execute("UPDATE event SET attempts = 'many' WHERE value = 'a'")
        fetching = outbox.fetch(7, 0, 10, time.time())
        putting = outbox.put([event_of("c")])
        await failing(fetching)
        assert [stored.event.value for stored in await putting] == ["c"]


async def test_a_text_that_is_no_utf8_on_disk_stops_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("a"), event_of("b")])
        with contextlib.closing(sqlite3.connect(tmp_path / "o.db")) as connection, connection:
            connection.execute("UPDATE event SET value = CAST(x'ff41' AS TEXT) WHERE value = 'a'")
        found, _ = await outbox.fetch(7, 0, 10, time.time())
        assert [stored.event.value for stored in found] == ["\ufffdA", "b"]


async def test_a_hanging_writer_fails_its_requests_in_time_and_is_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path, TIMEOUT) as outbox:
        await outbox.put([event_of("before")])
        hanging = the_writer(outbox)
        hanging.suspend()
        started = time.monotonic()
        with pytest.raises(OutboxLateError, match="may have been stored"):
            await outbox.put([event_of("a")])
        assert time.monotonic() - started >= limit_of(TIMEOUT) / 2
        assert outbox._board.outbox_failing
        await failing(outbox.put([event_of("c")]))
        await until(lambda: not hanging.is_running())
        assert outbox._writer.pid is None
        await outbox.probe()
        assert not outbox._board.outbox_failing
        await outbox.put([event_of("after")])
        assert stored_values(tmp_path)[-1] == "after"


async def test_a_writer_that_hangs_before_anything_is_asked_is_found_by_the_probe(tmp_path: Path) -> None:
    async with opened(tmp_path, TIMEOUT) as outbox:
        the_writer(outbox).suspend()
        await failing(outbox.probe())
        assert outbox._board.outbox_failing


async def test_a_device_that_stood_still_does_not_blame_its_writer(tmp_path: Path) -> None:
    async with opened(tmp_path, TIMEOUT) as outbox:
        pid = outbox.writer_pid
        putting = outbox.put([event_of("a")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(3 * TIMEOUT)  # noqa: ASYNC251 (the whole device stands still, as after SIGSTOP)
        assert [stored.event.value for stored in await putting] == ["a"]
        assert outbox.writer_pid == pid


async def test_what_was_answered_too_late_is_counted_and_offered_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path, TIMEOUT) as outbox:
        offered: list[Stored] = []
        outbox.serve((), offered.extend)
        writer = the_writer(outbox)
        writer.suspend()
        # A batch with a change of everything may take longer than any PLC waits.
        shifting = outbox.shift(0.0, time.time(), 0.0)
        putting = outbox.put([event_of("a")])
        await until(lambda: outbox._board.outbox_failing)
        assert not putting.done(), "nobody knows yet; the PLC has had 04 from the unit"
        writer.resume()
        await putting
        assert len(offered) == 1
        assert (outbox._board.waiting, outbox._room.arriving) == (1, 0)
        assert not outbox._board.outbox_failing
        await shifting
        assert outbox.writer_pid == writer.pid


async def test_what_waited_too_long_behind_others_is_not_stored(tmp_path: Path) -> None:
    async with opened(tmp_path, TIMEOUT) as outbox:
        writer = the_writer(outbox)
        writer.suspend()
        shifting = outbox.shift(0.0, time.time(), 0.0)
        await asyncio.sleep(0.01)
        await failing(outbox.put([event_of("behind it")]))
        writer.resume()
        await shifting
        await outbox.put([event_of("next")])
        assert stored_values(tmp_path) == ["next"]


async def test_a_lock_of_another_program_is_no_reason_to_kill_the_writer(tmp_path: Path) -> None:
    async with opened(tmp_path, TIMEOUT) as outbox:
        pid = outbox.writer_pid
        other = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxFailingError, match=rf"locked; end process {os.getpid()}, "):
            await outbox.put([event_of("a")])
        other.execute("ROLLBACK")
        other.close()
        await outbox.put([event_of("b")])
        assert outbox.writer_pid == pid


@pytest.mark.parametrize("is_asked", [False, True])
async def test_closing_does_not_wait_for_a_writer_that_hangs(is_asked: bool, tmp_path: Path) -> None:  # noqa: FBT001
    async with opened(tmp_path, TIMEOUT) as outbox:
        await outbox.put([event_of("a")])
        writer = the_writer(outbox)
        writer.suspend()
        if is_asked:
            outbox.put([event_of("b")])
        started = time.monotonic()
    assert time.monotonic() - started < 8
    assert not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE


async def test_what_the_writer_answered_before_its_end_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        putting = outbox.put([event_of("a")])
        # asyncio may know of the end of a process before it has read the pipe to its end.
        outbox._writer.process_exited()
        assert [stored.event.value for stored in await putting] == ["a"]
        outbox._writer._has_exited = False  # it goes on
        assert outbox._board.waiting == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        messages.frame(Reply(2, None, [[1], [2]])),
        messages.frame(Reply(-1, None, [])),
        messages.frame(Reply(1, None, [])),
        b"\0\0\0\1\xc1",
        b"\0\0\0\2\x91\x01",
    ],
    ids=["more than was asked", "less than nothing", "no result", "no message", "half of one"],
)
async def test_a_writer_that_answers_nonsense_is_replaced(nonsense: bytes, tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        the_writer(outbox).suspend()
        putting = outbox.put([event_of("a")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outbox._writer.pipe_data_received(1, nonsense)
        await failing(putting)
        await outbox.probe()
        await outbox.put([event_of("b")])
        assert stored_values(tmp_path)[-1] == "b"


async def test_changes_of_others_while_the_writer_had_it_closed_are_seen(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        (stored,) = await outbox.put([event_of("a")])
        fill_disk(outbox)
        await failing(outbox.put([event_of("b")]))
        empty_disk(outbox)
        with contextlib.closing(database.connect(tmp_path / "o.db")) as other:
            assert SqliteLetters(other).discard([{"seq": stored.seq}]) == 1
        looked: list[bool] = []
        outbox.on_outside_change = lambda: looked.append(True)
        await outbox.probe()
        assert looked == [True]
        assert outbox._board.targets[7].discarded == 1


async def test_health_is_measured_and_not_remembered(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("a")])
        board = outbox._board
        assert not board.outbox_failing
        # Nobody probes here any more, as where the task that does it has died.
        board.outbox_good_until -= 60
        assert board.outbox_failing
        await outbox.probe()
        assert not board.outbox_failing


async def test_a_writer_opens_nothing_for_a_device_that_is_gone(tmp_path: Path) -> None:
    real = os.getpid
    with pytest.MonkeyPatch.context() as patch, pytest.raises(VdeviceError, match="ended before"):
        # What the writer sees where its device has ended: another parent than the one that started it.
        patch.setattr("vdevice.outbox.writer_client.os.getpid", lambda: real() + 1)
        await WriterClient(lambda _failure: None, 5.0).start(tmp_path / "o.db", create=True)
    assert not (tmp_path / "o.db").exists()
