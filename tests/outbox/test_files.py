"""Restore, backup and set-aside, ended at every single step: what was there, or what is new, is there as a whole."""

import contextlib
import os
import shutil
import sqlite3
import sys
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import event_of
from vdevice.cli import backup as command
from vdevice.config.load import parse
from vdevice.errors import VdeviceError
from vdevice.outbox import database, files, locks, records, snapshot
from vdevice.outbox.messages import Put
from vdevice.outbox.records import Ledger
from vdevice.outbox.writer import Writer

STEPS = frozenset({"open", "os.rename", "os.remove", "os.link", "os.mkdir", "sqlite3.connect", "shutil.copyfile"})
"""What Python tells its audit hooks before it does it: everything that changes a folder."""

Act = Callable[[Path], object]


def steps_of(act: Act, folder: Path, end_at: int) -> int:
    """Do something in a process of its own that ends without a word at one step; return its exit code, 0 if it came through."""
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, which the child does not need.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        done = 0

        def hook(event: str, _arguments: object) -> None:
            nonlocal done
            if event in STEPS:
                done += 1
                if done == end_at:
                    os._exit(9)

        try:
            sys.addaudithook(hook)
            act(folder)
        except BaseException:  # noqa: BLE001 (this is a child of the test, which must not return into it)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at_every_step(tmp_path: Path, prepare: Act, act: Act, check: Act) -> None:
    for end_at in range(1, 200):
        folder = tmp_path / str(end_at)
        folder.mkdir()
        prepare(folder)
        code = steps_of(act, folder, end_at)
        assert code in {0, 9}
        check(folder)
        if code == 0:
            assert end_at > 4, "it did nothing that could be ended"
            return
    raise AssertionError("it never came to its end")


def make(file: Path, text: str) -> None:
    """Make an outbox with one message, which is in the log only, as a device leaves it that was killed."""
    made = file.with_name("made")
    with contextlib.closing(database.connect(made)) as connection:
        with database.transaction(connection):
            ledger = Ledger(connection, {})
            records.put(ledger, [Put((event_of(text),), frozenset())])
            ledger.flush()
        for end in ("", "-wal"):
            shutil.copy(files.part(made, end), files.part(file, end))
    for end in files.ENDS:
        files.part(made, end).unlink(missing_ok=True)


def values(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row[0] for row in connection.execute("SELECT value FROM event")]


def asides(folder: Path, why: str) -> list[Path]:
    return [path for path in folder.iterdir() if f".{why}-" in path.name and not path.name.endswith(("-wal", "-shm"))]


def restore(folder: Path) -> None:
    config = parse('[outbox]\nurl = "sqlite:///o.db"\n', folder)
    snapshot.give(config, folder / "copy.db", replace=True)


def old_and_copy(folder: Path) -> None:
    make(folder / "o.db", "old")
    make(folder / "copy.db", "new")


def check_restored(folder: Path) -> None:
    # Nobody has to clear up before the next start.
    with locks.running_lock(folder / "o.db"):
        pass
    found = values(folder / "o.db")
    assert found in (["old"], ["new"]), "an empty outbox is in its place"
    if found == ["new"]:
        (aside,) = asides(folder, "before-restore")
        assert values(aside) == ["old"]


def test_a_restore_leaves_the_old_outbox_or_the_new_one(tmp_path: Path) -> None:
    at_every_step(tmp_path, old_and_copy, restore, check_restored)


def test_a_restore_without_hard_links_does_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    # A FAT stick or a network share knows none.
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    at_every_step(tmp_path, old_and_copy, restore, check_restored)


