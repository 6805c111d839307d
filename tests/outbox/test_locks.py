"""Who may have the outbox: one device and one writer, whichever way leads to the file, and whoever was killed or stopped."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.support import event_of, until
from vdevice.board import Board
from vdevice.config.load import parse
from vdevice.errors import VdeviceError
from vdevice.outbox import locks, snapshot
from vdevice.outbox.move import open_movable
from vdevice.outbox.sqlite import SqliteOutbox


def opened(file: Path) -> SqliteOutbox:
    return SqliteOutbox(file, Board(), 100)


def stored_values(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM event ORDER BY seq")]


def ways(folder: Path) -> dict[str, Path]:
    """Return other ways to data/o.db."""
    (folder / "link.db").symlink_to(folder / "data" / "o.db")
    (folder / "other").symlink_to(folder / "data", target_is_directory=True)
    (folder / "twice.db").symlink_to("link.db")
    names = {"link": folder / "link.db", "folder": folder / "other" / "o.db", "twice": folder / "twice.db"}
    return {**names, "dots": folder / "data" / ".." / "data" / "o.db"}


@pytest.mark.parametrize("way", ["link", "folder", "twice", "dots"])
@pytest.mark.parametrize("first", [True, False], ids=["file first", "link first"])
async def test_one_device_at_a_time_whichever_way_leads_to_the_file(way: str, first: bool, tmp_path: Path) -> None:  # noqa: FBT001
    (tmp_path / "data").mkdir()
    both = [tmp_path / "data" / "o.db", ways(tmp_path)[way]]
    async with opened(both[not first]) as outbox:
        await outbox.put([event_of("a")])
        with pytest.raises(VdeviceError, match="another vdevice is running"):
            async with opened(both[first]):
                pass
    async with opened(both[first]) as outbox:
        assert outbox._board.waiting == 1


async def test_what_changes_the_whole_outbox_is_refused_beside_a_device(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "o.db"
    copy = tmp_path / "copy.db"
    async with opened(file) as outbox:
        await outbox.put([event_of("a")])
        for path in ways(tmp_path).values():
            config = parse(f'[outbox]\nurl = "sqlite:///{path}"\n', tmp_path)
            snapshot.take(config, copy)
            with pytest.raises(VdeviceError, match="another vdevice is running"):
                snapshot.give(config, copy, replace=True)
            with pytest.raises(VdeviceError, match="another vdevice is running"), open_movable(config):
                pass
            copy.unlink()
        await outbox.put([event_of("b")])
    assert stored_values(file) == ["a", "b"]
    assert sorted(path.name for path in file.parent.iterdir()) == ["o.db", "o.db.lock", "o.db.writer.lock"]


async def test_a_file_with_two_names_is_refused_before_it_is_damaged(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.put([event_of("a")])
        (tmp_path / "second.db").hardlink_to(tmp_path / "o.db")
        for name in ("second.db",):
            with pytest.raises(VdeviceError, match=r"2 names .* remove o\.db"):
                async with opened(tmp_path / name):
                    pass


class Child(NamedTuple):
    """A device in a process of its own that has stored "first", and then asked for "late" while its writer was stopped."""

    device: psutil.Process
    writer: psutil.Process


DEVICE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support import event_of
from vdevice.board import Board
from vdevice.outbox.sqlite import SqliteOutbox
async def main():
    async with SqliteOutbox(Path(sys.argv[1]), Board(), 100, 60.0) as outbox:
        await outbox.put([event_of("first")])
        for name in sys.argv[2:]:
            os.unlink(name)
        await outbox.probe()
        os.kill(outbox.writer_pid, signal.SIGSTOP)
        asked = outbox.put([event_of("late")])
        await asyncio.sleep(0.05)
        print(outbox.writer_pid, flush=True)
        await asked
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def hanging(file: Path, *removed: Path) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        DEVICE,
        str(file),
        *map(str, removed),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout
    writer = psutil.Process(int(await asyncio.wait_for(process.stdout.readline(), 30)))
    try:
        yield Child(psutil.Process(process.pid), writer)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        with contextlib.suppress(psutil.NoSuchProcess):
            writer.kill()


async def test_the_stopped_writer_of_a_killed_device_is_ended_before_another_one_stores(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    async with hanging(file) as (device, writer):
        device.kill()
        await until(lambda: writer.ppid() != device.pid)
        async with opened(file) as outbox:
            assert not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE
            await outbox.put([event_of("newer")])
            with contextlib.suppress(psutil.NoSuchProcess):
                writer.resume()
            await outbox.put([event_of("newest")])
    assert stored_values(file) == ["first", "newer", "newest"]


async def test_a_writer_that_wakes_up_without_its_device_stores_nothing(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    async with hanging(file) as (device, writer):
        device.kill()
        await until(lambda: writer.ppid() != device.pid)
        writer.resume()
        await until(lambda: not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE)
    assert stored_values(file) == ["first"]


async def test_a_file_taken_away_is_saved_by_the_writer_of_a_killed_device(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    async with hanging(file) as (device, writer):
        for end in ("", "-wal", "-shm"):
            (tmp_path / f"o.db{end}").unlink()
        device.kill()
        await until(lambda: writer.ppid() != device.pid)
        writer.resume()
        # It is waited for, though it may not be done when another device starts.
        async with opened(file) as outbox:
            assert outbox._board.waiting == 1
    assert stored_values(file) == ["first"]


async def test_the_stopped_writer_of_a_killed_device_keeps_nobody_out_with_locks_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    async with hanging(file, tmp_path / "o.db.lock", tmp_path / "o.db.writer.lock") as (device, writer):
        with pytest.raises(VdeviceError, match="another vdevice is running"):
            async with opened(file):
                pass
        assert writer.is_running(), "its device is there"
        device.kill()
        await until(lambda: writer.ppid() != device.pid)
        async with opened(file) as outbox:
            assert not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE
            await outbox.put([event_of("newer")])
    assert stored_values(file) == ["first", "newer"]


async def test_what_another_device_has_begun_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    async with hanging(file) as (device, writer):
        # With the locks: nothing keeps another device out until the writer looks again.
        for path in list(tmp_path.iterdir()):
            path.unlink()
        device.kill()
        await until(lambda: writer.ppid() != device.pid)
        async with opened(file) as outbox:
            await outbox.put([event_of("newer")])
            number = file.stat().st_ino
            writer.resume()
            await until(lambda: not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE)
            assert file.stat().st_ino == number
            await outbox.put([event_of("newest")])
    assert stored_values(file) == ["newer", "newest"]
    (aside,) = (path for path in tmp_path.iterdir() if ".found-" in path.name)
    assert stored_values(aside) == ["first"]


async def test_no_other_program_is_killed_for_having_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LAST_SECONDS", 0.1)
    monkeypatch.setattr(locks, "END_SECONDS", 0.1)
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(); time.sleep(60)"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-uc", code, str(tmp_path / "o.db.writer.lock"), stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout
    await other.stdout.readline()
    with pytest.raises(VdeviceError, match=rf"does not end \(process {other.pid}\)"):
        async with opened(tmp_path / "o.db"):
            pass
    assert other.returncode is None
    other.kill()
    await other.communicate()
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.put([event_of("a")])


async def test_locks_that_were_removed_are_held_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.put([event_of("a")])
        for name in ("o.db.lock", "o.db.writer.lock"):
            (tmp_path / name).unlink()
        await outbox.probe()
        with pytest.raises(VdeviceError, match="another vdevice is running"):
            async with opened(tmp_path / "o.db"):
                pass
        # A new writer holds them as well.
        assert outbox.writer_pid
        os.kill(outbox.writer_pid, signal.SIGKILL)
        await until(lambda: outbox.writer_pid is None)
        await outbox.probe()
        with pytest.raises(VdeviceError, match="another vdevice is running"):
            async with opened(tmp_path / "o.db"):
                pass


async def test_a_lock_that_was_removed_between_opening_and_locking_is_taken_anew(tmp_path: Path) -> None:
    path = tmp_path / "o.db.lock"
    handle = locks._lock_device(tmp_path / "o.db")
    assert handle is not None
    path.unlink()
    again = locks._lock_device(tmp_path / "o.db")
    assert again is not None
    assert not locks._is_at(handle, path)
    assert locks._is_at(again, path)
    os.close(handle)
    os.close(again)
