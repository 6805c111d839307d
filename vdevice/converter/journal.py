"""What may have to be undone: assignments whose messages are not stored yet, and what was there before them.

Pure. Several changes may be open at once, over the same registers and values; each is kept or undone when its messages
are stored or not, in any order. What is there in the end is as if those that were undone had never been.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence
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


class Journal:
    """The assignments of open changes in order, by their store and key; the stores live as long as the journal."""

    def __init__(self) -> None:
        self._open: dict[int, dict[Hashable, list[Assignment]]] = {}

    def __len__(self) -> int:
        return sum(len(places) for places in self._open.values())

    def open(self, assignments: Iterable[Assignment]) -> None:
        """Take assignments that were made just now, and may have to be undone."""
        for one in assignments:
            self._open.setdefault(id(one.store), {}).setdefault(one.key, []).append(one)

    def keep(self, assignments: Iterable[Assignment]) -> None:
        """Let open assignments stay; what they replaced comes back no more."""
        for one in assignments:
            there = self._there(one)
            if one in there:
                del there[: there.index(one) + 1]
                self._forget_empty(one, there)

    def overwrite(self, assignments: Iterable[Assignment]) -> None:
        """Let assignments stay that were made just now, and never were open."""
        for one in assignments:
            self.forget(one.store, one.key)

    def undo(self, assignments: Sequence[Assignment]) -> None:
        """Take open assignments back, where none that stays was made over them since."""
        for one in reversed(assignments):
            there = self._there(one)
            if one not in there:
                continue
            index = there.index(one)
            if index + 1 < len(there):
                there[index + 1].before = one.before
            else:
                one.store[one.key] = one.before
            del there[index]
            self._forget_empty(one, there)

    def forget(self, store: Store, key: Hashable) -> None:
        """Forget a place that is no more."""
        places = self._open.get(id(store))
        if places and places.pop(key, None) is not None and not places:
            del self._open[id(store)]

    def places(self, store: Store) -> Collection[Hashable]:
        """Return the keys that open changes have assigned to."""
        return self._open.get(id(store), ())

    def _there(self, one: Assignment) -> list[Assignment]:
        return self._open.get(id(one.store), {}).get(one.key, [])

    def _forget_empty(self, one: Assignment, there: list[Assignment]) -> None:
        if not there:
            self.forget(one.store, one.key)
