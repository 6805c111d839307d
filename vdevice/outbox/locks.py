"""Who may have the outbox: one device, or one command that changes it as a whole, and one writer process of theirs.

Two empty files beside the database carry the locks, because SQLite's own come and go with each statement. `….lock` belongs to
the device. `….writer.lock` belongs to the writer process itself, so that a device which was started again cannot write beside
the writer of the one before: a stopped process, or one that waits for a dead disk, outlives its device. It is a POSIX lock,
of which the kernel tells the process id. On Windows nothing is locked.
"""

import contextlib
import os
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from vdevice.errors import VdeviceError
from vdevice.outbox import files

if sys.platform != "win32":
    import fcntl

LAST_SECONDS = 5.0
"""For the writer of an earlier device to end by itself: it may have a file to save that was taken away."""

END_SECONDS = 5.0
"""For it to end once it is killed."""

_DEVICE_PLACE = 6
"""Of the device's process id among the arguments of a writer (`writer_client.py`): python -P -c … file create device."""

_POLL_SECONDS = 0.01
_FLOCK = "hhqqi"
"""Linux' `struct flock`: type, whence, start, length, process id."""


def real_path(file: Path) -> Path:
    """Return the path of a file without symbolic links: one outbox has one name, whichever way leads to it."""
    return Path(os.path.realpath(file))


@contextlib.contextmanager
def running_lock(file: Path) -> Iterator[None]:
    """Hold the outbox for one device or command, and end the writer of an earlier device that is left over.

    Raises VdeviceError where another process has it.
    """
    if sys.platform == "win32":
        yield
        return
    file = real_path(file)
    handle = _lock_device(file)
    if handle is None:
        handle = _lock_after_orphan(file)
    if handle is None:
        raise VdeviceError(
            f"another vdevice is running on the outbox {file.name}; stop it, or give this one its own outbox.url"
        )
    try:
        _check_single_name(file)
        writers = _open(_writer_lock(file))
        try:
            _await_free(writers, file)
        finally:
            os.close(writers)
        yield
    finally:
        os.close(handle)


class WriterLock:
    """The lock of a writer process, held until the process ends. Raises VdeviceError where another one does not end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle = -1
        self._device_is_at: tuple[int, int] | None = None
        if sys.platform != "win32":
            self.hold()

    def hold(self) -> None:
        """Take the locks, also where their files were taken away since. Raises VdeviceError where another device has them."""
        if sys.platform == "win32":
            return
        if not _is_at(self._handle, _writer_lock(self._file)):
            handle = _open(_writer_lock(self._file))
            if self._handle < 0:
                _await_free(handle, self._file)
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(handle)
                raise VdeviceError(
                    f"the outbox {self._file.name} cannot be locked ({error.strerror}); see whether another vdevice runs on it"
                ) from None
            # An earlier one stays open: its file has no name any more, and closing it would do nothing.
            self._handle = handle
        device = _device_lock(self._file)
        if self._device_is_at is None or _identity(device) != self._device_is_at:
            # Somebody removed the file that the device has locked. Without a lock on the one at its path others could start.
            # It lasts as long as the descriptor, which nobody closes.
            _lock_device(self._file)
            self._device_is_at = _identity(device)


def _device_lock(file: Path) -> Path:
    return file.with_name(file.name + ".lock")


def _writer_lock(file: Path) -> Path:
    return file.with_name(file.name + ".writer.lock")


def _open(lock: Path) -> int:
    try:
        return os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise VdeviceError(f"{lock.name} cannot be made ({error.strerror}); check the outbox's folder") from None


def _is_at(handle: int, path: Path) -> bool:
    """Tell whether an open file is still the one at a path."""
    if handle < 0:
        return False
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _lock_device(file: Path) -> int | None:
    """Return the locked file of the device, None where somebody has it. Raises VdeviceError."""
    path = _device_lock(file)
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                return None
            raise VdeviceError(f"{path.name} cannot be locked ({error.strerror}); check the outbox's disk") from None
        if _is_at(handle, path):
            return handle
        # It was removed between the two calls: a lock on a file without a name keeps nobody out.
        os.close(handle)


def _lock_after_orphan(file: Path) -> int | None:
    """Lock the device's file once a writer without a device has ended, which held it too; None where a device has it.

    A writer holds it where the files of both locks were removed while its device ran.
    """
    writers = _open(_writer_lock(file))
    try:
        holder = _holder(writers)
        if holder is not None and not _is_orphan(holder):
            return None
        _await_free(writers, file)
    finally:
        os.close(writers)
    return _lock_device(file)


def _await_free(handle: int, file: Path) -> None:
    """End the writer of an earlier device. Raises VdeviceError where it does not end, or is none."""
    started = time.monotonic()
    while (holder := _holder(handle)) is not None:
        waited = time.monotonic() - started
        # Its device is gone or has given it up, or we would not have the device's lock.
        if _is_writer(holder) and (waited > LAST_SECONDS or _stands_still(holder)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(holder, signal.SIGKILL)
        if waited > LAST_SECONDS + END_SECONDS:
            who = f"process {holder}" if holder else "another machine or container"
            raise VdeviceError(
                f"an earlier writer of the outbox {file.name} does not end ({who}); end it, or see the disk it is on"
            )
        time.sleep(_POLL_SECONDS)


def _holder(handle: int) -> int | None:
    """Return the id of the process that has the writer's lock, 0 where the system does not tell, None where nobody has it."""
    if sys.platform == "linux":
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else max(process, 0)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    fcntl.lockf(handle, fcntl.LOCK_UN)
    return None


def _is_writer(process: int) -> bool:
    """Tell whether a process that has the lock is a writer of ours, and no program that somebody let wait for the lock."""
    try:
        return process > 0 and b"vdevice.outbox.writer" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def _is_orphan(process: int) -> bool:
    """Tell whether a process is a writer whose device, which its command line names, is not its parent any more."""
    try:
        device = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[_DEVICE_PLACE]
        return _is_writer(process) and _status(process)[1] != device
    except (OSError, IndexError):
        return False


def _stands_still(process: int) -> bool:
    """Tell whether a process is stopped, so that it ends by nothing else than SIGKILL."""
    try:
        return _status(process)[0] in {b"T", b"t"}
    except (OSError, IndexError):
        return False


def _status(process: int) -> list[bytes]:
    """Return the state, the parent and more of a process (`man 5 proc`): what is behind the name, which may hold anything."""
    return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()


def _check_single_name(file: Path) -> None:
    """Raise VdeviceError for a file with hard links: SQLite names its log after the name, and would damage the file."""
    try:
        if file.stat().st_nlink > 1:
            files.undo_set_aside(file)
        status = file.stat()
    except OSError:
        return
    if status.st_nlink > 1:
        others = [
            path.name for path in file.parent.iterdir() if path != file and path.is_file() and path.samefile(file)
        ]
        raise VdeviceError(
            f"the outbox {file.name} has {status.st_nlink} names (hard links), and a device on each would damage it; remove "
            f"{' and '.join(others) or 'the others'}, and make copies with `vdevice backup`"
        )
