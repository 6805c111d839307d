import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.board import Board, TargetState
from vdevice.clean import to_ascii
from vdevice.model import ErrorCode
from vdevice.registers import layout

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
    state.refused = waiting
    data = layout.target_status(state)
    assert len(data) == 100
    row = layout.parse_target_status(list(struct.unpack(">50H", data)))
    assert row["accepted"] == accepted % 2**32
    assert row["delivered"] == delivered % 2**32
    assert row["failed"] == failed % 2**32
    assert row["queued"] == min(waiting, 65535)
    assert row["latency_ms"] == min(waiting, 65535)
    assert row["error"] == 99
    assert row["refused"] == waiting % 2**16
    assert row["accepted_seq"] == accepted % 2**16
    assert row["finished_seq"] == (accepted - waiting) % 2**16
    assert row["error_text"] == to_ascii(words, 64)


def test_device_registers_say_what_the_board_says() -> None:
    board = Board()
    board.waiting = 70_000
    board.connections["10.0.0.1"] = 3
    board.outbox_full = True
    row = layout.parse_device_status(list(struct.unpack(">50H", layout.device_status(board, "plant-7"))))
    assert row["map_version"] == 2
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
        layout.mirror_block(address, count) is not None,
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
    ("address", "count", "found"),
    [
        (7950, 50, (7, 0)),
        (7949, 2, None),
        (7900, 1, None),
        (999, 1, (0, 49)),
        (999, 2, None),
        (949, 1, None),
        (65_950, 1, None),
    ],
)
def test_the_status_mirror_is_found_by_address(address: int, count: int, found: tuple[int, int] | None) -> None:
    assert layout.mirror_block(address, count) == found


@given(st.integers(0, 64_999), st.integers(1, 125))
def test_input_registers_of_any_range_are_those_of_single_reads(address: int, count: int) -> None:
    board = Board()
    for number, state in board.targets.items():
        state.configured, state.accepted, state.error_text = True, 100_000 * number, f"error of {number}" * 5
    count = min(count, layout.INPUTS - address)
    whole = layout.input_registers(board, "plant", address, count)
    assert whole == b"".join(layout.input_registers(board, "plant", address + at, 1) for at in range(count))
    block, offset = divmod(address, 1000)
    known = layout.status(board, "plant", block)[2 * offset : 2 * offset + 2]
    assert whole[:2] == (known or bytes(2))


def test_discrete_inputs_can_be_read_as_one_block() -> None:
    board = Board()
    for state in board.targets.values():
        state.configured = state.enabled = True
    found = layout.discrete_inputs(board, 0, layout.DISCRETES)
    assert [number for number, value in enumerate(found) if value] == list(range(201, 265))


def test_discrete_inputs_show_busy_failed_enabled_full() -> None:
    board = Board()
    board.delivering = True
    board.targets[7] = TargetState(configured=True, enabled=True, accepted=1, error=ErrorCode.HTTP)
    assert layout.discrete_inputs(board, 0, 1) == [True]
    assert layout.discrete_inputs(board, 6, 3) == [False, True, False]
    assert layout.discrete_inputs(board, 107, 1) == [True]
    assert layout.discrete_inputs(board, 207, 1) == [True]
    assert layout.discrete_inputs(board, 307, 1) == [False]
    board.targets[7].full = True
    assert layout.discrete_inputs(board, 301, 64) == [number == 7 for number in range(1, 65)]
