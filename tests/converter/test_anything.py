"""Any points, values and chains of rules: nothing but a change comes out, and one that fails leaves no trace."""

import contextlib
import itertools
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.test_load import FOLDER
from vdevice.config import Config
from vdevice.config.load import parse
from vdevice.config.schema import REGISTERS_OF, Point, Rule, When
from vdevice.converter import points
from vdevice.converter.change import Origin
from vdevice.converter.rules import Converter
from vdevice.converter.values import Kind, Value, convert
from vdevice.errors import ConversionError

BASE = parse("".join(f'[targets.{n}]\nmethod = "get"\nurl = "http://x/"\n' for n in (1, 2)), FOLDER)
ORIGIN = Origin("10.0.0.5", "plc", 1_750_000_000.0, 0.0)
STEP = 40
"""Registers between two points."""

digits = st.integers(300, 6000).map(lambda count: "9" * count)
odd = [
    "1e400",
    "-1e999",
    "nan",
    "inf",
    "1e308",
    "0.0000001",
    "",
    "true",
    "\ud800",
    "1" * 400,
    "1" * 401,
    "." + "0" * 500,
]
# Hypothesis prints its strategies, and Python prints no integer of 5,000 digits.
huge = st.just(5000).map(lambda digits: -(10**digits))
numbers = st.floats() | st.floats(width=32) | st.integers() | st.sampled_from([10**400, 2**63]) | huge
values: st.SearchStrategy[Value] = numbers | st.booleans() | st.text(max_size=30) | digits | st.sampled_from(odd)
scales = st.sampled_from([1.0, 0.1, -3.0, 5e-324, 1e-300, 1.7e308, -1e200]) | st.floats(
    allow_nan=False, allow_infinity=False
)
orders = st.sampled_from(["big", "little"])


@st.composite
def point(draw: st.DrawFn, number: int = 0) -> Point:
    kind = draw(st.sampled_from([*REGISTERS_OF, "string", "bool", "coil"]))
    place: dict[str, Any] = {"name": f"p{number}", "space": "holding", "address": STEP * number, "type": kind}
    if kind == "coil":
        place |= {"space": "coil", "type": "bool"}
    elif kind == "bool":
        place["bit"] = draw(st.integers(0, 15))
    elif kind == "string":
        place |= {"length": draw(st.integers(1, STEP)), "byte_order": draw(orders)}
    else:
        scale = draw(scales)
        place |= {"scale": scale or 1.0, "offset": draw(scales), "word_order": draw(orders), "byte_order": draw(orders)}
    return Point(**place)


limits = st.none() | st.floats()
conditions = st.none() | st.builds(
    When, above=limits, below=limits, equals=limits | st.text(max_size=3) | st.booleans(),
    hysteresis=st.floats(0, allow_nan=False),
)  # fmt: skip


@st.composite
def rule(draw: st.DrawFn, count: int) -> Rule:
    source = draw(st.integers(0, count - 1))
    there = ["target/1", "target/2", *(f"p{number}" for number in range(source + 1, count))]
    return Rule(
        source=f"p{source}",
        trigger=draw(st.sampled_from(["write", "write", "change", "rising", "falling"])),
        when=draw(conditions),
        map=draw(
            st.dictionaries(st.sampled_from(["1", "0", "true", "1.0", ""]), st.text(max_size=5) | digits, max_size=2)
        ),
        template=draw(
            st.none() | st.sampled_from(["$VALUE", "$VALUE$VALUE", "9$VALUE", "-", "1e$VALUE", "$SOURCEVALUE"])
        ),
        destinations=draw(st.lists(st.sampled_from(there), min_size=1, max_size=3)),
        delay=draw(st.sampled_from([0, 0, 0, 2])),
        min_interval=draw(st.sampled_from([0, 0, 60])),
    )


