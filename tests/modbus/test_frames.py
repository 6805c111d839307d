import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.modbus import frames
from vdevice.modbus.frames import Frame, FrameError

frame = st.builds(Frame, st.integers(0, 65535), st.integers(0, 255), st.binary(min_size=1, max_size=511))


def drain(buffer: bytearray) -> list[Frame]:
    found = []
    while one := frames.take(buffer):
        found.append(one)
    return found


@given(st.lists(frame, max_size=8), st.lists(st.integers(1, 400), max_size=40))
def test_any_split_of_the_bytes_gives_the_same_frames(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frames.encode(one, one.pdu) for one in sent)
    buffer, got, position = bytearray(), [], 0
    for size in [*cuts, len(stream) + 1]:
        buffer += stream[position : position + size]
        position += size
        got += drain(buffer)
    assert got == sent
    assert not buffer


@pytest.mark.parametrize("length", [0, 1, 513, 65535])
def test_a_false_length_is_refused(length: int) -> None:
    with pytest.raises(FrameError, match="length"):
        frames.take(bytearray(struct.pack(">HHHB", 1, 0, length, 1) + b"\x03" * 600))


@pytest.mark.parametrize("size", [4, 7, 20])
def test_another_protocol_is_refused_as_soon_as_it_is_seen(size: int) -> None:
    with pytest.raises(FrameError, match="protocol"):
        frames.take(bytearray(b"GET / HTTP/1.1\r\n\r\n  "[:size]))


def rtu(body: str) -> bytes:
    """Return a frame with its CRC, worked out bit by bit as the serial line specification has it (6.2.2)."""
    crc = 0xFFFF
    for byte in bytes.fromhex(body):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return bytes.fromhex(body) + crc.to_bytes(2, "little")


RTU = {
    "read of ten registers": "01030000000A",
    "read of two, which Modbus/TCP reads as a whole frame": "010300000002",
    "read input registers": "0104 1B58 0032",
    "coil": "01050003FF00",
    "register": "01061B584869",
    "registers": "0110 1B58 0002 04 48692100",
    "coils": "010F 0008 0003 01 05",
    "mask": "0116 0004 00F2 0025",
    "read and write": "0117 1B58 0001 1B58 0001 02 4869",
    "server id": "0111",
    "identity": "012B0E0100",
}


@pytest.mark.parametrize("body", RTU.values(), ids=RTU.keys())
def test_an_rtu_frame_is_recognised_also_with_another_one_behind_it(body: str) -> None:
    frame = rtu(body)
    assert frames.serial_kind(frame) == frames.serial_kind(frame + frame) == "RTU"
    assert frames.serial_kind(frame[:-1]) == frames.serial_kind(frame[:-1] + b"\0") == ""


def test_an_ascii_frame_is_recognised() -> None:
    # The example of the serial line specification is a read of diagnostic data; this is one of a register.
    assert frames.serial_kind(b":010300000001FB\r\n") == "ASCII"
    assert frames.serial_kind(b":010300000001FA\r\n") == frames.serial_kind(b":0103000000") == ""


@given(st.binary(max_size=300))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    assert frames.serial_kind(data) in {"", "RTU", "ASCII"}


def test_a_request_that_has_the_check_sum_of_an_rtu_frame_by_chance_is_one_of_modbus_tcp() -> None:
    found = 0
    for transaction in range(1, 1 << 16, 64):
        head = struct.pack(">HHH", transaction, 0, 6)
        *_, unit, function = rtu(head.hex())
        buffer = bytearray(head + struct.pack(">BBHH", unit, function, 0, 1))
        if transaction & 0xFF in {1, 2, 3, 4} and function in {3, 4}:
            found += 1
            assert frames.serial_kind(bytes(buffer)) == "RTU"
            frames.check_not_serial(buffer)
    assert found
    with pytest.raises(FrameError, match="RTU"):
        frames.check_not_serial(bytearray(rtu("010300000002")))
