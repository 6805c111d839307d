"""The writer process of the outbox: requests in, one commit for all that wait, one reply out.

It is a process of its own, so that the statements of a commit do not wait for the event loop's turn, nor the loop for them
(docs/decisions/0005). It ends when its device does, and commits nothing after that: at the end of its standard input, and
where its parent is another one.
"""

import contextlib
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec

from vdevice.errors import VdeviceError
from vdevice.outbox import database, messages, records
from vdevice.outbox.locks import WriterLock
from vdevice.outbox.messages import FailWaiting, Fetch, Finish, Probe, Purge, Put, Reply, Request, Retry, Shift
from vdevice.outbox.records import Ledger

REQUESTS_A_COMMIT = 512
READ_AT_ONCE = 1 << 16
"""Bytes; a pipe holds no more, and a larger buffer is mapped and unmapped for each read."""

_KEEP_CONNECTION = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}
"""A full disk or a held lock leaves the connection whole; after another error it is opened anew."""

_OF_THE_REQUEST = {
    None,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_RANGE,
}
"""Errors that a request brings with it; None is the sqlite3 module's own, of what it cannot bind or read."""


class DeviceGoneError(Exception):
    """The device has ended. Another one may run by now, and have stored messages behind which ours would be too late."""


class Writer:
    """The outbox of the device with the process id `device`; after an error that may have hurt it, it is opened anew.

    It has the writer's lock until the process ends. Raises VdeviceError where another one has it.
    """

    def __init__(self, file: Path, device: int, patience: float, *, create: bool) -> None:
        self._file = file
        self._lock = WriterLock(file)
        self._device = device
        self._patience = patience
        self._create = create
        self._connection: sqlite3.Connection | None = None
        self._digests: dict[int, bytes] = {}
        self._seen_version: int | None = None
        self._notes: list[str] = []

    def open(self) -> sqlite3.Connection:
        """Open the outbox, if it is not open. Raises VdeviceError."""
        if self._connection is None:
            connection = database.connect(self._file, create=self._create, patience=self._patience)
            # Never again: an empty one in the place of one that is gone would hide the loss.
            self._create = False
            self._connection = connection
            self._digests = records.digests(connection)
            # It counts for each connection anew, so what others did between two of them is looked for by the next Probe.
            self._seen_version = None
        return self._connection

    def counters(self) -> list[dict[str, Any]]:
        """Return the counters of all targets, which the device knows then. Raises VdeviceError."""
        connection = self.open()
        self._seen_version = connection.execute("PRAGMA data_version").fetchone()[0]
        return records.targets(connection)

    def close(self) -> None:
        """Close it."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def commit(self, bodies: list[bytes]) -> Reply:
        """Do all requests in one transaction; if the disk fails none of them, and one that cannot be done fails alone."""
        requests: dict[int, Request] = {}
        failed: dict[int, str] = {}
        for place, body in enumerate(bodies):
            try:
                requests[place] = messages.request(body)
            except msgspec.DecodeError as error:
                failed[place] = str(error)
        try:
            self.open()
            if any(isinstance(request, Probe) for request in requests.values()):
                self._lock.hold()
            results = self._do(requests, failed)
        except (sqlite3.Error, VdeviceError) as error:
            if _code(error) not in _KEEP_CONNECTION:
                self.close()
            return Reply(len(bodies), str(error), [], notes=self._take_notes())
        return Reply(
            len(bodies), None, [results.get(place) for place in range(len(bodies))], failed, self._take_notes()
        )

    def _do(self, requests: dict[int, Request], failed: dict[int, str]) -> dict[int, Any]:
        """Return the result of each request, or say why not in `failed`. Raises sqlite3.Error where all of them failed."""
        try:
            return self._together(requests)
        except (DeviceGoneError, VdeviceError):
            raise
        except sqlite3.Error as error:
            if _code(error) not in _OF_THE_REQUEST:
                raise
        except Exception as error:  # noqa: BLE001 (whichever request it is, the others go on; the next line tells of it)
            self._notes.append(f"the outbox's writer had an error, and does each request alone ({error!r})")
        return self._one_by_one(requests, failed)

    def _together(self, requests: dict[int, Request]) -> dict[int, Any]:
        connection = self.open()
        ledger = Ledger(connection, dict(self._digests))
        with database.transaction(connection):
            results, version = self._work(ledger, requests)
            ledger.flush()
            self.check_device()
        self._digests, self._seen_version = ledger.digests, version
        return results

    def _one_by_one(self, requests: dict[int, Request], failed: dict[int, str]) -> dict[int, Any]:
        """As `_together`, but each request can be undone without the others."""
        connection, digests, version = self.open(), self._digests, self._seen_version
        results: dict[int, Any] = {}
        with database.transaction(connection):
            for place, request in sorted(requests.items(), key=lambda item: isinstance(item[1], Probe)):
                ledger = Ledger(connection, dict(digests))
                connection.execute("SAVEPOINT request")
                try:
                    result, seen = self._work(ledger, {place: request})
                    ledger.flush()
                except sqlite3.Error as error:
                    if _code(error) not in _OF_THE_REQUEST:
                        raise
                    failed[place] = str(error)
                except Exception as error:  # noqa: BLE001 (whatever it is, it is this request's; its asker is told)
                    failed[place] = repr(error)
                else:
                    results.update(result)
                    digests, version = ledger.digests, seen
                if place in failed:
                    connection.execute("ROLLBACK TO request")
                connection.execute("RELEASE request")
            self.check_device()
        self._digests, self._seen_version = digests, version
        return results

    def check_device(self) -> None:
        """Raise DeviceGoneError, and so undo the transaction, where the device has ended."""
        if sys.platform != "win32" and os.getppid() != self._device:
            raise DeviceGoneError

    def _work(self, ledger: Ledger, requests: dict[int, Request]) -> tuple[dict[int, Any], int | None]:
        """Do what many requests share by one statement each, then the others, a Probe last.

        Returns the results, and the version of the outbox that the device has seen once they are committed.
        """
        puts = {place: request for place, request in requests.items() if isinstance(request, Put)}
        finishes = {place: request for place, request in requests.items() if isinstance(request, Finish)}
        results: dict[int, Any] = dict(zip(puts, records.put(ledger, list(puts.values())), strict=True))
        results.update(zip(finishes, records.finish(ledger, list(finishes.values())), strict=True))
        version = self._seen_version
        others = [(place, request) for place, request in requests.items() if place not in results]
        for place, request in sorted(others, key=lambda other: isinstance(other[1], Probe)):
            if isinstance(request, Probe):
                results[place], version = self._probe(ledger, request, version)
            else:
                results[place] = _single(ledger, request)
        return results, version

    def _probe(self, ledger: Ledger, probe: Probe, seen: int | None) -> tuple[list[dict[str, Any]] | None, int | None]:
        """Return the counters where another process changed them, as they are at the end of the commit."""
        connection = ledger.connection
        if probe.patience != self._patience:
            self._patience = probe.patience
            connection.execute(f"PRAGMA busy_timeout = {int(probe.patience * 1000)}")
        if probe.write:
            connection.execute("UPDATE target SET accepted = accepted WHERE number = 1")
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == seen:
            return None, seen
        ledger.flush()
        return records.targets(connection), version

    def _take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes


def _code(error: Exception) -> int | None:
    """Return the primary result code of SQLite, None where the error is not SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _single(ledger: Ledger, request: Request) -> Any:  # noqa: ANN401 (each request has its own result)
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
    raise TypeError(f"{type(request).__name__} is done with others of its kind")


def serve(writer: Writer, source: int, sink: int) -> None:
    """Read requests from one file descriptor and write replies to another, until the first ends."""
    buffer = bytearray()
    _send(sink, Reply(0, None, [writer.counters()]))
    while data := os.read(source, READ_AT_ONCE):
        buffer += data
        bodies = messages.take(buffer)
        for start in range(0, len(bodies), REQUESTS_A_COMMIT):
            _send(sink, writer.commit(bodies[start : start + REQUESTS_A_COMMIT]))


def _send(sink: int, reply: Reply) -> None:
    data = memoryview(messages.frame(reply))
    while data:
        data = data[os.write(sink, data) :]


def main(file: str, create: str, device: str, patience: str) -> None:
    """Be the writer of an outbox until the device, whose process id is given, ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if sys.platform != "win32" else (signal.SIGINT,):
        # They are for the device, which ends this process in order.
        signal.signal(number, signal.SIG_IGN)
    try:
        with contextlib.closing(Writer(Path(file), int(device), float(patience), create=bool(create))) as writer:
            writer.check_device()
            serve(writer, 0, 1)
    except VdeviceError as error:
        _send(1, Reply(0, str(error), []))
    except (BrokenPipeError, DeviceGoneError):
        return
