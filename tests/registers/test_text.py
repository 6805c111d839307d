import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ],
)
def test_worked_examples(data: bytes, byte_order: str, form: str, encoding: str, words: str) -> None:
    assert text.decode(data, Coding(byte_order, form, encoding)) == words


def test_control_characters_are_kept() -> None:
    assert text.decode(b"a\r\n\x1b[0m") == "a\r\n\x1b[0m"
