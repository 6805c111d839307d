"""Opens the SQLite file of the outbox: schema and pragmas."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from vdevice.errors import VdeviceError
from vdevice.model import TARGETS
from vdevice.outbox import files

SCHEMA_VERSION = 4
PATIENCE_SECONDS = 5.0
LOG_BYTES_KEPT = 16 * 2**20

_SCHEMA = """
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    target INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    accepted_at REAL NOT NULL,
    since REAL NOT NULL,
    value TEXT NOT NULL,
    source_connection TEXT NOT NULL,
    source_parameter TEXT NOT NULL,
    source_value TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    finished_at REAL,
    http_status INTEGER NOT NULL DEFAULT 0,
    error INTEGER NOT NULL DEFAULT 0,
    error_text TEXT NOT NULL DEFAULT '',
    answer BLOB,
    description TEXT NOT NULL DEFAULT ''
);
CREATE INDEX identity ON event (id);
CREATE INDEX delayed ON event (target, next_at) WHERE state = 0 AND attempts = 0 AND next_at > 0;
CREATE INDEX waiting ON event (target, seq) WHERE state = 0;
CREATE INDEX finished ON event (state, finished_at) WHERE state > 0;
CREATE TABLE target (
    number INTEGER PRIMARY KEY,
    accepted INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    discarded INTEGER NOT NULL DEFAULT 0,
    digest BLOB,
    http_status INTEGER NOT NULL DEFAULT 0,
    latency_ms INTEGER NOT NULL DEFAULT 0,
    error INTEGER NOT NULL DEFAULT 0,
    error_text TEXT NOT NULL DEFAULT '',
    finished_at INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE move (id TEXT PRIMARY KEY, own INTEGER NOT NULL);
"""

_MIGRATIONS = {
    1: (
        "ALTER TABLE event ADD COLUMN description TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX delayed ON event (target, next_at) WHERE state = 0 AND attempts = 0 AND next_at > 0",
    ),
    2: (
        "CREATE TABLE move (id TEXT PRIMARY KEY, own INTEGER NOT NULL)",
        "ALTER TABLE target ADD COLUMN paused INTEGER NOT NULL DEFAULT 0",
    ),
    3: ("CREATE INDEX identity ON event (id)",),
}
"""Statements that make of each version the next one."""


def connect(file: Path, *, create: bool = True, patience: float = PATIENCE_SECONDS) -> sqlite3.Connection:
    """Open the outbox, with the schema made where it is new; the file can be read by its owner only.

    `patience` is how many seconds a statement waits for a lock of another program. Raises VdeviceError where the file cannot
    be used.
    """
    try:
        return _connect(file, patience, create=create)
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise VdeviceError(
                f"the outbox {file.name} is damaged ({error}); `vdevice outbox set-aside` keeps it under another name, and the "
                "next `vdevice run` begins a new one"
            ) from None
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise VdeviceError(
            f"the outbox {file.name} cannot be opened ({reason}); check that its folder exists and is writable, "
            "or name another one as outbox.url"
        ) from None


@contextlib.contextmanager
def opened(file: Path, *, create: bool = True) -> Iterator[sqlite3.Connection]:
    """Have the outbox open while the block runs; what SQLite cannot do is one sentence. Raises VdeviceError."""
    with contextlib.closing(connect(file, create=create)) as connection:
        try:
            yield connection
        except sqlite3.Error as error:
            raise VdeviceError(f"the outbox {file.name} cannot be used ({error}); try again") from None


def _connect(file: Path, patience: float, *, create: bool) -> sqlite3.Connection:
    if files.is_log_alone(file):
        # SQLite would delete it, and what is only in there.
        raise VdeviceError(
            f"the outbox {file.name} is empty or gone, but its log {file.name}-wal is there; was it removed or emptied by "
            "mistake, stop the device and bring it back, or `vdevice restore` the last backup; else remove the log too"
        )
    if create:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    elif not file.exists():
        raise VdeviceError(f"there is no outbox {file.name} yet; it is made by the first `vdevice run`")
    connection = sqlite3.connect(file, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        # Whatever stands in a damaged or foreign row can be read; one row must not stop all others.
        connection.text_factory = _text
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # What a reader once made it grow to is given back when it begins anew.
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_KEPT}")
        _migrate(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
        # Whoever only reads waits for nobody who writes, and nobody waits for him.
        return
    with transaction(connection):
        # Another program may have made it meanwhile.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise VdeviceError(
                f"the outbox {file.name} was written by a newer vdevice (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); update vdevice, or name another file as outbox.url"
            )
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.executemany("INSERT INTO target (number) VALUES (?)", [(number,) for number in TARGETS])
        for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            for statement in _MIGRATIONS[older]:
                connection.execute(statement)
        if version != SCHEMA_VERSION:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block as one transaction that may write: all of it is kept, or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
