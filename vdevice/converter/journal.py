"""What may have to be undone: assignments whose messages are not stored yet, and what was there before them.

Pure. Several changes may be open at once, over the same registers and values; each is kept or undone when its messages
are stored or not, in any order. What is there in the end is as if those that were undone had never been.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol


class Store(Protocol):
    """What is assigned to: a dict, or registers as an array of numbers."""

    def __setitem__(self, key: Any, value: Any, /) -> None:  # noqa: ANN401 (each store has its own)
        """Assign."""


class Assignment:
    """One value that was replaced: where it stood, and what it was."""

    __slots__ = ("before", "key", "store")

    def __init__(self, store: Store, key: Hashable, before: object) -> None:
        self.store = store
        self.key = key
        self.before = before

    @property
    def place(self) -> tuple[int, Hashable]:
        """What tells its place from all others; the stores live as long as the journal."""
        return id(self.store), self.key


class Journal:
    """The assignments of open changes, by their place, in order."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, Hashable], list[Assignment]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, assignments: Iterable[Assignment]) -> None:
        """Take assignments that were made just now, and may have to be undone."""
        for one in assignments:
            self._open.setdefault(one.place, []).append(one)

    def keep(self, assignments: Iterable[Assignment]) -> None:
        """Let open assignments stay; what they replaced comes back no more."""
        for one in assignments:
            there = self._open.get(one.place, [])
            if one in there:
                self._set(one.place, there[there.index(one) + 1 :])

    def overwrite(self, assignments: Iterable[Assignment]) -> None:
        """Let assignments stay that were made just now, and never were open."""
        for one in assignments:
            self._open.pop(one.place, None)

    def undo(self, assignments: Sequence[Assignment]) -> None:
        """Take open assignments back, where none that stays was made over them since."""
        for one in reversed(assignments):
            there = self._open.get(one.place, [])
            if one not in there:
                continue
            index = there.index(one)
            if index + 1 < len(there):
                there[index + 1].before = one.before
            else:
                one.store[one.key] = one.before
            self._set(one.place, there[:index] + there[index + 1 :])

    def forget(self, store: Store, key: Hashable) -> None:
        """Forget a place that is no more."""
        self._open.pop((id(store), key), None)

    def is_open(self, store: Store, key: Hashable) -> bool:
        """Tell whether an open change has assigned to a place."""
        return (id(store), key) in self._open

    def _set(self, place: tuple[int, Hashable], there: list[Assignment]) -> None:
        if there:
            self._open[place] = there
        else:
            self._open.pop(place, None)
