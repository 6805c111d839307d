"""The outbox's file is taken away while the device runs: nothing that was answered is lost, before or after it was noticed."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import empty_disk, event_of, fill_disk, until
from vdevice.board import Board
from vdevice.errors import OutboxFailingError, VdeviceError
from vdevice.model import EventState
from vdevice.outbox import database, files
from vdevice.outbox.letters import SqliteLetters
from vdevice.outbox.sqlite import SqliteOutbox

NAME = "data/o.db"


def opened(folder: Path) -> SqliteOutbox:
    return SqliteOutbox(folder / NAME, Board(), 1000)


def values(file: Path) -> list[str]:
    with contextlib.closing(database.connect(file, create=False)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row["value"] for row in SqliteLetters(connection).select([EventState.WAITING], None, -1)[::-1]]


async def killed(outbox: SqliteOutbox) -> None:
    """Let the writer end without a word, as in a power cut: what is in no file is gone then."""
    assert outbox.writer_pid
    os.kill(outbox.writer_pid, signal.SIGKILL)
    await until(lambda: outbox.writer_pid is None)


def remove(*ends: str) -> Callable[[Path], None]:
    def act(file: Path) -> None:
        for end in ends:
            file.with_name(file.name + end).unlink()

    return act


def remove_all(file: Path) -> None:
    for path in list(file.parent.iterdir()):
        path.unlink()


def remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def rename(file: Path) -> None:
    file.rename(file.with_name("away.db"))


def rename_folder_and_make_a_new_one(file: Path) -> None:
    file.parent.rename(file.parent.with_name("away"))
    file.parent.mkdir()


def replace_by_another_outbox(file: Path) -> None:
    other = file.with_name("other.db")
    with contextlib.closing(database.connect(other)) as connection:
        connection.execute("UPDATE target SET accepted = 42 WHERE number = 1")
    other.replace(file)


def replace_by_garbage(file: Path) -> None:
    (file.parent / "new").write_text("not a database" * 1000)
    (file.parent / "new").replace(file)


def replace_all(file: Path) -> None:
    remove("", "-wal", "-shm")(file)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE foreign_one (x)")


def copy_over_by_rename(file: Path) -> None:
    shutil.copy(file, file.with_name("copy"))
    file.with_name("copy").replace(file)


def cut(end: str, size: int) -> Callable[[Path], None]:
    def act(file: Path) -> None:
        os.truncate(file.with_name(file.name + end), size)

    return act


WAYS = [
    remove(""), remove("-wal"), remove("-shm"), remove("", "-wal"), remove("-wal", "-shm"), remove("", "-wal", "-shm"),
    remove_all, remove_folder, rename, rename_folder_and_make_a_new_one, replace_by_another_outbox, replace_by_garbage,
    replace_all, copy_over_by_rename, cut("", 0), cut("", 100),
]  # fmt: skip
IDS = [
    "rm db", "rm wal", "rm shm", "rm db wal", "rm wal shm", "rm db wal shm", "rm *", "rm -r folder", "mv db", "folder",
    "another outbox", "garbage", "another database", "cp and mv", "empty db", "short db",
]  # fmt: skip


@pytest.mark.parametrize("take_away", WAYS, ids=IDS)
@pytest.mark.parametrize("noticed_by", ["probe", "next write"])
async def test_nothing_that_was_answered_is_lost(
    take_away: Callable[[Path], None], noticed_by: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await asyncio.gather(*(outbox.put([event_of(f"before {number}")]) for number in range(50)))
        take_away(tmp_path / NAME)
        answered = [f"before {number}" for number in range(50)]
        if noticed_by == "next write":
            await outbox.put([event_of("meanwhile")])
            answered.append("meanwhile")
        else:
            await outbox.probe()
        assert values(tmp_path / NAME) == answered, "it is back already"
        await outbox.put([event_of("after")])
        await killed(outbox)
        await outbox.probe()
        assert outbox._board.waiting == len(answered) + 1
        await outbox.put([event_of("with a new writer")])
    assert values(tmp_path / NAME) == [*answered, "after", "with a new writer"]
    assert not [path.name for path in (tmp_path / "data").iterdir() if path.name.endswith((".saving", "-wal", "-shm"))]


async def test_what_lay_in_its_place_is_kept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("ours")])
        remove("", "-wal", "-shm")(tmp_path / NAME)
        # The other one has a log of its own that is not in its file yet.
        other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE theirs (x)")
        other.execute("INSERT INTO theirs VALUES ('kept')")
        await outbox.probe()
        found = [path for path in (tmp_path / "data").iterdir() if ".found-" in path.name]
        (aside,) = (path for path in found if not path.name.endswith("-wal"))
        with contextlib.closing(sqlite3.connect(aside)) as connection:
            assert connection.execute("SELECT x FROM theirs").fetchall() == [("kept",)]
        other.close()
        await outbox.put([event_of("ours too")])
    assert values(tmp_path / NAME) == ["ours", "ours too"]


async def test_a_renamed_folder_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("before")])
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        # The first one may have been stored: there it is, and safe. Nothing is stored where nobody would look for it.
        with contextlib.suppress(OutboxFailingError):
            await outbox.put([event_of("meanwhile")])
        with pytest.raises(OutboxFailingError, match="away"):
            await outbox.probe()
        assert outbox._board.outbox_failing
        assert "bring it back" in capsys.readouterr().out, "the log says what to do, also where nobody writes"
        with pytest.raises(OutboxFailingError):
            await outbox.put([event_of("refused")])
        assert not (tmp_path / "data").exists()
        (tmp_path / "elsewhere").rename(tmp_path / "data")
        await outbox.probe()
        assert not outbox._board.outbox_failing
        await outbox.put([event_of("after")])
    assert values(tmp_path / NAME) in (["before", "after"], ["before", "meanwhile", "after"])


async def test_an_outbox_that_cannot_be_saved_back_stays_open_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("before")])
        fill_disk(outbox)
        remove("", "-wal", "-shm")(tmp_path / NAME)
        pid = outbox.writer_pid
        with pytest.raises(OutboxFailingError):
            await outbox.probe()
        with pytest.raises(OutboxFailingError):
            await outbox.put([event_of("refused")])
        empty_disk(outbox)
        await asyncio.sleep(1)
        await outbox.probe()
        assert outbox.writer_pid == pid
        await outbox.put([event_of("after")])
        await killed(outbox)
    assert values(tmp_path / NAME) == ["before", "after"]


async def test_it_is_saved_back_by_an_orderly_end_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("before")])
        remove_folder(tmp_path / NAME)
    assert values(tmp_path / NAME) == ["before"]


async def test_a_new_writer_never_begins_an_empty_outbox(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("before")])
        await killed(outbox)
        (tmp_path / NAME).rename(tmp_path / "kept.db")
        with pytest.raises(OutboxFailingError, match="gone, but its log"):
            await outbox.probe()
        (tmp_path / "kept.db").rename(tmp_path / NAME)
        await outbox.probe()
        assert outbox._board.waiting == 1
    assert values(tmp_path / NAME) == ["before"]


async def test_a_log_that_is_emptied_is_noticed_before_anything_else_is_answered(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("checkpointed")])
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("in the log")])
        cut("-wal", 0)(tmp_path / NAME)
        with contextlib.suppress(OutboxFailingError):
            await outbox.probe()
            await outbox.put([event_of("after")])
            # What is still in memory was enough to save all of it.
            assert values(tmp_path / NAME) == ["checkpointed", "in the log", "after"]
            return
        assert outbox._board.outbox_failing


@pytest.mark.parametrize("size", [0, 100])
async def test_an_index_that_is_cut_off_costs_the_writer_and_no_message(size: int, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("before")])
        # The kernel ends whoever reads what is mapped and not there.
        cut("-shm", size)(tmp_path / NAME)
        answered = ["before"]
        with contextlib.suppress(OutboxFailingError):
            await outbox.put([event_of("meanwhile")])
            answered.append("meanwhile")
        await until(lambda: outbox.writer_pid is None)
        await outbox.probe()
        await outbox.put([event_of("after")])
    assert [value for value in values(tmp_path / NAME) if value in answered] == answered


async def test_a_shorter_file_that_lacks_nothing_is_not_brought_back(tmp_path: Path) -> None:
    """VACUUM makes the database shorter, and a checkpoint of another program the log."""
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        stored = [(await outbox.put([event_of("x" * 4000)]))[0] for _ in range(100)]
        with contextlib.closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            await outbox.probe()
            other.execute("DELETE FROM event WHERE seq > ?", (stored[1].seq,))
            other.execute("VACUUM")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        number = (tmp_path / NAME).stat().st_ino
        await outbox.probe()
        await outbox.put([event_of("after")])
        assert (tmp_path / NAME).stat().st_ino == number
    assert values(tmp_path / NAME) == ["x" * 4000] * 2 + ["after"]


async def test_what_cannot_be_saved_from_an_overwritten_file_is_said_and_nothing_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await asyncio.gather(*(outbox.put([event_of("x" * 10_000)]) for _ in range(400)))
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("before")])
        cut("", 0)(tmp_path / NAME)
        with pytest.raises(VdeviceError, match="gone, but its log"):
            database.connect(tmp_path / NAME, create=False)
        with pytest.raises(OutboxFailingError, match="cut off by another program, and cannot be saved back"):
            await outbox.probe()
        with pytest.raises(OutboxFailingError, match="vdevice restore"):
            await outbox.put([event_of("refused")])
        assert outbox._board.outbox_failing


async def test_a_log_without_its_outbox_is_kept_when_a_new_one_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    async with opened(tmp_path) as outbox:
        await outbox.put([event_of("before")])
        for end in ("", "-wal"):
            shutil.copy(files.part(tmp_path / NAME, end), files.part(tmp_path / "data/left.db", end))
    log = (tmp_path / "data/left.db-wal").read_bytes()
    (tmp_path / "data/left.db").unlink()
    async with SqliteOutbox(tmp_path / "data/left.db", Board(), 1000) as outbox:
        await outbox.put([event_of("after")])
    (aside,) = (path for path in (tmp_path / "data").iterdir() if ".found-" in path.name)
    assert aside.read_bytes() == log
    assert f"is kept as {aside.name}" in capsys.readouterr().out
    assert values(tmp_path / "data/left.db") == ["after"]
