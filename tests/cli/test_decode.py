"""`vdevice decode` shows every reading of registers, and marks the likely one."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.cli import decode
from vdevice.errors import ConfigError
from vdevice.registers import readings


def decoded(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    decode.decode(*words, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("words", [("4869", "2100"), ("48692100",), ("0x4869", "0x2100"), ("4869,2100",)])
def test_registers_are_taken_as_tools_show_them(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    found = decoded(capsys, *words)
    assert found["registers"] == ["4869", "2100"]
    (likely,) = [one for one in found["texts"] if one["likely"]]
    assert likely == {
        "format": "nul",
        "byte_order": "big",
        "word_order": "big",
        "encoding": "utf-8",
        "text": "Hi!",
        "reason": "",
        "likely": True,
    }
    assert len(found["texts"]) == len(readings.codings())


def test_swapped_registers_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    (likely,) = [one for one in decoded(capsys, "6261", "6463")["texts"] if one["likely"]]
    assert (likely["text"], likely["byte_order"]) == ("abcd", "little")
    decode.decode("6261", "6463")
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if "→" in line and '"abcd"' in line]
    assert '→ is the likely one: byte_order = "little"' in shown


@pytest.mark.parametrize(
    ("order", "word_order", "byte_order", "registers"),
    [
        ("ABCD", "big", "big", "42F6 E979"),
        ("CDAB", "little", "big", "E979 42F6"),
        ("BADC", "big", "little", "F642 79E9"),
        ("DCBA", "little", "little", "79E9 F642"),
    ],
)
def test_a_float_in_each_order(
    capsys: pytest.CaptureFixture[str], order: str, word_order: str, byte_order: str, registers: str
) -> None:
    found = [one for one in decoded(capsys, registers)["numbers"] if one["value"] == "123.456"]
    assert found == [
        {"type": "float32", "word_order": word_order, "byte_order": byte_order, "order": order, "value": "123.456"}
    ]
    decode.decode(registers)
    assert [line for line in capsys.readouterr().out.splitlines() if order in line and "123.456" in line]


@given(st.integers(-(2**63), 2**63 - 1), st.floats())
def test_each_order_is_that_of_the_points(number: int, real: float) -> None:
    for kind, data, wanted in (
        ("int64", struct.pack(">q", number), number),
        ("float64", struct.pack(">d", real), real),
    ):
        for one in decode.numbers(data):
            if one["type"] == kind and one["order"] == "ABCDEFGH":
                value = float(one["value"]) if kind == "float64" else int(one["value"])
                assert value == wanted or (math.isnan(value) and math.isnan(wanted))


@pytest.mark.parametrize("words", [(), ("hello",), ("48692",), ("4869",) * 901])
def test_what_is_no_registers_is_told(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="registers: "):
        decode.decode(*words)


def test_characters_that_cannot_be_seen_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    decode.decode("1B5B", "326A", "0000")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r'"\x1b[2j"' in shown
