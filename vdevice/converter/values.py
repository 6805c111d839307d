r"""Conversion of values from one type to another.

| from \ to  | bool              | int                 | float        | string                                        |
|-----------|-------------------|---------------------|--------------|-----------------------------------------------|
| bool      |                   | 1, 0                | 1.0, 0.0     | true, false                                   |
| int       | above zero        |                     | the same     | decimal digits                                |
| float     | above zero        | the fraction is cut |              | a point, the shortest digits that read back   |
| string    | "true", "1"       | a number, cut       | a number     |                                               |

What cannot be converted raises ConversionError: text that is no number, one of more than `MOST_DIGITS` characters, and what is
not finite where a number is wanted. Nothing else is raised, whatever the value.
"""

import math
import re
from decimal import Decimal
from typing import Literal

from vdevice.errors import ConversionError

Value = bool | int | float | str
Kind = Literal["bool", "int", "float", "string"]

MOST_DIGITS = 400
"""Characters of a number in a text. A float has 309 digits before its point at most; Python takes longer ones apart slowly."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


def brief(text: str) -> str:
    """Return a text as a message shows it: a number that is cut must not look like a smaller one."""
    return text if len(text) <= 40 else f"{text[:40]}…"


def to_text(value: Value) -> str:
    """Return a value as text. Raises ConversionError for a number that is not finite, or has thousands of digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:
            raise ConversionError("the number has too many digits to be written") from None
    digits = format(exact(value), "f")
    return digits if "." in digits else f"{digits}.0"


def to_bool(value: Value) -> bool:
    """Return whether a value is true: a number above zero, the text "true" in any case or "1"."""
    return value.strip().lower() in {"true", "1"} if isinstance(value, str) else value > 0


def to_number(value: Value) -> int | float:
    """Return a value as a number, text as the number that it reads. Raises ConversionError."""
    if not isinstance(value, str):
        return int(value) if isinstance(value, bool) else value
    words = value.strip()
    if len(words) > MOST_DIGITS:
        raise ConversionError(f"{brief(words)} has more than {MOST_DIGITS} characters, too many for a number")
    if not _NUMBER.fullmatch(words):
        raise ConversionError(f"{brief(value)!r} is not a number")
    if not set(words) & set(".eE"):
        return int(words)
    number = float(words)
    if not math.isfinite(number):
        raise ConversionError(f"{brief(words)} is too large for a number")
    return number


def to_int(value: Value) -> int:
    """Return a value as a whole number, its fraction cut. Raises ConversionError."""
    number = to_number(value)
    if isinstance(number, float) and not math.isfinite(number):
        raise ConversionError(f"{number} is not a whole number")
    return math.trunc(number)


def to_float(value: Value) -> float:
    """Return a value as a float. Raises ConversionError."""
    try:
        return float(to_number(value))
    except OverflowError:
        raise ConversionError(f"{brief(to_text(value))} is too large") from None


def convert(value: Value, kind: Kind) -> Value:
    """Return a value as another kind. Raises ConversionError."""
    match kind:
        case "bool":
            return to_bool(value)
        case "int":
            return to_int(value)
        case "float":
            return to_float(value)
        case "string":
            return to_text(value)


def finite(number: Decimal) -> float:
    """Return an exact number as a float. Raises ConversionError where it is too large for one."""
    found = float(number)
    if not math.isfinite(found):
        raise ConversionError(f"{number:.3g} is too large for a number")
    return found


def exact(number: float) -> Decimal:
    """Return the decimal number that a number is written as. Raises ConversionError where it is not finite."""
    if isinstance(number, int):
        return Decimal(number)
    if not math.isfinite(number):
        raise ConversionError(f"{number} is not a number that can be written")
    return Decimal(repr(number))
