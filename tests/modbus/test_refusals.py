"""A client that repeats its mistake is counted each time, and logged once in a while."""

import structlog

from vdevice.board import Board
from vdevice.modbus.refusals import Refusals


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
