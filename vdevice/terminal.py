r"""Whatever is printed for a person: characters that would steer the terminal, or cannot be seen, are shown as escapes.

A PLC's text and a service's response may hold ESC, CSI, OSC, a change of the writing direction or a line break: printed raw
they clear the screen, forge a line, or set the terminal's title. The command line and the log print through here only.
"""

import io
import traceback
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return the text on one line, each character that cannot be seen written as in Python, like `\x1b` or `\u202e`.

    With `lines` line breaks and tabs stay: for what has several lines, like a request.
    """
    if text.isprintable():
        return text
    if lines:
        return "\n".join("\t".join(map(visible, line.split("\t"))) for line in text.replace("\r\n", "\n").split("\n"))
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def visible_json(document: str) -> str:
    r"""Return JSON that says the same, with characters that cannot be seen as `\u…`: JSON itself escapes only C0."""
    if document.isprintable():
        return document
    return "".join(one if one.isprintable() or one == "\n" else _json_escape(one) for one in document)


def _json_escape(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def write_traceback(file: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback for a person: the message of an exception may hold what came from outside."""
    said = io.StringIO()
    traceback.print_exception(*exc_info, file=said)
    file.write(visible(said.getvalue(), lines=True))


class Screen(Console):
    """The console of every command: all strings that are printed, also in tables, are text, and no markup."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 (rich's words)
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:  # noqa: ANN401 (rich's words)
        """Turn a string into what is printed; rich calls this for each one, wherever it stands."""
        return super().render_str(visible(text, lines=True), **settings)
