import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.converter.values import Kind, Value, convert, to_text
from vdevice.errors import ConversionError

finite = st.floats(allow_nan=False, allow_infinity=False)

TABLE: list[tuple[Value, Kind, Value | None]] = [
    (True, "int", 1), (False, "int", 0), (True, "float", 1.0), (True, "string", "true"), (False, "string", "false"),
    (5, "bool", True), (0, "bool", False), (-5, "bool", False), (7, "float", 7.0), (-12, "string", "-12"),
    (0.5, "bool", True), (-0.5, "bool", False), (0.0, "bool", False),
    (2.9, "int", 2), (-2.9, "int", -2), (1e22, "int", 10**22),
    (0.1, "string", "0.1"), (2.0, "string", "2.0"), (1e22, "string", "10000000000000000000000.0"),
    (1e-7, "string", "0.0000001"), (-1.5e300, "float", -1.5e300),
    ("true", "bool", True), ("TRUE", "bool", True), ("1", "bool", True), ("0", "bool", False), ("yes", "bool", False),
    ("12", "bool", False), ("", "bool", False),
    ("12", "int", 12), (" -7 ", "int", -7), ("12.9", "int", 12), ("1e3", "int", 1000), ("12", "float", 12.0),
    (".5", "float", 0.5), ("", "int", None), ("x", "float", None), ("1_0", "int", None), ("0x1f", "int", None),
    ("nan", "float", None), ("inf", "float", None), ("1e999", "int", None), ("٣", "int", None), ("1,5", "float", None),
    (math.nan, "int", None), (math.inf, "int", None), (math.inf, "string", None), (math.nan, "bool", False),
    (10**400, "float", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "wanted"), TABLE)
def test_the_table_of_the_contract(value: Value, kind: Kind, wanted: Value | None) -> None:
    if wanted is None:
        with pytest.raises(ConversionError):
            convert(value, kind)
    else:
        found = convert(value, kind)
        assert (found, type(found)) == (wanted, type(wanted))


@given(finite)
def test_a_float_reads_back_from_its_text_and_has_a_point(value: float) -> None:
    words = to_text(value)
    assert "." in words
    assert "e" not in words.lower()
    assert convert(words, "float") == value
    assert Decimal(words) == Decimal(repr(value))


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_reads_back_from_its_text(value: int) -> None:
    assert convert(to_text(value), "int") == value


@given(
    finite | st.integers(-(2**63), 2**63) | st.booleans() | st.text(max_size=20),
    st.sampled_from(["bool", "int", "float", "string"]),
)
def test_every_value_is_of_the_kind_or_an_error(value: Value, kind: Kind) -> None:
    try:
        found = convert(value, kind)
    except ConversionError:
        assert isinstance(value, str)
        return
    assert type(found) is {"bool": bool, "int": int, "float": float, "string": str}[kind]
    assert convert(found, kind) == found


@given(finite)
def test_the_fraction_is_cut(value: float) -> None:
    assert convert(value, "int") == math.trunc(value)
