"""A value that no log, error or picture of the config may show."""

import codecs
import os
from pathlib import Path

from vdevice import regular


class Secret:
    """A secret string; only `reveal` shows it. `literal` ones came from elsewhere: variables in them are text."""

    __slots__ = ("_value", "literal")

    def __init__(self, value: str, *, literal: bool = False) -> None:
        self._value = value
        self.literal = literal

    def reveal(self) -> str:
        """Return the value, for the request that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def resolve(raw: object, folder: Path) -> Secret:
    """Return the secret that a TOML value stands for: a string, `{ env = "NAME" }` or `{ file = "path" }`.

    A line break at the end of a variable or file is not part of it. Raises ValueError with what would be right.
    """
    match raw:
        case str():
            return Secret(raw)
        case {"env": str(name), **rest} if not rest:
            if name not in os.environ:
                raise ValueError(f"the environment variable {name} is not set; set it before vdevice starts")
            # As bytes, whatever the locale: Python turns what is no text into lone surrogates.
            return _from_bytes(os.fsencode(os.environ[name]), f"the environment variable {name}")
        case {"file": str(name), **rest} if not rest:
            try:
                content = regular.read(folder / name)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not a file name"
                raise ValueError(
                    f"the file {name!r} cannot be read ({reason}); create it, readable for vdevice"
                ) from None
            return _from_bytes(content, f"the file {name!r}")
    raise ValueError('write a string, { env = "NAME" } or { file = "path" }')


def _from_bytes(content: bytes, what: str) -> Secret:
    try:
        return Secret(text_of(content).rstrip("\r\n"), literal=True)
    except ValueError as error:
        raise ValueError(f"{what} {error}") from None


def text_of(content: bytes) -> str:
    """Return what a file holds as text.

    Raises ValueError that says what it is instead of UTF-8 without a byte order mark, and what to do.
    """
    if mark := mark_of(content):
        raise ValueError(mark)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def mark_of(content: bytes) -> str:
    """Return what to say of a byte order mark at the beginning, which no editor shows; empty where there is none."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "is UTF-16, not UTF-8 text; save it as UTF-8 without a byte order mark"
    if content.startswith(codecs.BOM_UTF8):
        return "begins with an invisible byte order mark (EF BB BF); save it as UTF-8 without one"
    return ""
