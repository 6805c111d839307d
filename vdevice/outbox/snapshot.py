"""A copy of an outbox as one SQLite file, made while devices run on it, and an outbox made of such a copy."""

import contextlib
import sqlite3
from pathlib import Path

from vdevice.config import Config
from vdevice.errors import VdeviceError
from vdevice.outbox import database, files, locks
from vdevice.outbox.move import move, open_movable
from vdevice.outbox.sqlite_move import SqliteMovable


def take(config: Config, file: Path) -> None:
    """Copy the outbox to a new SQLite file: one moment of it, also while it is written. Raises VdeviceError."""
    if config.outbox.is_nats:
        _take_from_nats(config, file)
        return
    with database.opened(config.outbox_file, create=False) as source:
        try:
            files.copy(source, file)
        except OSError as error:
            raise VdeviceError(f"{file} cannot be written ({error.strerror}); see its disk") from None
        except sqlite3.Error as error:
            raise VdeviceError(f"the outbox cannot be copied to {file} ({error}); see the disks of both") from None


def _take_from_nats(config: Config, file: Path) -> None:
    from vdevice.outbox.jetstream.letters import looking_at  # noqa: PLC0415 (imported only where it is needed)
    from vdevice.outbox.jetstream.move import NatsMovable  # noqa: PLC0415

    with looking_at(config) as (looking, runner):
        contents = NatsMovable(looking, runner).contents()
    with database.opened(file) as copy:
        SqliteMovable(copy).bring(contents, "backup", lambda _count: None)
        copy.execute("DELETE FROM move")
        copy.execute("PRAGMA journal_mode = DELETE")


def give(config: Config, file: Path, *, replace: bool) -> None:
    """Make the outbox of a config from a copy, while no device runs on it; one that is there is set aside if `replace`.

    Raises VdeviceError.
    """
    if config.outbox.is_nats:
        with database.opened(file, create=False) as copy, open_movable(config) as outbox:
            move(SqliteMovable(copy), outbox, lambda _count: None)
        return
    place = config.outbox_file
    with locks.running_lock(place):
        if place.exists() and not replace:
            raise VdeviceError(f"there is an outbox {place.name} already; --replace sets it aside")
        new = place.with_name(place.name + ".restoring")
        try:
            with database.opened(file, create=False) as copy:
                files.copy(copy, new)
            if files.is_log_alone(place):
                files.set_log_aside(place)
            _empty_log(place)
            files.put_in_place(new, place, files.aside_name(place, "before-restore") if place.exists() else None)
        except (OSError, sqlite3.Error) as error:
            raise VdeviceError(f"{place.name} cannot be restored ({error}); what was there is as it was") from None


def _empty_log(place: Path) -> None:
    """Move what is in the log of a database into it, if it is whole: then it consists of one file."""
    if place.exists():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(place)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
