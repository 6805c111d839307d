import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.config.schema import Point
from vdevice.converter import points
from vdevice.converter.values import Value
from vdevice.errors import ConversionError

orders = st.sampled_from(["big", "little"])
numbers = st.one_of(
    st.tuples(st.just("int16"), st.integers(-(2**15), 2**15 - 1)),
    st.tuples(st.just("uint16"), st.integers(0, 2**16 - 1)),
    st.tuples(st.just("int32"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("uint32"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("int64"), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("float32"), st.floats(width=32)),
    st.tuples(st.just("float64"), st.floats()),
)


def point(kind: str, **settings: object) -> Point:
    return Point(name="p", space="holding", address=0, type=kind, **settings)  # type: ignore[arg-type]


@given(numbers, orders, orders)
def test_a_number_comes_back_as_it_was(number: tuple[str, Value], word_order: str, byte_order: str) -> None:
    kind, value = number
    place = point(kind, word_order=word_order, byte_order=byte_order)
    data = points.encode(place, value, b"")
    assert len(data) == 2 * place.count
    found = points.decode(place, data)
    if isinstance(value, float) and math.isnan(value):
        assert isinstance(found, float)
        assert math.isnan(found)
    elif kind == "float32":
        assert struct.pack(">f", found) == struct.pack(">f", value)
    else:
        assert found == value


@pytest.mark.parametrize(
    ("kind", "orders", "data", "value"),
    [
        ("int16", ("big", "big"), "FFFE", -2),
        ("int16", ("big", "little"), "FEFF", -2),
        ("uint32", ("big", "big"), "0001 0002", 0x10002),
        ("uint32", ("little", "big"), "0002 0001", 0x10002),
        ("uint32", ("big", "little"), "0100 0200", 0x10002),
        ("uint32", ("little", "little"), "0200 0100", 0x10002),
        ("float32", ("big", "big"), "42C8 0000", 100.0),
        ("float32", ("little", "big"), "CCCD 3DCC", 0.1),
        ("int64", ("little", "big"), "0004 0003 0002 0001", 0x1000200030004),
    ],
)
def test_worked_examples(kind: str, orders: tuple[str, str], data: str, value: Value) -> None:
    place = point(kind, word_order=orders[0], byte_order=orders[1])
    assert points.decode(place, bytes.fromhex(data)) == value
    assert points.encode(place, value, b"") == bytes.fromhex(data)


@given(st.integers(-(2**15), 2**15 - 1), st.sampled_from([0.1, 0.01, 10.0, -0.5]), st.sampled_from([0.0, -273.15, 5.0]))
def test_a_scaled_number_has_no_noise_and_comes_back(raw: int, scale: float, offset: float) -> None:
    place = point("int16", scale=scale, offset=offset)
    value = points.decode(place, struct.pack(">h", raw))
    assert isinstance(value, float)
    assert len(f"{value!r}".partition(".")[2]) <= 4
    assert points.encode(place, value, b"") == struct.pack(">h", raw)


@given(st.integers(0, 15), st.integers(0, 0xFFFF), st.booleans())
def test_a_bit_leaves_the_other_bits(bit: int, register: int, value: bool) -> None:  # noqa: FBT001
    place = point("bool", bit=bit)
    data = points.encode(place, value, register.to_bytes(2))
    assert points.decode(place, data) is value
    assert (int.from_bytes(data) ^ register) & ~(1 << bit) == 0


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), orders)
def test_a_string_comes_back_or_does_not_fit(words: str, byte_order: str) -> None:
    place = point("string", length=10, byte_order=byte_order)
    if len(words.encode()) > 20:
        with pytest.raises(ConversionError, match="holds 20"):
            points.encode(place, words, b"")
        return
    data = points.encode(place, words, b"")
    assert len(data) == 20
    assert points.decode(place, data) == words


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int16", 32768),
        ("int16", "40000"),
        ("uint16", -1),
        ("uint32", 2**32),
        ("int64", 2**63),
        ("float32", 1e39),
        ("int32", math.nan),
        ("int32", "x"),
    ],
)
def test_what_does_not_fit_is_an_error(kind: str, value: Value) -> None:
    with pytest.raises(ConversionError):
        points.encode(point(kind), value, b"")


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(ConversionError, match="not utf-8"):
        points.decode(point("string", length=1), b"\xff\xfe")


def test_a_coil_is_a_byte() -> None:
    coil = Point(name="p", space="coil", address=0, type="bool")
    assert points.decode(coil, b"\x01") is True
    assert points.encode(coil, "true", b"\0") == b"\x01"
