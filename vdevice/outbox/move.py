"""Carries what waits, the dead letters and the counters of one outbox over to another, and can be repeated safely.

The source has an id for its move until it is empty. The destination takes counters once for each id, and events once for
each event id; so whatever was interrupted, the same move again does what is left of it. Nothing is removed from the source
before it was read back from the destination: what said that it took something may have been wrong.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from vdevice.config import Config
from vdevice.errors import VdeviceError
from vdevice.outbox import sqlite_move
from vdevice.outbox.contents import Contents

Progress = Callable[[int], None]


class Movable(Protocol):
    """An outbox that nobody runs on, open for a move."""

    def begin(self) -> str:
        """Return the id of the move out of here that is under way; a new one where there is none."""

    def contents(self) -> Contents:
        """Return all that is to be carried over."""

    def bring(self, contents: Contents, move: str, brought: Progress) -> int:
        """Take in what is not here yet; `brought` is told how many events were. Return how many were really taken."""

    def missing(self, contents: Contents, move: str) -> int:
        """Read back what a move brought; return how many events, and targets' counters, are not here."""

    def clear(self, contents: Contents) -> None:
        """Remove what was carried over, the counters, and at last the id of the move."""


class Moved(msgspec.Struct, frozen=True):
    """What a move did: events that waited and dead letters at the source, and how many of both the destination took."""

    waiting: int
    failed: int
    brought: int


def move(source: Movable, destination: Movable, brought: Progress) -> Moved:
    """Carry everything over. Raises VdeviceError; nothing is lost then, and the same again goes on."""
    name = source.begin()
    contents = source.contents()
    count = destination.bring(contents, name, brought)
    if missing := destination.missing(contents, name):
        raise VdeviceError(
            f"{missing} of {len(contents.waiting) + len(contents.failed)} messages are not in the other outbox, so nothing was "
            "removed from this one; see what else uses the other one, then move again"
        )
    source.clear(contents)
    return Moved(len(contents.waiting), len(contents.failed), count)


def open_movable(config: Config) -> AbstractContextManager[Movable]:
    """Return the outbox that `outbox.url` names, to be opened. Raises VdeviceError, also where a device runs on it."""
    if config.outbox.is_nats:
        from vdevice.outbox.jetstream import move as nats_move  # noqa: PLC0415 (imported only where it is needed)

        return nats_move.opened(config)
    return sqlite_move.opened(config.outbox_file)
