import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

from vdevice.terminal import Screen, visible, visible_json, write_traceback

# Everything a Python string can hold, lone surrogates too.
anything = st.text(st.characters(codec=None) | st.characters(categories=["Cs", "Cc", "Cf"]), max_size=80)
HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b2J\u202e\u2066\x7f\r\b\ufeff\u2028"


@given(anything)
@example(HOSTILE)
def test_what_is_visible_steers_no_terminal(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(text, lines=True).replace("\n", "").replace("\t", "").isprintable()


@given(anything)
@example(HOSTILE)
def test_visible_json_says_the_same_without_a_control(text: str) -> None:
    document = json.dumps({text: [text]}, ensure_ascii=False, indent=2)
    shown = visible_json(document)
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown) == json.loads(document)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Kessel ü € 😀 [red]x[/] :fire:", "Kessel ü € 😀 [red]x[/] :fire:"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r", r"a\nb\r"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
    ],
)
def test_what_is_printed(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_and_tabs_of_a_request_stay() -> None:
    assert visible("POST / HTTP/1.1\r\n\r\n{\n\ta\x1b\r}", lines=True) == "POST / HTTP/1.1\n\n{\n\ta\\x1b\\r}"


@given(anything)
@example(HOSTILE)
@example("[red]x[/] [/nothing] :fire:")
def test_the_screen_shows_all_strings_as_text_also_in_tables(text: str) -> None:
    table = Table(text)
    table.add_row(text)
    file = io.StringIO()
    screen = Screen(file=file, width=2000)
    screen.print(text)
    screen.print(table)
    said = file.getvalue()
    assert said.replace("\n", "").replace("\t", "").isprintable()
    assert visible(text, lines=True).expandtabs(8).rstrip("\n").split("\n")[0].rstrip() in said


def test_a_traceback_is_made_visible() -> None:
    file = io.StringIO()
    error = ValueError(HOSTILE)
    write_traceback(file, (ValueError, error, None))
    assert file.getvalue().replace("\n", "").isprintable()
    assert r"\x1b]0;title" in file.getvalue()
