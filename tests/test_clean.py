import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdevice.clean import clean, one_line, shorten, to_ascii

# Everything a Python string can hold, lone surrogates too.
anything = st.text(st.characters(codec=None) | st.characters(categories=["Cs"]), max_size=200)


@given(anything)
@example("\ud800")
@example("a\udcffb")
def test_what_is_cleaned_can_be_encoded(text: str) -> None:
    for cleaned in (clean(text), one_line(text)):
        assert cleaned.encode("utf-8").decode("utf-8") == cleaned


@given(st.text(max_size=60))
def test_text_that_can_be_encoded_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@given(anything)
def test_one_line_is_one_line_and_moves_no_cursor(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in line)


@given(anything, st.integers(1, 80))
def test_a_register_text_is_ascii_and_fits(text: str, limit: int) -> None:
    words = to_ascii(text, limit)
    assert len(words.encode("ascii")) <= limit


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("short", 64, "short"),
        ("HTTP 400: channel_not_found here", 27, "HTTP 400: channel_not_found"),
        ("HTTP 400: channel_not_found here", 26, "HTTP 400: channel_not_foun"),
        ("the name is not resolved", 20, "the name is not"),
        ("x" * 100, 10, "x" * 10),
    ],
)
def test_a_long_text_is_cut_between_two_words(text: str, limit: int, shown: str) -> None:
    assert shorten(text, limit) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ungültiger Schlüssel", "ungueltiger Schluessel"),
        ("u\u0308ber", "ueber"),
        ("Größe", "Groesse"),
        ("mémoire pleine \u2013 « zu »", 'memoire pleine - " zu "'),
        ("20 °C", "20 ?C"),
        ("ошибка", "??????"),
        ("a\r\nb\tc\0", "a b c"),
    ],
)
def test_other_letters_are_written_in_ascii(text: str, shown: str) -> None:
    assert to_ascii(text, 64) == shown
