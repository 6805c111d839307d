"""Who still has room in the outbox: a target may have as many messages waiting as there are places free.

So no target can use up what is there for all. One that takes nothing any more gets half of the places, two get a third
each, and every other one still finds room.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from vdevice.board import Board
from vdevice.errors import OutboxFullError


def first_without_room(targets: Sequence[int], waiting: Callable[[int], int], free: int) -> int | None:
    """Return the first target without room for its message, None where all fit: one message for each of `targets`.

    `waiting` says how many a target has already, `free` is how many places are free for all.
    """
    if len(targets) == 1:
        # Nearly all requests: a Counter costs more than the rest.
        return targets[0] if waiting(targets[0]) >= free else None
    added: Counter[int] = Counter()
    for count, target in enumerate(targets):
        if waiting(target) + added[target] >= free - count:
            return target
        added[target] += 1
    return None


class Room:
    """The places of an outbox, `most` of them. What is on its way, `arriving`, counts as waiting; it shows who is full."""

    def __init__(self, board: Board, most: int) -> None:
        self.most = most
        self._board = board
        self.arriving = 0
        self.is_shut = False
        self._arriving: Counter[int] = Counter()

    @property
    def free(self) -> int:
        """How many messages fit in all; below 0 where `most` became smaller than what waits, 0 where what is below is full."""
        return 0 if self.is_shut else self.most - self._board.waiting - self.arriving

    def reserve(self, targets: Sequence[int]) -> None:
        """Take places for the messages of one request, one for each of `targets`, all or none. Raises OutboxFullError."""
        full = first_without_room(targets, self._waiting, self.free)
        if full is not None:
            self._show_full(full, full=True)
            raise OutboxFullError(
                f"{self._waiting(full)} messages of target {full} wait, and {max(self.free, 0)} of {self.most} places are "
                "free (outbox.max_messages)",
                full,
            )
        for target in targets:
            self._show_full(target, full=False)
            self._arriving[target] += 1
        self.arriving += len(targets)
        self.show()

    def release(self, targets: Sequence[int]) -> None:
        """Give back the places: what was stored is counted as waiting now."""
        for target in targets:
            self._arriving[target] -= 1
        self.arriving -= len(targets)
        self.show()

    def show(self) -> None:
        """Show whether no place is free for any target."""
        self._board.outbox_full = self.free <= 0

    def _show_full(self, target: int, *, full: bool) -> None:
        # A number that is no target's is refused by whoever stores it, as a message that cannot be.
        if state := self._board.targets.get(target):
            state.full = full

    def _waiting(self, target: int) -> int:
        state = self._board.targets.get(target)
        return (state.queued if state else 0) + self._arriving[target]
