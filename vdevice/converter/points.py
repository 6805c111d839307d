"""One point: registers to its value and back. Pure; registers are bytes here, two a register, as on the wire."""

import math
import struct

from vdevice.config.schema import Point
from vdevice.converter.values import Kind, Value, brief, exact, finite, to_bool, to_int, to_number, to_text
from vdevice.errors import ConversionError, TextError
from vdevice.registers import text
from vdevice.registers.text import Coding, swap_bytes

_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "float32": ">f",
    "float64": ">d",
}
_DIGITS_OF_FLOAT32 = range(1, 10)


def kind(point: Point) -> Kind:
    """Return what a point's values are; a scaled number is a float."""
    if point.type in {"bool", "string"}:
        return "bool" if point.type == "bool" else "string"
    return "float" if point.type.startswith("float") or point.is_scaled else "int"


def decode(point: Point, data: bytes) -> Value:
    """Return the value in a point's registers (or its coil, as one byte).

    Raises ConversionError for a string that is not UTF-8, and for a number that its scale makes too large.
    """
    if point.space == "coil":
        return bool(data[0])
    if point.bit is not None:
        return bool(int.from_bytes(data) >> point.bit & 1)
    if point.type == "string":
        try:
            return text.decode(data, Coding(point.byte_order))
        except TextError as error:
            raise ConversionError(str(error)) from None
    number: int | float = struct.unpack(_FORMATS[point.type], _on_wire(point, data))[0]
    if point.type == "float32":
        number = shortest(number)
    if not point.is_scaled or not math.isfinite(number):
        return number
    return finite(exact(number) * exact(point.scale) + exact(point.offset))


def encode(point: Point, value: Value, data: bytes) -> bytes:
    """Return a point's registers (or its coil, as one byte) with a value in them; `data` is what they hold now.

    Raises ConversionError where the value does not fit.
    """
    if point.space == "coil":
        return bytes((to_bool(value),))
    if point.bit is not None:
        register = int.from_bytes(data) & ~(1 << point.bit)
        return (register | to_bool(value) << point.bit).to_bytes(2)
    if point.type == "string":
        return _string(point, to_text(value))
    number = _unscaled(point, to_number(value))
    try:
        if not point.type.startswith("float"):
            number = to_int(number)
        return _on_wire(point, struct.pack(_FORMATS[point.type], number))
    except (struct.error, OverflowError):
        raise ConversionError(f"{brief(to_text(value))} does not fit {point.type}") from None


def shortest(number: float) -> float:
    """Return the float with the fewest digits that is the same as a 32-bit float."""
    packed = struct.pack(">f", number)
    for digits in _DIGITS_OF_FLOAT32:
        short = float(f"{number:.{digits}g}")
        try:
            if struct.pack(">f", short) == packed:
                return short
        except OverflowError:
            continue
    return number


def _string(point: Point, words: str) -> bytes:
    try:
        data = words.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConversionError(f"character {error.start} of the text is half of a surrogate pair") from None
    size = 2 * point.count
    if len(data) > size:
        raise ConversionError(f"the text takes {len(data)} bytes, {point.name!r} holds {size}")
    padded = data + bytes(size - len(data))
    return swap_bytes(padded) if point.byte_order == "little" else padded


def _unscaled(point: Point, number: float) -> int | float:
    if not point.is_scaled:
        return number
    raw = (exact(number) - exact(point.offset)) / exact(point.scale)
    return finite(raw) if point.type.startswith("float") else int(raw)


def _on_wire(point: Point, data: bytes) -> bytes:
    """Turn the order of words and bytes; it is its own inverse."""
    if point.word_order == "little":
        data = b"".join(data[place : place + 2] for place in range(len(data) - 2, -1, -2))
    return swap_bytes(data) if point.byte_order == "little" else data
