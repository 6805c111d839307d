"""A reader with an open transaction lets the write-ahead log grow: it is said, with who it is, and over when the reader is."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import event_of
from vdevice.outbox import database, log_watch, messages
from vdevice.outbox.messages import Probe, Put, Reply
from vdevice.outbox.writer import Writer

LARGE = 1 << 20


def store(writer: Writer, size: int) -> Reply:
    requests: list[messages.Request] = [Put((event_of("x" * size),), frozenset()), Probe(write=False, patience=5.0)]
    reply = writer.commit([messages.frame(request)[4:] for request in requests])
    assert reply.error is None
    return reply


def test_a_log_that_cannot_be_emptied_is_said_at_each_doubling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_watch, "LARGE_LOG_BYTES", LARGE)
    monkeypatch.setattr(database, "LOG_BYTES_KEPT", LARGE // 2)
    file = tmp_path / "o.db"
    with contextlib.closing(Writer(file, os.getppid(), 5.0, create=True)) as writer:
        assert store(writer, 10).notes == []
        reader = sqlite3.connect(file, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        said = [note for _ in range(50) for note in store(writer, 100_000).notes]
        size = file.with_name("o.db-wal").stat().st_size
        assert size > 5_000_000
        assert [note.split("grown to ")[1].split()[0] for note in said] == ["1", "2", "4", "8"][: len(said)]
        assert len(said) >= 3
        assert all("end that program" in note for note in said)
        reader.close()
        # SQLite checkpoints after the next commit, and begins the log anew with the one behind.
        notes = [note for _ in range(3) for note in store(writer, 10).notes]
        assert notes == ["o.db-wal has become small again"]
        assert file.with_name("o.db-wal").stat().st_size <= LARGE // 2


def test_who_reads_is_named(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    file.write_bytes(b"")
    code = "import sys, time; f = open(sys.argv[1]); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE) as reader:
        assert reader.stdout
        reader.stdout.readline()
        said = log_watch.warning(file, 1 << 30)
        reader.kill()
    assert "1024 MiB" in said
    assert f"process {reader.pid}, " in said
    assert "not seen from here" in log_watch.warning(file, 1 << 30)