@st.composite
def config(draw: st.DrawFn) -> Config:
    count = draw(st.integers(1, 5))
    places = tuple(draw(point(number)) for number in range(count))
    return msgspec.structs.replace(
        BASE, points=places, rules=tuple(draw(st.lists(rule(count), min_size=1, max_size=6)))
    )


writes = st.lists(
    st.tuples(st.sampled_from(["holding", "coil"]), st.integers(0, 5 * STEP), st.binary(min_size=2, max_size=2 * STEP)),
    min_size=1, max_size=6,
)  # fmt: skip
specials = [struct.pack(">d", number) for number in (float("nan"), float("inf"), 1.7e308, 5e-324)]


def registers(data: bytes) -> bytes:
    return data[: len(data) // 2 * 2]


def traces(converter: Converter) -> object:
    """Return all that a converter remembers."""
    known = {name: value for name, value in converter._last.items() if value is not None}
    fired = {key: at for key, at in converter._fired_at.items() if at != float("-inf")}
    halves = {client: dict(waiting) for client, waiting in converter.image._partial.items() if waiting}
    image = (converter.image.read("holding", 0, 900), converter.image.read("coil", 0, 900))
    return repr(
        (known, dict(converter._held), fired, halves, image, sorted(later.number for later in converter._later))
    )


@given(point(), values, st.binary(min_size=2 * STEP, max_size=2 * STEP))
def test_any_value_is_written_to_any_point_or_does_not_fit(place: Point, value: Value, raw: bytes) -> None:
    size = 2 * place.count if place.space == "holding" else 1
    with contextlib.suppress(ConversionError):
        assert len(points.encode(place, value, raw[:size])) == size
    with contextlib.suppress(ConversionError):
        points.decode(place, raw[:size])


@given(values, st.sampled_from(["bool", "int", "float", "string"]))
def test_any_value_is_converted_or_is_an_error(value: Value, kind: Kind) -> None:
    with contextlib.suppress(ConversionError):
        convert(value, kind)


@given(config(), writes, st.sampled_from([*specials, b""]))
def test_any_write_through_any_rules_is_a_change_and_leaves_no_trace_when_it_is_taken_back(
    settings: Config, happened: list[tuple[str, int, bytes]], special: bytes
) -> None:
    converter = Converter(settings, explain=True)
    for space, address, data in [*happened, *((("holding", 0, special),) if special else ())]:
        before = traces(converter)
        change = converter.write(space, address, registers(data), ORIGIN)
        if change is None:
            continue
        assert all(event.value.__class__ is str for event in change.events)
        converter.open(change)
        converter.take_back(change)
        assert traces(converter) == before
        again = converter.write(space, address, registers(data), ORIGIN)
        assert again is not None
        assert [event.value for event in again.events] == [event.value for event in change.events]
        converter.keep(again)
    assert len(list(converter.due(ORIGIN.now, 10.0))) >= 0


class _BrokenError(Exception):
    """What nobody expects."""


@given(config(), writes, st.integers(0, 3))
def test_what_fails_on_its_way_leaves_no_trace(
    settings: Config, happened: list[tuple[str, int, bytes]], good: int
) -> None:
    numbers = itertools.count()

    def new_id(_now: float) -> str:
        if next(numbers) >= good:
            raise _BrokenError
        return "id"

    converter = Converter(settings, new_id=new_id)
    for space, address, data in happened:
        before = traces(converter)
        try:
            change = converter.write(space, address, registers(data), ORIGIN)
        except _BrokenError:
            assert traces(converter) == before
        else:
            if change:
                converter.keep(change)


def test_the_generators_reach_what_they_are_for() -> None:
    with pytest.raises(ConversionError, match="too many for a number"):
        convert("9" * 401, "int")
    with pytest.raises(ConversionError, match="… does not fit int16"):
        points.encode(Point(name="p", space="holding", address=0, type="int16"), "9" * 400, b"")
    with pytest.raises(ConversionError, match="too large"):
        points.encode(Point(name="p", space="holding", address=0, type="float64", scale=5e-324), 1.7e308, b"")
