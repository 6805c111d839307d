"""The process image of the device block: 900 holding registers and 900 coils, and the points that rules watch in them.

A write that covers a part of a point changes the registers, and makes the point whole only together with the write
requests of the same connection that directly follow (docs/plc.md); a connection that was closed leaves its halves to the
next one of its address. A string is whole from its first register to its NUL.
"""

from collections.abc import Hashable

import msgspec

from vdevice.config.schema import Point
from vdevice.converter import points
from vdevice.converter.journal import Assignment, Journal, Store
from vdevice.converter.values import Value
from vdevice.model import POINTS

Writer = Hashable
"""Whose half-written points: a connection, or the address that closed ones left theirs to."""

MOST_CLIENTS = 1000
"""Writers whose half-written points are remembered; the one that was longest away is forgotten first."""


class Patch(msgspec.Struct, frozen=True):
    """What one write replaced, and the halves of the client's points that it made whole or forgot."""

    space: str
    address: int
    before: bytes
    after: bytes
    client: Writer = ""
    halves: dict[str, int] | None = None


class Image:
    """The registers and coils; `watch` says which points matter."""

    def __init__(self) -> None:
        self._cells = {"holding": bytearray(2 * POINTS), "coil": bytearray(POINTS)}
        self._numbers: dict[str, Store] = {
            "holding": memoryview(self._cells["holding"]).cast("H"), "coil": self._cells["coil"],
        }  # fmt: skip
        self._at: dict[tuple[str, int], tuple[Point, ...]] = {}
        self._watched = {"holding": bytearray(POINTS), "coil": bytearray(POINTS)}
        self._partial: dict[Writer, dict[str, int]] = {}

    def watch(self, watched: list[Point]) -> None:
        """Watch these points from now on; halves that are waiting are forgotten."""
        at: dict[tuple[str, int], list[Point]] = {}
        self._watched = {"holding": bytearray(POINTS), "coil": bytearray(POINTS)}
        for point in watched:
            for address in range(point.address, point.end):
                at.setdefault((point.space, address), []).append(point)
                self._watched[point.space][address] = 1
        self._at = {place: tuple(there) for place, there in at.items()}
        # Another dict: what open changes put back belongs to the points that were.
        self._partial = {}

    def read(self, space: str, address: int, count: int) -> bytes:
        """Return registers, two bytes each, or coils, a byte each."""
        width = _width(space)
        return bytes(self._cells[space][width * address : width * (address + count)])

    def value(self, point: Point) -> Value:
        """Return the value that a point has now. Raises ConversionError."""
        return points.decode(point, self.read(point.space, point.address, point.count))

    def write(self, space: str, address: int, data: bytes, client: Writer, bits: int = -1) -> tuple[Patch, list[Point]]:
        """Write as a client did; return what it replaced, and the watched points that are whole now, by address.

        `bits` are those that the request wrote of each register; a bool among the others was not written.
        """
        count = len(data) // _width(space)
        halves = self._partial.pop(client, None) if self._partial else None
        patch = self.put(space, address, data, client, halves)
        if self._watched[space].find(1, address, address + count) < 0:
            return patch, []
        touched = {
            point.name: point
            for place in range(address, address + count)
            for point in self._at.get((space, place), ())
            if point.bit is None or bits >> point.bit & 1
        }
        whole, waiting = [], {}
        for point in touched.values():
            written = _mask(point, address, count) | (halves or {}).get(point.name, 0)
            if self._is_whole(point, written):
                whole.append(point)
            else:
                waiting[point.name] = written
        if waiting:
            if len(self._partial) >= MOST_CLIENTS:
                del self._partial[next(iter(self._partial))]
            self._partial[client] = waiting
        return patch, whole

    def leave(self, client: Writer, address: Writer) -> None:
        """Leave the halves of a closed connection to the next one of its address; those of two are nobody's."""
        halves = self._partial.pop(client, None)
        if halves and self._partial.pop(address, None) is None:
            self._partial[address] = halves

    def take_over(self, client: Writer, address: Writer) -> None:
        """Give a new connection the halves that a closed one of its address left."""
        if address in self._partial:
            self._partial[client] = self._partial.pop(address)

    def put(
        self, space: str, address: int, data: bytes, client: Writer = "", halves: dict[str, int] | None = None
    ) -> Patch:
        """Write without looking at points."""
        start = _width(space) * address
        cells = self._cells[space]
        before = bytes(cells[start : start + len(data)])
        cells[start : start + len(data)] = data
        return Patch(space, address, before, data, client, halves)

    def assignments(self, patch: Patch, journal: Journal) -> list[Assignment]:
        """Return what a write assigned, register by register: those that it changed, or that another change has open."""
        store, width = self._numbers[patch.space], _width(patch.space)
        open_elsewhere = journal.places(store)
        # Numbers in the order of this machine, as the store has them.
        before = memoryview(patch.before).cast("H" if width == 2 else "B")
        after = memoryview(patch.after).cast("H" if width == 2 else "B")
        changed = [
            Assignment(store, address, old)
            for address, (old, new) in enumerate(zip(before, after, strict=True), patch.address)
            if old != new or address in open_elsewhere
        ]
        return changed if patch.halves is None else [*changed, Assignment(self._partial, patch.client, patch.halves)]

    def take_back(self, patch: Patch) -> None:
        """Undo a write that nobody else has seen yet."""
        self.put(patch.space, patch.address, patch.before)
        if patch.halves is not None:
            self._partial[patch.client] = patch.halves

    def _is_whole(self, point: Point, written: int) -> bool:
        if written == (1 << point.count) - 1:
            return True
        if point.type != "string":
            return False
        # As many registers as were written from the first one on.
        first = (~written & (written + 1)).bit_length() - 1
        return 0 in self.read(point.space, point.address, first)


def _width(space: str) -> int:
    return 2 if space == "holding" else 1


def _mask(point: Point, address: int, count: int) -> int:
    """Return a bit for each register of the point that a write covers, the first one lowest."""
    first = max(address, point.address) - point.address
    last = min(address + count, point.end) - point.address
    return (1 << last) - (1 << first)
