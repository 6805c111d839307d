"""Which setting reads registers, and that an ordinary text of any language never makes a hint."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.errors import TextError
from vdevice.registers import readings, text
from vdevice.registers.text import Coding

SENTENCES = (Path(__file__).parent / "sentences.txt").read_text("utf-8").splitlines()
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
ORDERS = ["big", "little"]

numbers = st.one_of(st.integers(-99999, 99999).map(str), st.floats(-1e4, 1e4).map(lambda f: f"{f:.2f}"), st.just("°C"))
texts = st.sampled_from(SENTENCES) | st.lists(st.sampled_from(WORDS) | numbers, min_size=1, max_size=12).map(" ".join)
codings = st.sampled_from(readings.codings())


def registers_of(words: str, coding: Coding) -> bytes | None:
    try:
        return text.encode(words, coding)
    except TextError:
        return None


@pytest.mark.parametrize("words", SENTENCES)
@pytest.mark.parametrize("coding", readings.codings(), ids="-".join)
def test_a_sentence_that_is_read_right_makes_no_hint(words: str, coding: Coding) -> None:
    registers = registers_of(words, coding)
    if registers is not None:
        assert readings.advice(registers, coding) == ""


@given(texts, codings, st.integers(0, 20), st.booleans())
def test_ordinary_texts_make_no_hint(words: str, coding: Coding, padding: int, blanks: bool) -> None:  # noqa: FBT001
    registers = registers_of(words, coding)
    if registers is not None:
        pad = text.ordered(" ".encode(coding.charset) * 2, coding, 2) if blanks else b"\0\0"
        assert readings.advice(registers + pad * padding, coding) == ""


@given(texts, texts, st.sampled_from(ORDERS), st.sampled_from(readings.ENCODINGS))
def test_the_rest_of_an_older_text_makes_no_hint(words: str, older: str, order: str, encoding: str) -> None:
    coding = Coding(order, "nul", encoding)
    try:
        data, before = words.encode(encoding), older.encode(encoding)
    except UnicodeEncodeError:
        return
    memory = data + b"\0" * coding.unit + before[len(data) + coding.unit :]
    registers = text.ordered(memory + b"\0" * (len(memory) % 2), coding)
    assert text.decode(registers, coding) == words
    assert readings.advice(registers, coding) == ""


@given(st.binary(max_size=300).map(lambda b: b[: len(b) // 2 * 2]), codings)
def test_any_registers_are_read_in_every_way_or_not(registers: bytes, coding: Coding) -> None:
    found = readings.readings(registers)
    assert [one.coding for one in found] == readings.codings()
    for one in found:
        if one.text is None:
            assert one.reason
            with pytest.raises(TextError):
                text.decode(registers, one.coding)
        else:
            assert one.text == text.decode(registers, one.coding)
    better = readings.better(registers, coding)
    assert better is None or (better != coding and text.decode(registers, better))


@pytest.mark.parametrize(
    ("registers", "words", "settings"),
    [
        ("4869 2100", "Hi!", ""),
        ("6261 6463", "abcd", 'byte_order = "little"'),
        ("3231 3433", "1234", 'byte_order = "little"'),
        ("3820 C2B0 4300", "8 °C", ""),
        ("0048", "H", 'encoding = "utf-16-be"'),
        ("0048 0069 0000 0000", "Hi", 'encoding = "utf-16-be"'),
        ("4800 6900", "Hi", 'encoding = "utf-16-le"'),
        ("FE03 4869 2100", "Hi!", 'format = "s7-string"'),
        ("03FE 6948 0021", "Hi!", 'byte_order = "little", format = "s7-string"'),
        ("FE04 3820 B043", "8 °C", 'format = "s7-string", encoding = "cp1252"'),
        ("00FE 0003 0048 0069 0021", "Hi!", 'format = "s7-wstring"'),
        ("0003 4869 2100", "Hi!", 'format = "length16"'),
        ("0000 0003 4869 2100", "Hi!", 'format = "length32"'),
        ("0003 0000 6948 0021", "Hi!", 'byte_order = "little", format = "length32", word_order = "little"'),
        ("6948 0021", "Hi!", 'byte_order = "little"'),
        ("54FC 7200", "Tür", 'encoding = "cp1252"'),
        ("2038 43B0", "8 °C", 'byte_order = "little", encoding = "cp1252"'),
        ("4F60 597D", "你好", 'encoding = "utf-16-be"'),
    ],
)
def test_the_likely_reading(registers: str, words: str, settings: str) -> None:
    data = bytes.fromhex(registers)
    found = readings.likely(readings.readings(data))
    assert found
    assert found.text == words
    told = ", ".join(f'{name} = "{value}"' for name, value in readings.differences(Coding(), found.coding))
    assert told == settings
    # A hint says the same, or nothing where it is not clear.
    assert readings.advice(data, Coding()) in {settings, ""}


@pytest.mark.parametrize(
    "words", ["Kessel 3: Temperatur zu hoch", "The pump has stopped. Check it!", "Pumpe Nord: Störung"]
)
@pytest.mark.parametrize(
    ("written", "read", "settings"),
    [
        (Coding("little"), Coding(), 'byte_order = "little"'),
        (Coding(), Coding("little"), 'byte_order = "big"'),
        (Coding(encoding="utf-16-be"), Coding(), 'encoding = "utf-16-be"'),
        (Coding(), Coding(encoding="utf-16-be"), 'encoding = "utf-8"'),
        (Coding(format="s7-string"), Coding(), 'format = "s7-string"'),
        (Coding(), Coding(format="s7-string"), 'format = "nul"'),
        (Coding(format="length16"), Coding(), 'format = "length16"'),
        (Coding(format="length32"), Coding(format="length16"), 'format = "length32"'),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_told(words: str, written: Coding, read: Coding, settings: str) -> None:
    assert readings.advice(text.encode(words, written), read) == settings


def test_utf8_that_is_read_as_latin_1_is_told() -> None:
    registers = text.encode("Störung: 840 °C")
    assert readings.advice(registers, Coding(encoding="cp1252")) == 'encoding = "utf-8"'
    assert readings.advice(registers, Coding(encoding="latin-1")) == 'encoding = "utf-8"'
    registers = text.encode("Störung: 840 °C", Coding(encoding="latin-1"))
    assert readings.advice(registers, Coding()) == 'encoding = "cp1252"'
