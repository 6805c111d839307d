"""What no request waits for is stored in order, and a target without room holds up its own messages only."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.errors import OutboxFailingError, OutboxFullError, OutboxLateError
from vdevice.modbus import unstored
from vdevice.modbus.unstored import Unstored
from vdevice.model import Event, Stored


def event(target: int, number: int) -> Event:
    return Event(f"{number:032}", target, str(number), 0.0, "plc", f"target/{target}", str(number))


class Store:
    """Takes the messages of some targets, at once or a turn of the loop later."""

    def __init__(self, waiting: Unstored) -> None:
        self.waiting = waiting
        self.full: set[int] = set()
        self.failing: set[int] = set()
        self.stored: list[Event] = []
        self.later: list[Sequence[Event]] = []

    def put(self, events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
        targets = {one.target for one in events}
        if targets & self.full:
            raise OutboxFullError("no room")
        done: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        if targets & self.failing:
            done.set_exception(OutboxFailingError("no disk"))
        else:
            self.stored += events
            asyncio.get_running_loop().call_soon(done.set_result, [])
        if self.later:
            # Another text completes meanwhile.
            self.waiting.add(self.later.pop())
        return done


targets = st.sets(st.integers(1, 4))


@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True), max_size=20),
    st.lists(st.tuples(targets, targets), max_size=5),
)
def test_each_target_gets_all_in_order(batches: list[list[int]], trouble: list[tuple[set[int], set[int]]]) -> None:
    async def work() -> None:
        waiting = Unstored()
        store = Store(waiting)
        made = [[event(target, number) for target in batch] for number, batch in enumerate(batches)]
        half = len(made) // 2
        for batch in made[:half]:
            waiting.add(batch)
        store.later = list(reversed(made[half:]))
        for store.full, store.failing in trouble:
            await waiting.store(store.put, 5)
        store.full, store.failing = set(), set()
        while len(waiting) or store.later:
            if not len(waiting):
                waiting.add(store.later.pop())
            assert await waiting.store(store.put, 5)
        for target in range(1, 5):
            wanted = [one for batch in made for one in batch if one.target == target]
            assert [one for one in store.stored if one.target == target] == wanted

    asyncio.run(work())


def test_a_target_has_no_room_for_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unstored, "MOST_UNSTORED", 2)

    async def work() -> None:
        waiting = Unstored()
        store = Store(waiting)
        for number in range(2):
            waiting.check_room(7)
            waiting.add([event(7, number)])
        with pytest.raises(OutboxFullError):
            waiting.check_room(7)
        waiting.check_room(8)
        assert await waiting.store(store.put, 5)
        waiting.check_room(7)

    asyncio.run(work())


async def test_what_the_outbox_did_not_answer_in_time_is_waited_for_and_not_stored_again() -> None:
    asked: list[asyncio.Future[list[Stored]]] = []

    def put(_events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
        asked.append(asyncio.get_running_loop().create_future())
        return asked[-1]

    waiting = Unstored()
    waiting.add([event(1, 1)])
    waiting.add([event(2, 2)])
    for _ in range(3):
        with pytest.raises(OutboxLateError):
            await waiting.store(put, 0.01)
    assert len(asked) == 1
    asked[0].set_exception(OutboxFailingError("its writer ended"))
    assert not await waiting.store(lambda _events: done([]), 1)
    assert len(waiting) == 1
    assert await waiting.store(lambda _events: done([]), 1)
    assert len(waiting) == 0


async def test_what_cannot_be_stored_does_not_stop_what_follows() -> None:
    stored: list[int] = []

    def put(events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
        if events[0].target == 1:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "nobody expects this")
        stored.append(events[0].target)
        return done([])

    waiting = Unstored()
    waiting.add([event(1, 1)])
    waiting.add([event(2, 2)])
    assert await waiting.store(put, 1)
    assert stored == [2]
    waiting.check_room(1)


def done(result: list[Stored]) -> asyncio.Future[list[Stored]]:
    future: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
    future.set_result(result)
    return future