def test_a_set_aside_outbox_is_whole_under_one_of_its_names(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        places = [*asides(folder, "damaged"), *([folder / "o.db"] if (folder / "o.db").exists() else [])]
        assert ["old"] in [values(place) for place in places]

    at_every_step(
        tmp_path,
        lambda folder: make(folder / "o.db", "old"),
        lambda folder: files.set_aside(folder / "o.db", "damaged"),
        check,
    )


def test_an_outbox_has_one_name_again_after_a_set_aside_that_was_ended(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        if (folder / "o.db").exists():
            with locks.running_lock(folder / "o.db"):
                assert values(folder / "o.db") == ["old"]
            assert not asides(folder, "damaged")
        else:
            (aside,) = asides(folder, "damaged")
            assert values(aside) == ["old"]

    at_every_step(
        tmp_path,
        lambda folder: make(folder / "o.db", "old"),
        lambda folder: files.set_aside(folder / "o.db", "damaged"),
        check,
    )


def test_only_names_of_a_set_aside_are_taken_back(tmp_path: Path) -> None:
    make(tmp_path / "o.db", "old")
    (tmp_path / "o.db.copy").hardlink_to(tmp_path / "o.db")
    shutil.copy(tmp_path / "o.db", tmp_path / "o.db.damaged-20260101T000000")
    with pytest.raises(VdeviceError, match=r"2 names .* remove o\.db\.copy"), locks.running_lock(tmp_path / "o.db"):
        pass
    assert (tmp_path / "o.db.copy").exists()
    assert (tmp_path / "o.db.damaged-20260101T000000").exists()


def test_what_follows_a_set_aside_that_was_ended_is_no_mixture(tmp_path: Path) -> None:
    make(tmp_path / "o.db", "old")
    aside = files.set_aside(tmp_path / "o.db", "damaged")
    make(tmp_path / "other", "left over")
    # A log without its database: SQLite must not apply it to the next one.
    shutil.copy(tmp_path / "other-wal", tmp_path / "o.db-wal")
    with contextlib.closing(Writer(tmp_path / "o.db", os.getppid(), 5.0, create=True)) as writer:
        writer.open()
    assert values(tmp_path / "o.db") == []
    assert values(aside) == ["old"]


def test_a_restore_keeps_the_log_of_an_outbox_that_is_gone(tmp_path: Path) -> None:
    old_and_copy(tmp_path)
    log = (tmp_path / "o.db-wal").read_bytes()
    (tmp_path / "o.db").unlink()
    restore(tmp_path)
    assert values(tmp_path / "o.db") == ["new"]
    (aside,) = tmp_path.glob("o.db.found-*-wal")
    assert aside.read_bytes() == log


def test_a_config_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        found = (folder / "vdevice.toml").read_text()
        assert found in {"# old\n", "# new\n"}
        if found == "# new\n":
            (aside,) = asides(folder, "before-restore")
            assert aside.read_text() == "# old\n"

    at_every_step(
        tmp_path,
        lambda folder: (folder / "vdevice.toml").write_text("# old\n"),
        lambda folder: command._put(folder / "vdevice.toml", "# new\n"),
        check,
    )


def test_a_restored_config_is_written_where_a_link_leads_and_stays_whose_it_was(tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    real.write_text("# old\n")
    # Only root may give a file away; everybody may to a group of his own.
    user, group = (1234, 2345) if os.getuid() == 0 else (os.getuid(), os.getgroups()[-1])
    os.chown(real, user, group)
    (tmp_path / "vdevice.toml").symlink_to(real)
    command._put(tmp_path / "vdevice.toml", "# new\n")
    assert (tmp_path / "vdevice.toml").is_symlink()
    assert real.read_text() == "# new\n"
    assert (real.stat().st_uid, real.stat().st_gid) == (user, group)
    (aside,) = asides(tmp_path, "before-restore")
    assert aside.read_text() == "# old\n"


def test_a_backup_is_whole_or_not_there(tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        make(folder / "vdevice.db", "kept")
        (folder / "vdevice.toml").write_text("# empty\n")

    def check(folder: Path) -> None:
        if (folder / "plant.zip").exists():
            with zipfile.ZipFile(folder / "plant.zip") as kept:
                assert kept.testzip() is None
                (folder / "out.db").write_bytes(kept.read("outbox.db"))
            assert values(folder / "out.db") == ["kept"]

    at_every_step(
        tmp_path,
        prepare,
        lambda folder: command.backup(folder / "plant.zip", config=folder / "vdevice.toml"),
        check,
    )


def test_a_copy_that_is_not_whole_is_none(tmp_path: Path) -> None:
    make(tmp_path / "o.db", "x" * 100_000)
    with contextlib.closing(sqlite3.connect(tmp_path / "o.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "o.db").open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096 * 4)
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "o.db")) as connection,
        pytest.raises(VdeviceError, match="not whole"),
    ):
        files.copy(connection, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_two_of_one_second_have_two_names(tmp_path: Path) -> None:
    names = set()
    for text in "abc":
        make(tmp_path / "o.db", text)
        names.add(files.set_aside(tmp_path / "o.db", "damaged"))
    assert sorted(values(name)[0] for name in names) == ["a", "b", "c"]
