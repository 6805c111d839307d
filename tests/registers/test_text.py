import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import target_of
from vdevice.errors import TextError
from vdevice.registers import text
from vdevice.registers.text import Coding

ENCODINGS = ["utf-8", "ascii", "latin-1", "cp1252", "utf-16-be", "utf-16-le"]


def survives(words: str, encoding: str) -> bool:
    try:
        words.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@given(
    st.text(max_size=300).filter(lambda t: "\0" not in t),
    st.sampled_from(["big", "little"]),
    st.sampled_from(ENCODINGS),
)
def test_what_is_encoded_decodes_to_the_same(words: str, byte_order: str, encoding: str) -> None:
    if not survives(words, encoding):
        with pytest.raises(TextError):
            text.encode(words, Coding(byte_order, "nul", encoding))
        return
    data = text.encode(words, Coding(byte_order, "nul", encoding))
    assert len(data) % 2 == 0
    assert data
    assert text.decode(data, Coding(byte_order, "nul", encoding)) == words


@given(st.text(max_size=100).map(lambda t: t.rstrip("\0 ")), st.sampled_from(["big", "little"]))
def test_fixed_text_survives_whatever_pads_it(words: str, byte_order: str) -> None:
    data = text.encode(words, Coding(byte_order, "fixed"))
    assert text.decode(data + b"\0\0  \0\0", Coding(byte_order, "fixed")) == words


@given(st.binary(max_size=250).map(lambda b: b[: len(b) // 2 * 2]), st.sampled_from(ENCODINGS))
def test_bytes_are_text_or_an_error_never_a_replacement(data: bytes, encoding: str) -> None:
    try:
        decoded = text.decode(data, Coding(encoding=encoding))
    except TextError:
        return
    assert data.startswith(decoded.encode(encoding))


@pytest.mark.parametrize(
    ("data", "byte_order", "form", "encoding", "words"),
    [
        (b"Hi\0\0", "big", "nul", "utf-8", "Hi"),
        (b"iH\0!", "little", "nul", "utf-8", "Hi!"),
        (b"Hi\0xx!", "big", "nul", "utf-8", "Hi"),
        (b"Hi  \0\0", "big", "fixed", "utf-8", "Hi"),
        (b"a\0b\0", "big", "fixed", "utf-8", "a\0b"),
        (b"\x01\x00\x00\x41\x00\x00", "big", "nul", "utf-16-be", "\u0100A"),
        (b"\x80\x00", "big", "nul", "cp1252", "€"),
        (b"\0\0", "big", "nul", "utf-8", ""),
        (b"\0\x03Hi!\0", "big", "length16", "utf-8", "Hi!"),
        (b"\0\x03iH\0!", "little", "length16", "utf-8", "Hi!"),
        (b"\0\x02a\0", "big", "length16", "utf-8", "a\0"),
        (b"\0\0\0\x02Hi", "big", "length32", "utf-8", "Hi"),
        (b"\xfe\x03Hi!\0", "big", "s7-string", "utf-8", "Hi!"),
        (b"\x03\xfeiH\0!", "little", "s7-string", "utf-8", "Hi!"),
        (b"\x04\x01\x80xyz", "big", "s7-string", "cp1252", "€"),
        (b"\0\xfe\0\x02\x20\xac\0A\0\0", "big", "s7-wstring", "utf-8", "€A"),
    ],
)
def test_worked_examples(data: bytes, byte_order: str, form: str, encoding: str, words: str) -> None:
    assert text.decode(data, Coding(byte_order, form, encoding)) == words


def test_the_words_of_a_length_come_in_either_order() -> None:
    for order, header in (("big", b"\0\0\0\x03"), ("little", b"\0\x03\0\0")):
        assert text.decode(header + b"Hi!\0", Coding(format="length32", word_order=order)) == "Hi!"


@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        (b"\0\x04Hi", "length16", "4 bytes, 2 came"),
        (b"\x08\0Hi", "length16", "more than fit"),
        (b"\0\x03", "length32", "too few"),
        (b"\x02\x03Hi!\0", "s7-string", "above the greatest length"),
        (b"\0\x02\0\x03", "s7-wstring", "above the greatest length"),
        (b"\xff\xff\xff\xff", "s7-wstring", "more than fit"),
    ],
)
def test_a_length_that_cannot_be_is_an_error(data: bytes, form: str, words: str) -> None:
    with pytest.raises(TextError, match=words):
        text.decode(data, Coding(format=form))


@given(
    st.text(max_size=300),
    st.sampled_from(["big", "little"]),
    st.sampled_from(["length16", "length32", "s7-string", "s7-wstring"]),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["big", "little"]),
    st.binary(max_size=8).map(lambda b: b[: len(b) // 2 * 2]),
)
def test_formats_with_a_length_carry_any_text(  # noqa: PLR0917
    words: str, byte_order: str, form: str, encoding: str, word_order: str, behind: bytes
) -> None:
    coding = Coding(byte_order, form, encoding, word_order)
    try:
        data = text.encode(words, coding)
    except TextError:
        assert not survives(words, coding.charset) or len(words.encode(coding.charset)) > text.S7_LONGEST
        return
    assert text.decode(data + behind, coding) == words
    assert text.end(text.ordered(data + behind, coding), coding) is not None


@given(
    st.binary(max_size=60).map(lambda b: b[: len(b) // 2 * 2]), st.integers(0, 5), st.sampled_from(["nul", "length32"])
)
def test_order_of_pieces_is_the_order_of_the_whole(data: bytes, offset: int, form: str) -> None:
    coding = Coding("little", form)
    cut = 2 * offset
    pieces = text.ordered(data[:cut], coding) + text.ordered(data[cut:], coding, offset)
    assert pieces == text.ordered(data, coding)
    assert text.ordered(text.ordered(data, coding), coding) == data


EXAMPLES = re.findall(
    r"^\| .*? \| `(.*?)` \| `(.*?)` \| `([0-9A-F ]+)` \|$",
    (Path(__file__).parents[2] / "docs" / "plc.md").read_text("utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize(("settings", "words", "registers"), EXAMPLES)
def test_examples_of_the_docs(settings: str, words: str, registers: str) -> None:
    _config, target = target_of("" if settings == "defaults" else settings.replace(", ", "\n"))
    coding = text.coding_of(target)
    assert text.encode(words, coding) == bytes.fromhex(registers)
    assert text.decode(bytes.fromhex(registers), coding) == words


def test_the_docs_have_an_example_for_each_family() -> None:
    assert len(EXAMPLES) >= 10


def test_control_characters_are_kept() -> None:
    assert text.decode(b"a\r\n\x1b[0m") == "a\r\n\x1b[0m"
