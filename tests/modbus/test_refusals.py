"""A client that repeats its mistake is counted each time, and logged once in a while."""

import structlog
from hypothesis import given
from hypothesis import strategies as st

from vdevice.board import Board
from vdevice.modbus import refusals
from vdevice.modbus.refusals import Refusals, Repeats


def test_each_refusal_is_counted_and_the_log_says_how_many_it_kept_back() -> None:
    board, now = Board(), [0.0]
    told = Refusals(board, lambda: now[0])
    with structlog.testing.capture_logs() as lines:
        for _ in range(1000):
            told.refuse("not text", 7, "plc", "byte 0 is not utf-8")
            now[0] += 0.1
        told.refuse("not text", 8, "plc", "byte 0 is not utf-8")
    assert board.targets[7].refused == 1000
    assert board.targets[8].refused == 1
    assert [(line["target"], line.get("not_logged")) for line in lines] == [(7, None), (7, 599), (8, None)]
    assert lines[0] == {
        "event": "not text",
        "log_level": "warning",
        "target": 7,
        "client": "plc",
        "reason": "byte 0 is not utf-8",
        "refused": 1,
    }


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), max_size=200))
def test_lines_and_what_they_say_was_kept_back_are_all_that_happened(happened: list[tuple[int, float]]) -> None:
    repeats, now = Repeats(), 0.0
    counted, last = dict.fromkeys(range(6), 0), dict[int, float]()
    pending = dict.fromkeys(range(6), 0)
    for target, seconds in happened:
        now += seconds
        counted[target] += 1
        kept_back = repeats.count(("not text", "plc", target), now)
        if kept_back is None:
            assert now - last[target] < refusals.QUIET_SECONDS
            pending[target] += 1
        else:
            assert kept_back == pending[target]
            pending[target] = 0
            last[target] = now


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats()
    for number in range(3 * refusals.MOST_KEYS):
        assert repeats.count(("not text", f"10.0.{number}", 7), 0.0) == 0
    assert len(repeats) == refusals.MOST_KEYS
