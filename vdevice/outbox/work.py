"""What the writer does for its requests: all in one transaction, and each alone where one of them cannot be done.

The results of a transaction, and what is remembered of it, count only once it is committed.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from vdevice.outbox import database, records
from vdevice.outbox.messages import Fetch, Finish, Probe, Purge, Put, Request, Retry, Shift
from vdevice.outbox.records import Ledger

_OF_THE_REQUEST = {
    None,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_RANGE,
}
"""Errors that a request brings with it; None is the sqlite3 module's own, of what it cannot bind or read."""


class Remembered(msgspec.Struct, frozen=True):
    """What the writer knows between two transactions: the digests of the last texts, and which version the device has seen.

    The version counts for each connection anew; None is none, so what others did meanwhile is looked for.
    """

    digests: dict[int, bytes] = {}
    version: int | None = None


class Done(msgspec.Struct):
    """What came of some requests, by their place: results, and why single ones failed; and what is to be remembered."""

    remembered: Remembered
    results: dict[int, Any] = {}
    failed: dict[int, str] = {}
    note: str = ""


def do(
    connection: sqlite3.Connection,
    remembered: Remembered,
    requests: dict[int, Request],
    before_commit: Callable[[], None],
) -> Done:
    """Do requests and commit. `before_commit` undoes all of it by an exception, which is raised on.

    Raises sqlite3.Error where the disk fails: nothing is done then.
    """
    note = ""
    try:
        with database.transaction(connection):
            ledger = Ledger(connection, dict(remembered.digests))
            results, version = _work(ledger, requests, remembered.version)
            ledger.flush()
            before_commit()
        return Done(Remembered(ledger.digests, version), results)
    except sqlite3.Error as error:
        if not is_of_the_request(error):
            raise
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        note = f"the outbox's writer has a request that it cannot do ({error!r})"
    with database.transaction(connection):
        done = _one_by_one(connection, remembered, requests)
        before_commit()
    done.note = note
    return done


def _one_by_one(connection: sqlite3.Connection, remembered: Remembered, requests: dict[int, Request]) -> Done:
    """Do requests such that each can be undone without the others."""
    done = Done(remembered, {}, {})
    for place, request in sorted(requests.items(), key=lambda item: isinstance(item[1], Probe)):
        ledger = Ledger(connection, dict(done.remembered.digests))
        connection.execute("SAVEPOINT request")
        try:
            results, version = _work(ledger, {place: request}, done.remembered.version)
            ledger.flush()
        except sqlite3.Error as error:
            if not is_of_the_request(error):
                raise
            done.failed[place] = str(error)
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            done.failed[place] = repr(error)
        else:
            done.results.update(results)
            done.remembered = Remembered(ledger.digests, version)
        if place in done.failed:
            connection.execute("ROLLBACK TO request")
        connection.execute("RELEASE request")
    return done


def is_of_the_request(error: sqlite3.Error) -> bool:
    """Tell whether an error would be another one with another request, so that it says nothing of the outbox."""
    return code(error) in _OF_THE_REQUEST


def code(error: Exception) -> int | None:
    """Return the primary result code of SQLite, None where the error is not SQLite's."""
    found: int | None = getattr(error, "sqlite_errorcode", None)
    return None if found is None else found & 0xFF


def _work(ledger: Ledger, requests: dict[int, Request], seen: int | None) -> tuple[dict[int, Any], int | None]:
    """Do what many requests share by one statement each, then the others, a Probe last.

    Returns the results, and the version of the outbox that the device has seen once they are committed.
    """
    puts = {place: request for place, request in requests.items() if isinstance(request, Put)}
    finishes = {place: request for place, request in requests.items() if isinstance(request, Finish)}
    results: dict[int, Any] = dict(zip(puts, records.put(ledger, list(puts.values())), strict=True))
    results.update(zip(finishes, records.finish(ledger, list(finishes.values())), strict=True))
    others = [(place, request) for place, request in requests.items() if place not in results]
    for place, request in sorted(others, key=lambda other: isinstance(other[1], Probe)):
        if isinstance(request, Probe):
            results[place], seen = _probe(ledger, request, seen)
        else:
            results[place] = _single(ledger, request)
    return results, seen


def _probe(ledger: Ledger, probe: Probe, seen: int | None) -> tuple[list[dict[str, Any]] | None, int | None]:
    """Return the counters where another process changed them, as they are at the end of the commit."""
    connection = ledger.connection
    if probe.write:
        connection.execute("UPDATE target SET accepted = accepted WHERE number = 1")
    version = connection.execute("PRAGMA data_version").fetchone()[0]
    if version == seen:
        return None, seen
    ledger.flush()
    return records.targets(connection), version


def _single(ledger: Ledger, request: Request) -> Any:  # noqa: ANN401 (each request has its own result)
    match request:
        case Retry():
            return records.retry(ledger, request)
        case Fetch(target, after, limit, now):
            return records.fetch(ledger, target, after, limit, now)
        case Purge(delivered_before, failed_before, limit):
            return records.purge(ledger, delivered_before, failed_before, limit)
        case Shift(jump, now, started):
            return records.shift(ledger, jump, now, started)
    raise TypeError(f"{type(request).__name__} is done with others of its kind")
