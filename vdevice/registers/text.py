"""Registers to a string and back, as a target's `byte_order`, `word_order`, `format` and `encoding` say.

Registers are bytes here, as they are on the wire: two a register, high byte first (Application Protocol 6.12).
Whatever does not decode is an error, never a replacement character.

| format     | registers                                                                                        |
|------------|--------------------------------------------------------------------------------------------------|
| nul        | characters, up to the first NUL or the end                                                        |
| fixed      | characters to the end, less trailing NULs and blanks                                              |
| length16   | register 0 = bytes, then characters                                                               |
| length32   | registers 0 and 1 = bytes, the one that `word_order` says first, then characters                  |
| s7-string  | bytes: greatest length, length, characters (STRING of STEP 7)                                     |
| s7-wstring | words: greatest length, length, UTF-16BE characters (WSTRING of STEP 7)                           |

A length in registers of its own is a number, which `byte_order` does not touch; the length bytes of the S7 formats are
part of the copied memory, and are swapped with it.
"""

from typing import NamedTuple

from vdevice.config import Target
from vdevice.errors import TextError

CAPACITY = 1800
"""Bytes of text that a target's block holds."""

S7_LONGEST = 254
"""The greatest length of a STRING, and of a WSTRING unless its declaration says more."""

HEADER = {"length16": 2, "length32": 4, "s7-string": 2, "s7-wstring": 4}
"""Bytes before the characters."""

_NUMBER = {"length16": 2, "length32": 4}
"""Bytes at the beginning that are a number in registers."""


class Coding(NamedTuple):
    """How a target's strings lie in registers: the settings of the same names."""

    byte_order: str = "big"
    format: str = "nul"
    encoding: str = "utf-8"
    word_order: str = "big"

    @property
    def charset(self) -> str:
        """The encoding of the characters: a WSTRING is always UTF-16BE."""
        return "utf-16-be" if self.format == "s7-wstring" else self.encoding

    @property
    def unit(self) -> int:
        """Bytes of the shortest character."""
        return 2 if self.charset.startswith("utf-16") else 1


DEFAULT = Coding()


def coding_of(target: Target | None) -> Coding:
    """Return how a target's strings lie in registers; None for one whose settings are not known."""
    return DEFAULT if target is None else Coding(target.byte_order, target.format, target.encoding, target.word_order)


def swap_bytes(data: bytes) -> bytes:
    """Swap the two bytes of each register."""
    swapped = bytearray(len(data))
    swapped[0::2] = data[1::2]
    swapped[1::2] = data[0::2]
    return bytes(swapped)


def ordered(data: bytes, coding: Coding, offset: int = 0) -> bytes:
    """Return the registers of a write at register `offset` with the first character of each in its first byte.

    It is its own inverse.
    """
    if coding.byte_order == "big":
        return data
    number = max(_NUMBER.get(coding.format, 0) - 2 * offset, 0)
    return data[:number] + swap_bytes(data[number:])


def end(data: bytes, coding: Coding) -> int | None:
    """Return how many bytes of ordered `data` the whole string takes, NUL and header too; None if more must come.

    Raises TextError for a length that cannot be.
    """
    if coding.format == "nul" and has_nul(data, coding):
        return _before_nul(data, coding) + coding.unit
    header = HEADER.get(coding.format)
    if header is None:
        return CAPACITY if len(data) >= CAPACITY else None
    if len(data) < header:
        return None
    size = header + _length(data, coding)
    return size if len(data) >= size else None


def decode(data: bytes, coding: Coding = DEFAULT) -> str:
    """Return the text in a whole write of registers. Raises TextError if it is not what `coding` says."""
    return decode_ordered(ordered(data, coding), coding)


def decode_ordered(data: bytes, coding: Coding) -> str:
    """Return the string in bytes that `ordered` returned. Raises TextError."""
    data = data[: len(data) - cut(data, coding)]
    header = HEADER.get(coding.format)
    if header is not None:
        if len(data) < header:
            raise TextError(f"{len(data)} bytes are too few for the length of format {coding.format}")
        length = _length(data, coding)
        if len(data) < header + length:
            raise TextError(f"the length says {length} bytes, {len(data) - header} came; check format and word_order")
        data = data[header : header + length]
    elif coding.format == "nul":
        data = data[: _before_nul(data, coding)]
    try:
        text = data.decode(coding.charset)
    except UnicodeDecodeError as error:
        raise TextError(f"byte {error.start} is not {coding.charset}; check encoding and byte_order") from None
    return text.rstrip("\0 ") if coding.format == "fixed" else text


