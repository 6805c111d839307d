"""The writer process of the outbox: requests in, one commit for all that wait, one reply out.

It is a process of its own, so that the statements of a commit do not wait for the event loop's turn, nor the loop for them
(docs/decisions/0005). It ends when its device does: at the end of its standard input.
"""

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec

from vdevice.errors import VdeviceError
from vdevice.outbox import database, messages, records
from vdevice.outbox.messages import FailWaiting, Fetch, Finish, Probe, Purge, Put, Reply, Request, Retry, Shift
from vdevice.outbox.records import Ledger

REQUESTS_A_COMMIT = 512
READ_AT_ONCE = 1 << 16
"""Bytes; a pipe holds no more, and a larger buffer is mapped and unmapped for each read."""


class Writer:
    """The open outbox; after an error that may have hurt its connection it is opened anew."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._digests: dict[int, bytes] = {}
        self._seen_version = 0

    def open(self) -> sqlite3.Connection:
        """Open the outbox, if it is not open. Raises VdeviceError."""
        if self._connection is None:
            connection = database.connect(self._file)
            self._connection = connection
            self._digests = records.digests(connection)
            self._seen_version = connection.execute("PRAGMA data_version").fetchone()[0]
        return self._connection

    def close(self) -> None:
        """Close it."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def commit(self, bodies: list[bytes]) -> Reply:
        """Do all requests in one transaction, or none of them."""
        try:
            requests = [messages.request(body) for body in bodies]
            connection = self.open()
            ledger = Ledger(connection, dict(self._digests))
            with database.transaction(connection):
                results = self._work(ledger, requests)
                ledger.flush()
        except msgspec.DecodeError as error:
            return Reply(len(bodies), str(error), [])
        except (sqlite3.Error, VdeviceError) as error:
            # A full disk or a held lock leaves the connection whole.
            if getattr(error, "sqlite_errorcode", None) not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}:
                self.close()
            return Reply(len(bodies), str(error), [])
        self._digests = ledger.digests
        return Reply(len(bodies), None, results)

    def _work(self, ledger: Ledger, requests: list[Request]) -> list[Any]:
        """Do what many requests share by one statement each, then the others, a Probe last; return the results in order."""
        puts = {place: request for place, request in enumerate(requests) if isinstance(request, Put)}
        finishes = {place: request for place, request in enumerate(requests) if isinstance(request, Finish)}
        results: dict[int, Any] = dict(zip(puts, records.put(ledger, list(puts.values())), strict=True))
        results.update(zip(finishes, records.finish(ledger, list(finishes.values())), strict=True))
        others = [(place, request) for place, request in enumerate(requests) if place not in results]
        for place, request in sorted(others, key=lambda other: isinstance(other[1], Probe)):
            results[place] = self._single(ledger, request)
        return [results[place] for place in range(len(requests))]

    def _single(self, ledger: Ledger, request: Request) -> Any:  # noqa: ANN401 (each request has its own result)
        match request:
            case Retry():
                return records.retry(ledger, request)
            case Fetch(target, after, limit, now):
                return records.fetch(ledger, target, after, limit, now)
            case FailWaiting(target, text, now):
                return records.fail_waiting(ledger, target, text, now)
            case Purge(delivered_before, failed_before, limit):
                return records.purge(ledger, delivered_before, failed_before, limit)
            case Shift(jump, now, started):
                return records.shift(ledger, jump, now, started)
            case Probe(write):
                return self._probe(ledger, write=write)
        raise TypeError(f"{type(request).__name__} is done with others of its kind")

    def _probe(self, ledger: Ledger, *, write: bool) -> list[dict[str, Any]] | None:
        """Return the counters where another process changed them, as they are at the end of the commit."""
        if write:
            ledger.connection.execute("UPDATE target SET accepted = accepted WHERE number = 1")
        version = ledger.connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._seen_version:
            return None
        self._seen_version = version
        ledger.flush()
        return records.targets(ledger.connection)


def serve(writer: Writer, source: int, sink: int) -> None:
    """Read requests from one file descriptor and write replies to another, until the first ends."""
    buffer = bytearray()
    _send(sink, Reply(0, None, [records.targets(writer.open())]))
    while data := os.read(source, READ_AT_ONCE):
        buffer += data
        bodies = messages.take(buffer)
        for start in range(0, len(bodies), REQUESTS_A_COMMIT):
            _send(sink, writer.commit(bodies[start : start + REQUESTS_A_COMMIT]))


def _send(sink: int, reply: Reply) -> None:
    data = memoryview(messages.frame(reply))
    while data:
        data = data[os.write(sink, data) :]


def main(file: str) -> None:
    """Be the writer of an outbox until the device ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if sys.platform != "win32" else (signal.SIGINT,):
        # They are for the device, which ends this process in order.
        signal.signal(number, signal.SIG_IGN)
    writer = Writer(Path(file))
    try:
        serve(writer, 0, 1)
    except VdeviceError as error:
        _send(1, Reply(0, str(error), []))
    except BrokenPipeError:
        # The device is gone; what it asked for is done.
        return
    finally:
        writer.close()
