import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.board import Board, TargetState
from vdevice.clean import to_ascii
from vdevice.model import ErrorCode
from vdevice.registers import layout
from vdevice.registers.layout import Space

counter = st.integers(0, 2**40)


@given(counter, counter, counter, st.integers(0, 10**9), st.text(max_size=200))
def test_status_registers_say_what_the_state_says(
    delivered: int, failed: int, discarded: int, waiting: int, words: str
) -> None:
    accepted = delivered + failed + discarded + waiting
    state = TargetState(
        configured=True, enabled=True, accepted=accepted, delivered=delivered, failed=failed, discarded=discarded
    )
    state.error, state.error_text, state.latency_ms = ErrorCode.INTERNAL, words, waiting
    data = layout.target_status(state)
    assert len(data) == 100
    row = layout.parse_target_status(list(struct.unpack(">50H", data)))
    assert row["accepted"] == accepted % 2**32
    assert row["delivered"] == delivered % 2**32
    assert row["failed"] == failed % 2**32
    assert row["queued"] == min(waiting, 65535)
    assert row["latency_ms"] == min(waiting, 65535)
    assert row["error"] == 99
    assert row["accepted_seq"] == accepted % 2**16
    assert row["finished_seq"] == (accepted - waiting) % 2**16
    assert row["error_text"] == to_ascii(words, 64)


def test_device_registers_say_what_the_board_says() -> None:
    board = Board()
    board.waiting = 70_000
    board.connections["10.0.0.1"] = 3
    board.outbox_full = True
    row = layout.parse_device_status(list(struct.unpack(">50H", layout.device_status(board, "plant-7"))))
    assert row["map_version"] == 1
    assert (row["queued"], row["connections"], row["device_id"]) == (65535, 3, "plant-7")
    assert row["flags"] == 0b101


@pytest.mark.parametrize("rows", [layout.TARGET_STATUS, layout.DEVICE_STATUS], ids=["target", "device"])
def test_the_tables_cover_fifty_registers_without_gap(rows: tuple[layout.Row, ...]) -> None:
    covered = [offset for row in rows for offset in range(row.offset, row.offset + row.count)]
    assert covered == list(range(50))


@given(st.integers(0, 65535), st.integers(1, 125))
def test_no_address_belongs_to_two_regions(address: int, count: int) -> None:
    regions = [
        layout.is_points(address, count),
        layout.text_target(address, count) is not None,
        layout.status_block(Space.HOLDING_REGISTERS, address, count) is not None,
    ]
    assert sum(regions) <= 1


@pytest.mark.parametrize(
    ("address", "count", "found"),
    [
        (1000, 1, (1, 0)),
        (1899, 1, (1, 899)),
        (1899, 2, None),
        (900, 1, None),
        (64_899, 1, (64, 899)),
        (65_000, 1, None),
    ],
)
def test_text_is_found_by_address(address: int, count: int, found: tuple[int, int] | None) -> None:
    assert layout.text_target(address, count) == found


@pytest.mark.parametrize(
    ("space", "address", "count", "found"),
    [
        (Space.INPUT_REGISTERS, 7000, 50, (7, 0)),
        (Space.INPUT_REGISTERS, 7049, 2, None),
        (Space.INPUT_REGISTERS, 0, 50, (0, 0)),
        (Space.HOLDING_REGISTERS, 7950, 50, (7, 0)),
        (Space.HOLDING_REGISTERS, 7949, 2, None),
        (Space.HOLDING_REGISTERS, 999, 1, (0, 49)),
        (Space.HOLDING_REGISTERS, 999, 2, None),
        (Space.INPUT_REGISTERS, 65_000, 1, None),
    ],
)
def test_status_is_found_by_address(space: Space, address: int, count: int, found: tuple[int, int] | None) -> None:
    assert layout.status_block(space, address, count) == found


@pytest.mark.parametrize(
    ("address", "count", "holds"),
    [(0, 65, True), (0, 66, False), (101, 64, True), (100, 1, False), (164, 2, False), (264, 1, True), (265, 1, False)],
)
def test_discrete_inputs_end_where_the_map_says(address: int, count: int, holds: bool) -> None:  # noqa: FBT001
    assert layout.is_discrete(address, count) is holds


def test_discrete_inputs_show_busy_failed_enabled() -> None:
    board = Board()
    board.delivering = True
    board.targets[7] = TargetState(configured=True, enabled=True, accepted=1, error=ErrorCode.HTTP)
    assert layout.discrete_inputs(board, 0, 1) == [True]
    assert layout.discrete_inputs(board, 6, 3) == [False, True, False]
    assert layout.discrete_inputs(board, 107, 1) == [True]
    assert layout.discrete_inputs(board, 207, 1) == [True]