def cut(data: bytes, coding: Coding) -> int:
    """Return how many bytes at the end of ordered data are the beginning of a UTF-8 character that the write cut.

    Only where the end of the write is the end of the text: a length, or a NUL, says that nothing is missing.
    """
    if coding.charset != "utf-8" or coding.format in HEADER or data[-1:] < b"\x80" or has_nul(data, coding):
        return 0
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return len(data) - error.start if error.reason == "unexpected end of data" else 0
    return 0


def trimmed(text: str) -> str:
    """Return the text without the blanks and line breaks at its end: the setting `trim`."""
    return text.rstrip(" \t\r\n")


def encode(text: str, coding: Coding = DEFAULT) -> bytes:
    """Return the registers whose write delivers `text`: the inverse of `decode`.

    Raises TextError if the text does not fit encoding or format, or would come back changed.
    """
    try:
        data = text.encode(coding.charset)
    except UnicodeEncodeError as error:
        raise TextError(f"{text[error.start]!r} cannot be written in {coding.charset}") from None
    data = _header(data, coding) + data
    if len(data) > CAPACITY:
        raise TextError(f"the text takes {len(data)} bytes, a target's registers hold {CAPACITY}")
    if not data or len(data) % 2:
        data += b"\0" * (2 - len(data) % 2)
    data = ordered(data, coding)
    if decode(data, coding) != text:
        what = "a NUL" if coding.format == "nul" else "trailing NULs or blanks"
        raise TextError(f"the text holds {what}, which format {coding.format} cannot carry")
    return data


def encode_ended(text: str, coding: Coding = DEFAULT, registers: int | None = None) -> bytes:
    """Return the registers of `text` with an end that completion `content` sees: a NUL where there is room for it.

    `registers` is how many a text of the target has, where that is known. Raises TextError as `encode` does.
    """
    data = encode(text, coding)
    if registers is not None:
        if len(data) > 2 * registers:
            raise TextError(f"the text takes {len(data) // 2} registers, a text of this target has {registers}")
        return data.ljust(2 * registers, b"\0")
    ended = coding.format != "nul" or end(ordered(data, coding), coding) is not None
    return data if ended else data + b"\0\0"


def _header(data: bytes, coding: Coding) -> bytes:
    size = len(data)
    match coding.format:
        case "length16":
            return min(size, 0xFFFF).to_bytes(2)
        case "length32":
            number = size.to_bytes(4)
            return number[2:] + number[:2] if coding.word_order == "little" else number
        case "s7-string":
            if size > S7_LONGEST:
                raise TextError(f"the text takes {size} bytes, a STRING holds {S7_LONGEST}")
            return bytes((S7_LONGEST, size))
        case "s7-wstring":
            return max(S7_LONGEST, size // 2).to_bytes(2) + (size // 2).to_bytes(2)
    return b""


def _length(data: bytes, coding: Coding) -> int:
    """Return the bytes of text that the header of ordered data announces."""
    match coding.format:
        case "length16":
            length = int.from_bytes(data[:2])
        case "length32":
            number = data[2:4] + data[:2] if coding.word_order == "little" else data[:4]
            length = int.from_bytes(number)
        case "s7-string":
            length = _within(data[1], data[0])
        case _:
            length = 2 * _within(int.from_bytes(data[2:4]), int.from_bytes(data[:2]))
    if length > CAPACITY - HEADER[coding.format]:
        raise TextError(f"the length says {length} bytes, more than fit; check format, word_order and byte_order")
    return length


def _within(length: int, greatest: int) -> int:
    if length > greatest:
        raise TextError(f"the length {length} is above the greatest length {greatest}; check format and byte_order")
    return length


def has_nul(data: bytes, coding: Coding) -> bool:
    """Tell whether ordered data of format nul holds the NUL that ends its text."""
    return coding.format == "nul" and _first_nul(data, coding.unit) < len(data)


def _before_nul(data: bytes, coding: Coding) -> int:
    """Return where the first NUL of a nul text starts, or its length.

    Raises TextError where the text begins with the NUL and goes on behind it: an empty text would hide that the registers
    hold something else, like one character each.
    """
    found = _first_nul(data, coding.unit)
    if found == 0 and data.strip(b"\0"):
        raise TextError("the text begins with a NUL and goes on behind it; check format, encoding and byte_order")
    return found


def _first_nul(data: bytes, unit: int) -> int:
    """Return where the first NUL character starts, or the length of the data."""
    nul = bytes(unit)
    found = data.find(nul)
    while found >= 0 and found % unit:
        found = data.find(nul, found + 1)
    return found if found >= 0 else len(data)
