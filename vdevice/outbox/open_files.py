"""Whether an open database still lies at its path, and whole: a deleted file goes on being written, and nobody finds it.

An operator may remove, rename, replace or empty the file or its folder, and a disk may be unmounted. What was written so is in
no file that has a name; `bring_back` saves all of it to the path, and sets aside what lies there.
"""

import os
import sqlite3
import struct
from pathlib import Path

from vdevice.errors import VdeviceError
from vdevice.outbox import files
from vdevice.outbox.files import ENDS, part
from vdevice.outbox.places import Found, Place

_INDEX = struct.Struct("=14xHII")
"""The head of the `-shm`: bytes of a page, frames in the log, pages of the database (sqlite.org/walformat.html, 2.1)."""

_LOG_HEAD, _FRAME_HEAD, _LARGEST_PAGE = 32, 24, 65_536


class AwayError(VdeviceError):
    """The open outbox is not at its path, and cannot be brought back now. It must stay open: it may be all that there is."""


class OpenFiles:
    """The files of a database that is open in this process.

    To be closed after the connection: closing any descriptor of a file gives up the locks that SQLite has on it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handles = {end: os.open(part(file, end), os.O_RDONLY | os.O_CLOEXEC) for end in ENDS}
        # An open file keeps its number.
        self._places = [
            (end, Place(part(file, end)), Found.of(os.fstat(handle))) for end, handle in self._handles.items()
        ]
        self._sizes = {end: opened.size for end, _, opened in self._places}
        self.is_cut = False
        """Whether the file that `away` found last is at its path, but not whole."""
        self._folder_device = file.parent.stat().st_dev

    def close(self) -> None:
        """Close them."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    @property
    def log_bytes(self) -> int:
        """The size of the write-ahead log."""
        return os.fstat(self._handles["-wal"]).st_size

    def away(self) -> str:
        """Return the name of a file that is not where it was opened, or was cut off there; empty where all are whole."""
        self.is_cut = False
        for end, place, opened in self._places:
            try:
                device, inode, size = place.look()
            except OSError:
                return part(self._file, end).name
            if inode != opened.inode or device != opened.device:
                return part(self._file, end).name
            if size < self._sizes[end] and self._lacks(end):
                self.is_cut = True
                return part(self._file, end).name
            self._sizes[end] = size
        return ""

    def _lacks(self, end: str) -> bool:
        """Tell whether a file that has become shorter lacks something: VACUUM and others' checkpoints shorten it too."""
        index = os.pread(self._handles["-shm"], _INDEX.size, 0)
        # Its size after the index: what the index tells of was written before.
        size = os.fstat(self._handles[end]).st_size
        if len(index) < _INDEX.size:
            return True
        page, frames, pages = _INDEX.unpack(index)
        page = _LARGEST_PAGE if page == 1 else page
        least: dict[str, int] = {"": page * pages, "-wal": _LOG_HEAD + frames * (_FRAME_HEAD + page) if frames else 0}
        return size < least.get(end, _INDEX.size)

    def make_folder(self) -> None:
        """Make the folder of a file that was deleted with it.

        Raises AwayError where the file is whole elsewhere: what is stored in a second one would be missed when it comes back.
        """
        name, folder = self._file.name, self._file.parent
        try:
            if not os.fstat(self._handles[""]).st_nlink:
                folder.mkdir(parents=True, exist_ok=True)
            device, above = folder.stat().st_dev, folder.parent.stat().st_dev
        except OSError as error:
            raise AwayError(
                f"the folder of {name} was taken away ({error.strerror}), renamed or unmounted; bring it back"
            ) from None
        if device != self._folder_device and device == above:
            raise AwayError(f"the disk of {name} is not mounted any more; mount it again")

    def bring_back(self, connection: sqlite3.Connection) -> str:
        """Save the open database to its path; return what was done, for the log. Raises AwayError.

        The connection goes on with the file without a name; it is to be closed, and the path opened.
        """
        name, is_cut = self.away(), self.is_cut
        done = "cut off by another program" if is_cut else "taken away"
        try:
            new = self._file.with_name(self._file.name + ".saving")
            files.copy(connection, new)
            # A log that is ours belongs to no file that lies there now.
            found = [end for end in ENDS[:2] if part(self._file, end).exists() and not self._is_ours(end)]
            aside = files.aside_name(self._file, "found") if "" in found else None
            files.put_in_place(new, self._file, aside, found)
        except (sqlite3.Error, OSError, VdeviceError) as error:
            advice = (
                "stop the device, then `vdevice outbox set-aside`, or `vdevice restore` the last backup"
                if is_cut
                else "free its folder, and do not stop the device"
            )
            raise AwayError(f"{name} was {done}, and cannot be saved back ({error}); {advice}") from error
        kept = f"; what lay there is kept as {aside.name}" if aside else ""
        return f"{name} was {done} while the outbox was open: all of it was saved back to {self._file.name}{kept}"

    def _is_ours(self, end: str) -> bool:
        try:
            return os.path.samestat(part(self._file, end).stat(), os.fstat(self._handles[end]))
        except OSError:
            return False
