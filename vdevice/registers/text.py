"""Registers to a string and back, as a target's `byte_order`, `format` and `encoding` say.

Registers are bytes here, as they are on the wire: two a register, high byte first (Application Protocol 6.12).
Whatever does not decode is an error, never a replacement character.
"""

from typing import Literal

from vdevice.errors import TextError

ByteOrder = Literal["big", "little"]
CAPACITY = 1800
"""Bytes of text that a target's block holds."""


def swap_bytes(data: bytes) -> bytes:
    """Swap the two bytes of each register."""
    swapped = bytearray(len(data))
    swapped[0::2] = data[1::2]
    swapped[1::2] = data[0::2]
    return bytes(swapped)


def decode(data: bytes, byte_order: str = "big", form: str = "nul", encoding: str = "utf-8") -> str:
    """Return the string in a whole write: `nul` ends at the first NUL, `fixed` loses trailing NULs and blanks.

    Raises TextError if the bytes are not text of that encoding.
    """
    if byte_order == "little":
        data = swap_bytes(data)
    if form == "nul":
        data = data[: _first_nul(data, _unit(encoding))]
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(f"byte {error.start} is not {encoding}; check encoding and byte_order") from None
    return text.rstrip("\0 ") if form == "fixed" else text


def encode(text: str, byte_order: str = "big", form: str = "nul", encoding: str = "utf-8") -> bytes:
    """Return the registers whose write delivers `text`: the inverse of `decode`.

    Raises TextError if the text does not fit the encoding, or would come back changed.
    """
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError as error:
        raise TextError(f"{text[error.start]!r} cannot be written in {encoding}") from None
    unit = _unit(encoding)
    if not data or len(data) % 2:
        data += b"\0" * (2 - len(data) % 2)
    if byte_order == "little":
        data = swap_bytes(data)
    if decode(data, byte_order, form, encoding) != text:
        what = "a NUL" if form == "nul" else "trailing NULs or blanks"
        raise TextError(f"the text holds {what}, which format {form} cannot carry (units of {unit} bytes)")
    return data


def _unit(encoding: str) -> int:
    return 2 if encoding.startswith("utf-16") else 1


def _first_nul(data: bytes, unit: int) -> int:
    """Return where the first NUL character starts, or the length of the data."""
    nul = bytes(unit)
    found = data.find(nul)
    while found >= 0 and found % unit:
        found = data.find(nul, found + 1)
    return found if found >= 0 else len(data)
