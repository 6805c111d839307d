import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.modbus import frames
from vdevice.modbus.frames import Frame, FrameError

frame = st.builds(Frame, st.integers(0, 65535), st.integers(0, 255), st.binary(min_size=1, max_size=253))


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


@pytest.mark.parametrize("length", [0, 1, 255, 65535])
def test_a_false_length_is_refused(length: int) -> None:
    with pytest.raises(FrameError, match="length"):
        frames.take(bytearray(struct.pack(">HHHB", 1, 0, length, 1) + b"\x03" * 300))


@pytest.mark.parametrize("size", [4, 7, 20])
def test_another_protocol_is_refused_as_soon_as_it_is_seen(size: int) -> None:
    with pytest.raises(FrameError, match="protocol"):
        frames.take(bytearray(b"GET / HTTP/1.1\r\n\r\n  "[:size]))
