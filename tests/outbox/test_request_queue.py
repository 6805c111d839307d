"""The queue of requests to the writer, by every order of requests, batches, replies, waiting and losses."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.outbox.request_queue import OutOfTurnError, RequestQueue

LIMIT = 4.0


class Asked(NamedTuple):
    number: int
    asked_at: float
    is_put: bool
    seconds: float


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.booleans(), st.sampled_from([LIMIT, 10 * LIMIT])),
        st.tuples(st.just("send")),
        st.tuples(st.just("reply"), st.integers(0, 6)),
        st.tuples(st.just("wait"), st.floats(0, 6)),
        st.tuples(st.just("late")),
        st.tuples(st.just("lose")),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 3))
def test_every_request_comes_out_exactly_once(steps: list[tuple[object, ...]], puts_at_once: int) -> None:
    queue: RequestQueue[Asked] = RequestQueue(puts_at_once)
    now, added = 0.0, 0
    out: list[int] = []
    under_way: list[Asked] = []
    for step in steps:
        match step:
            case ("add", bool(is_put), float(seconds)):
                queue.add(Asked(added, now, is_put, seconds))
                added += 1
            case ("send",):
                batch = queue.next_batch(now)
                assert not (under_way and batch), "one batch at a time"
                assert sum(asked.is_put for asked in batch) <= puts_at_once
                under_way = under_way or batch
            case ("reply", int(count)):
                if not 0 < count <= len(under_way):
                    with pytest.raises(OutOfTurnError):
                        queue.answered(count, now)
                    continue
                assert queue.answered(count, now) == under_way[:count], "in the order in which they were sent"
                out += [asked.number for asked in under_way[:count]]
                under_way = under_way[count:]
            case ("wait", float(seconds)):
                now += seconds
            case ("late",):
                late = queue.take_late(now, LIMIT)
                out += [asked.number for asked in late]
                assert all(now - asked.asked_at >= LIMIT for asked in late)
                assert not {*late} & {*under_way}, "what is sent stays, or the next reply would be for another one"
                assert not under_way or queue.age(now) >= now - max(asked.asked_at for asked in under_way)
            case ("lose",):
                sent, unsent = queue.clear()
                assert sent == under_way
                out += [asked.number for asked in (*sent, *unsent)]
                under_way = []
        assert len(queue) == added - len(out)
        assert bool(queue._sent) == bool(under_way)
    out += [asked.number for part in queue.clear() for asked in part]
    assert sorted(out) == list(range(added))


def test_a_writer_is_stuck_when_it_takes_too_long_for_its_batch_and_not_when_it_answers_a_part() -> None:
    queue: RequestQueue[Asked] = RequestQueue(10)
    assert not queue.is_stuck(1e9)
    for number in range(3):
        queue.add(Asked(number, 0.0, True, LIMIT))
    queue.next_batch(100.0)
    assert not queue.is_stuck(100.0 + LIMIT - 0.01), "it has not had them for longer"
    assert queue.is_stuck(100.0 + LIMIT)
    queue.answered(1, 100.0 + LIMIT)
    assert not queue.is_stuck(100.0 + LIMIT + 1)
    queue.answered(2, 105.0)
    assert not queue.is_stuck(1e9)


def test_a_batch_with_a_slow_request_may_take_its_time() -> None:
    queue: RequestQueue[Asked] = RequestQueue(10)
    queue.add(Asked(0, 0.0, True, LIMIT))
    queue.add(Asked(1, 0.0, False, 30.0))
    queue.next_batch(0.0)
    assert not queue.is_stuck(29.0)
    queue.add(Asked(2, 1.0, True, LIMIT))
    assert [asked.number for asked in queue.take_late(29.0, LIMIT)] == [2], "what waits behind it need not"
    assert queue.is_stuck(30.0)


def test_the_age_is_that_of_the_oldest_without_a_reply() -> None:
    queue: RequestQueue[Asked] = RequestQueue(1)
    assert queue.age(5.0) == 0
    for number in range(3):
        queue.add(Asked(number, float(number), True, LIMIT))
    queue.next_batch(3.0)
    assert queue.age(10.0) == 10
    queue.answered(1, 10.0)
    assert queue.age(10.0) == 9
