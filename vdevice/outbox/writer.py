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
import time
from pathlib import Path
from typing import Any

import msgspec

from vdevice.errors import VdeviceError
from vdevice.outbox import database, files, log_watch, messages, records, work
from vdevice.outbox.locks import WriterLock
from vdevice.outbox.log_watch import LogWatch
from vdevice.outbox.messages import Probe, Reply, Request
from vdevice.outbox.open_files import AwayError, OpenFiles
from vdevice.outbox.work import Remembered

REQUESTS_A_COMMIT = 512
READ_AT_ONCE = 1 << 16
"""Bytes; a pipe holds no more, and a larger buffer is mapped and unmapped for each read."""

BRING_BACK_SECONDS = 1.0
"""Between two attempts to save an outbox that was taken away."""

_KEEP_CONNECTION = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}
"""A full disk or a held lock leaves the connection whole; after another error it is opened anew."""


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
        self._remembered = Remembered()
        self._notes: list[str] = []
        self._log_watch = LogWatch(file)
        self._away_until = 0.0
        """While the outbox is not at its path: when to try next to bring it back, by the monotonic clock."""
        self._away_because = ""
        # A page that cannot be read does not heal because another one can be: it holds until there is another file.
        self._damage = ""

    def open(self) -> sqlite3.Connection:
        """Open the outbox, if it is not open. Raises VdeviceError."""
        if self._connection is None:
            if self._create and files.is_log_alone(self._file):
                self._set_log_aside()
            with contextlib.ExitStack() as stack:
                connection = stack.enter_context(
                    contextlib.closing(database.connect(self._file, create=self._create, patience=self._patience))
                )
                try:
                    self._files = OpenFiles(self._file)
                    self._remembered = Remembered(records.digests(connection), None)
                except (OSError, sqlite3.Error) as error:
                    raise VdeviceError(
                        f"the outbox {self._file.name} cannot be opened ({error}); check its folder and disk"
                    ) from None
                stack.pop_all()
            # Never again: an empty one in the place of one that is gone would hide the loss.
            self._create = False
            self._connection = connection
        return self._connection

    def _set_log_aside(self) -> None:
        try:
            aside = files.set_log_aside(self._file)
        except OSError as error:
            raise VdeviceError(
                f"{self._file.name}-wal cannot be renamed ({error.strerror}); check the outbox's folder"
            ) from None
        self._notes.append(
            f"the outbox {self._file.name} was gone or empty, and its log was there: a new one has begun, and the log, which "
            f"may hold messages, is kept as {aside.name}; `vdevice restore` brings back the last backup"
        )

    def counters(self) -> list[dict[str, Any]]:
        """Return the counters of all targets, which the device knows then. Raises VdeviceError."""
        connection = self.open()
        try:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            self._remembered = Remembered(self._remembered.digests, version)
            return records.targets(connection)
        except sqlite3.Error as error:
            raise VdeviceError(
                f"the outbox {self._file.name} cannot be read ({error}); see the disk it is on"
            ) from None

    def close(self) -> None:
        """Close it, at its path."""
        if self._connection is None:
            return
        if self._files.away():
            try:
                self._files.make_folder()
                said = self._save(self._connection)
            except (OSError, sqlite3.Error, VdeviceError) as error:
                said = str(error)
            # The device hears nothing any more; its log does.
            sys.stderr.write(f"vdevice: {said}\n")
        self._connection.close()
        self._files.close()
        self._connection = None

    def _save(self, connection: sqlite3.Connection) -> str:
        """Save the outbox to its path; to another name where another device has begun a new one there. Return what was done."""
        try:
            self._lock.hold()
        except VdeviceError:
            aside = files.aside_name(self._file, "found")
            files.copy(connection, aside)
            return (
                f"{self._file.name} was taken away while the outbox was open, and another vdevice has begun a new one: all of "
                f"it was saved as {aside.name}"
            )
        return self._files.bring_back(connection)

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
            for request in requests.values():
                if isinstance(request, Probe):
                    self._look(request)
            if self._away_until:
                self._bring_back()
            done = work.do(self.open(), self._remembered, requests, self.check_device)
            self._remembered = done.remembered
            # Before the reply: what was stored in a file without a name is not safe.
            if self._files.away():
                self._bring_back()
        except (sqlite3.Error, VdeviceError) as error:
            self._recover(error)
            return Reply(len(bodies), self._reason(error), [], notes=self._take_notes())
        if done.note:
            self._notes.append(done.note)
        results = [done.results.get(place) for place in range(len(bodies))]
        return Reply(len(bodies), None, results, failed | done.failed, self._take_notes(), self._damage)

    def _reason(self, error: Exception) -> str:
        """Return why a commit failed, and what to do; keep in mind that the file is damaged."""
        code = work.code(error)
        if code == sqlite3.SQLITE_CORRUPT and not self._away_until:
            self._damage = (
                f"{self._file.name} is damaged ({error}): messages in it cannot be read; stop the device, then "
                "`vdevice outbox set-aside`, or `vdevice restore` the last backup"
            )
            return self._damage
        if code == sqlite3.SQLITE_BUSY:
            return f"{error}: another program keeps it locked; end {log_watch.others(self._file)}"
        return str(error)

    def _look(self, probe: Probe) -> None:
        """See, once a second, whether the files and locks are where they should be, and what the log's size tells."""
        if probe.patience != self._patience:
            self._patience = probe.patience
            self.open().execute(f"PRAGMA busy_timeout = {int(probe.patience * 1000)}")
        if self._files.away():
            self._bring_back()
        self._lock.hold()
        self._notes += self._log_watch.notes(self._files.log_bytes)

    def _recover(self, error: Exception) -> None:
        """Close the connection if the error may have hurt it; never one that may hold all that there is."""
        if self._connection is None or work.code(error) in _KEEP_CONNECTION:
            return
        if self._files.away():
            self._away_until = self._away_until or time.monotonic()
            if isinstance(error, AwayError):
                self._away_because = str(error)
            # Something may be stored that the device was told is not.
            self._remembered = Remembered(self._remembered.digests, None)
        else:
            self.close()

    def _bring_back(self) -> None:
        """Save the outbox to its path where it is not there, and go on with it. Raises AwayError, VdeviceError."""
        name = self._files.away()
        if not name:
            self._away_until = 0.0
            return
        if time.monotonic() < self._away_until:
            raise AwayError(self._away_because or f"{name} was taken away")
        self._away_until = time.monotonic() + BRING_BACK_SECONDS
        self._files.make_folder()
        # Unless another device has begun a new outbox there meanwhile.
        self._lock.hold()
        connection, opened = self.open(), self._files
        self._notes.append(opened.bring_back(connection))
        self._connection = None
        try:
            self.open()
        finally:
            connection.close()
            opened.close()
        self._away_until, self._damage = 0.0, ""

    def check_device(self) -> None:
        """Raise DeviceGoneError, and so undo the transaction, where the device has ended."""
        if sys.platform != "win32" and os.getppid() != self._device:
            raise DeviceGoneError

    def _take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes


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
