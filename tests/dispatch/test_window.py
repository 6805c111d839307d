"""What is held of a queue: everything once and in order, however offers, fetches and changes by others fall together."""

import contextlib
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support import event_of
from vdevice.dispatch.window import SIZE, Window
from vdevice.model import Stored


class Queue(RuleBasedStateMachine):
    """An outbox that stores, a lane that takes one after the other, and an operator who discards what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.waiting: list[int] = []
        self.flying: set[int] = set()
        self.taken: list[int] = []
        self.stored = 0
        self.read: contextlib.ExitStack | None = None
        self.take_found: Callable[[], None] = lambda: None

    @rule(count=st.integers(1, SIZE + 5))
    def store(self, count: int) -> None:
        for _ in range(count):
            self.stored += 1
            self.waiting.append(self.stored)
            self.window.offer(stored(self.stored))

    @precondition(lambda self: self.read is None and not self.window and self.window.has_more)
    @rule()
    def begin_to_fetch(self) -> None:
        self.read = contextlib.ExitStack()
        take = self.read.enter_context(self.window.reading())
        found = [stored(seq) for seq in self.waiting if seq > self.window.cursor][:SIZE]
        self.take_found = lambda: take(found, self.flying)

    @precondition(lambda self: self.read is not None)
    @rule(fails=st.booleans())
    def end_fetch(self, fails: bool) -> None:  # noqa: FBT001 (hypothesis gives keywords)
        assert self.read
        if not fails:
            self.take_found()
        self.read.close()
        self.read = None

    @rule()
    def take(self) -> None:
        taken = self.window.pop()
        if taken and taken.seq in self.waiting:
            assert taken.seq not in self.flying
            self.taken.append(taken.seq)
            self.flying.add(taken.seq)

    @precondition(lambda self: self.flying and self.read is None)
    @rule()
    def end_message(self) -> None:
        self.waiting.remove(self.flying.pop())

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(sorted(self.waiting)))
        if seq not in self.flying:
            self.waiting.remove(seq)
            self.window.clear()

    @invariant()
    def everything_is_taken_once_and_in_order(self) -> None:
        assert self.taken == sorted(set(self.taken))

    @invariant()
    def it_stays_small(self) -> None:
        assert len(self.window) <= SIZE

    def teardown(self) -> None:
        if self.read:
            self.end_fetch(fails=False)
        while self.flying:
            self.end_message()
        while self.window or self.window.has_more:
            if not self.window:
                self.begin_to_fetch()
                self.end_fetch(fails=False)
            self.take()
            while self.flying:
                self.end_message()
        assert not self.waiting, "something waits that nobody takes"


def stored(seq: int) -> Stored:
    return Stored(seq, event_of(str(seq)), 0.0)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
