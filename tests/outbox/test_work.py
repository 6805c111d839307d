"""What the writer does for its requests: all of them in one transaction, or each alone, or nothing."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import event_of
from vdevice.model import Outcome, Verdict
from vdevice.outbox import database, work
from vdevice.outbox.messages import Fetch, Finish, Probe, Purge, Put, Request
from vdevice.outbox.work import Done, Remembered

DELIVERED = Outcome(Verdict.DELIVERED, http_status=200)


def put(*values: str, changed_only: frozenset[int] = frozenset()) -> Put:
    return Put(tuple(event_of(value) for value in values), changed_only)


def impossible() -> Put:
    """A message whose id SQLite cannot bind: a lone surrogate."""
    return Put((msgspec.structs.replace(event_of("x"), id="\ud800"),), frozenset())


def unreadable() -> Fetch:
    """A number that is larger than SQLite's."""
    return Fetch(7, 0, 2**70, 0.0)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as opened:
        yield opened


def nothing() -> None:
    pass


def do(connection: sqlite3.Connection, *requests: Request, remembered: Remembered | None = None) -> Done:
    return work.do(connection, remembered or Remembered(), dict(enumerate(requests)), nothing)


def values(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT value FROM event ORDER BY seq")]


def accepted(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT accepted FROM target WHERE number = 7").fetchone()[0])


def test_all_are_done_in_one_transaction(connection: sqlite3.Connection) -> None:
    commits: list[str] = []
    connection.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    done = do(connection, put("a"), put("b", "c"), Fetch(7, 0, 10, 0.0))
    assert len(commits) == 1
    assert (done.results[0], done.results[1], done.failed) == ([1], [2, 3], {})
    assert [stored.event.value for stored in done.results[2][0]] == ["a", "b", "c"]


def test_results_are_at_the_place_of_their_request(connection: sqlite3.Connection) -> None:
    do(connection, put("a", "b"))
    finish = [Finish(seq, 7, 0.0, 1, DELIVERED, 1.0) for seq in (2, 1, 9)]
    requests: dict[int, Request] = {5: finish[0], 3: put("c"), 8: Purge(0.0, 0.0, 10), 9: finish[1], 7: finish[2]}
    assert work.do(connection, Remembered(), requests, nothing).results == {5: True, 3: [3], 8: 0, 9: True, 7: False}


@pytest.mark.parametrize("bad", [impossible, unreadable])
def test_one_that_cannot_be_done_fails_alone(bad: Any, connection: sqlite3.Connection) -> None:
    done = do(connection, put("a"), bad(), put("b"), Probe(write=True, patience=1.0))
    assert set(done.failed) == {1}
    assert (done.results[0], done.results[2]) == ([1], [2])
    assert values(connection) == ["a", "b"]
    (row,) = [row for row in done.results[3] if row["number"] == 7]
    assert row["accepted"] == accepted(connection) == 2, "the Probe, last, tells of all that its commit did"
    assert done.note


def test_an_error_that_says_nothing_of_the_request_is_no_failed_request(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        do(connection, put("x" * 10_000_000), put("b"))
    assert not connection.in_transaction
    assert values(connection) == []


class Unforeseen(Exception):  # noqa: N818 (as of a device that is gone)
    """What comes before the commit."""


@pytest.mark.parametrize("requests", [(put("a"),), (put("a"), impossible())], ids=["together", "one by one"])
def test_what_is_raised_before_the_commit_undoes_all(
    requests: tuple[Request, ...], connection: sqlite3.Connection
) -> None:
    def gone() -> None:
        raise Unforeseen

    with pytest.raises(Unforeseen):
        work.do(connection, Remembered(), dict(enumerate(requests)), gone)
    assert not connection.in_transaction
    assert (values(connection), accepted(connection)) == ([], 0)


def test_what_failed_is_not_remembered_as_the_last_text(connection: sqlite3.Connection) -> None:
    only = frozenset({7})
    both = Put((event_of("new"), msgspec.structs.replace(event_of("x"), id="\ud800")), only)
    done = do(connection, put("old", changed_only=only), both)
    assert set(done.failed) == {1}
    again = do(connection, put("old", changed_only=only), put("new", changed_only=only), remembered=done.remembered)
    assert again.results == {0: [0], 1: [2]}


def test_counters_are_told_once_for_each_change_of_others(connection: sqlite3.Connection, tmp_path: Path) -> None:
    probe = Probe(write=False, patience=1.0)
    done = do(connection, probe)
    assert done.results[0] is not None, "what others did before this connection is not known"
    done = do(connection, put("a"), probe, remembered=done.remembered)
    assert done.results[1] is None, "what the device did itself it knows"
    with contextlib.closing(database.connect(tmp_path / "o.db")) as other:
        other.execute("UPDATE target SET discarded = 1 WHERE number = 7")
    done = do(connection, probe, remembered=done.remembered)
    assert [row["discarded"] for row in done.results[0] if row["number"] == 7] == [1]
    assert do(connection, probe, remembered=done.remembered).results[0] is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, True),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, True),
        (sqlite3.SQLITE_TOOBIG, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR_FSYNC, False),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, False),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_READONLY_DBMOVED, False),
    ],
)
def test_what_an_error_says_of(code: int | None, expected: bool) -> None:  # noqa: FBT001 (a table's cell)
    error = sqlite3.OperationalError()
    if code is not None:
        error.sqlite_errorcode = code
    assert work.is_of_the_request(error) is expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.sampled_from(["", "a", "bad"]), max_size=6), max_size=6))
def test_what_is_done_is_told_and_what_failed_left_nothing(
    batches: list[list[str]], connection: sqlite3.Connection
) -> None:
    connection.execute("DELETE FROM event")
    connection.execute("UPDATE target SET accepted = 0, digest = NULL")
    stored, remembered = [], Remembered()
    for batch in batches:
        requests = [impossible() if value == "bad" else put(value) for value in batch]
        done = do(connection, *requests, remembered=remembered)
        remembered = done.remembered
        assert set(done.failed) == {place for place, value in enumerate(batch) if value == "bad"}
        assert set(done.results) == set(range(len(batch))) - set(done.failed)
        stored += [value for value in batch if value != "bad"]
    assert values(connection) == stored
    assert accepted(connection) == len(stored)
