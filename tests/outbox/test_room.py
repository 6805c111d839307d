"""Who has room: a target that takes nothing never uses up the places of the others."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.board import Board
from vdevice.errors import OutboxFullError
from vdevice.model import TARGETS
from vdevice.outbox.room import Room, first_without_room

requests = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), max_size=200)


def filled(most: int, *dead: int) -> Counter[int]:
    """Return how many messages wait when these targets are written to in turn, and none is ever delivered."""
    waiting: Counter[int] = Counter()
    refused: set[int] = set()
    while len(refused) < len(dead):
        for target in dead:
            if first_without_room([target], waiting.__getitem__, most - waiting.total()) is None:
                waiting[target] += 1
            else:
                refused.add(target)
    return waiting


def test_one_dead_target_gets_half_and_two_get_a_third_each() -> None:
    assert filled(100_000, 7) == {7: 50_000}
    assert filled(99_999, 7, 8) == {7: 33_333, 8: 33_333}
    assert filled(100_000, *range(1, 10)).total() == 90_000


@given(st.integers(1, 63), st.integers(64, 100_000))
def test_there_is_always_room_for_a_target_that_is_delivered_to(dead: int, most: int) -> None:
    waiting = filled(min(most, 2000), *range(1, dead + 1))
    assert first_without_room([64], waiting.__getitem__, min(most, 2000) - waiting.total()) is None


@given(requests, st.integers(1, 100))
def test_no_target_has_more_waiting_than_were_free_and_the_whole_never_more_than_all(
    puts: list[list[int]], most: int
) -> None:
    waiting: Counter[int] = Counter()
    for targets in puts:
        free = most - waiting.total()
        full = first_without_room(targets, waiting.__getitem__, free)
        one_by_one = waiting.copy()
        for target in targets:
            fits = one_by_one[target] < most - one_by_one.total()
            if full is None:
                assert fits
            elif not fits:
                assert full == target
                break
            one_by_one[target] += 1
        else:
            assert full is None
        if full is None:
            waiting.update(targets)
        assert waiting.total() <= most


def test_a_request_that_does_not_fit_whole_takes_no_place() -> None:
    board = Board()
    room = Room(board, 4)
    room.reserve([7])
    with pytest.raises(OutboxFullError) as refused:
        room.reserve([8, 7, 7])
    assert refused.value.target == 7
    assert (room.arriving, room.free) == (1, 3)
    assert (board.targets[7].full, board.targets[8].full, board.outbox_full) == (True, False, False)
    room.reserve([8])
    assert board.targets[7].full, "another target's write says nothing about this one"


@given(requests, st.integers(1, 50))
def test_what_arrives_counts_until_it_is_stored_or_failed(puts: list[list[int]], most: int) -> None:
    board = Board()
    room = Room(board, most)
    under_way: list[list[int]] = []
    for number, targets in enumerate(puts):
        try:
            room.reserve(targets)
        except OutboxFullError:
            pass
        else:
            under_way.append(targets)
        if number % 3 == 2 and under_way:
            done = under_way.pop(0)
            if number % 2:
                for target in done:
                    board.count(target, accepted=1)
            room.release(done)
        assert room.arriving == sum(map(len, under_way))
        assert board.waiting + room.arriving <= most
        assert board.outbox_full is (room.free == 0)


def test_a_target_that_is_removed_is_not_full_for_ever() -> None:
    board = Board()
    board.configure({7: True, 8: True})
    room = Room(board, 1)
    room.reserve([7])
    for target in (7, 8):
        with pytest.raises(OutboxFullError):
            room.reserve([target])
    board.configure({8: False})
    assert (board.targets[7].full, board.targets[8].full) == (False, True)


def test_fewer_places_than_wait_are_no_places() -> None:
    board = Board()
    board.count(7, accepted=10)
    room = Room(board, 5)
    room.show()
    assert board.outbox_full
    for target in TARGETS:
        with pytest.raises(OutboxFullError, match="0 of 5 places"):
            room.reserve([target])
