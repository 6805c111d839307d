"""What registers read as, in every format, order and encoding, and which of these readings is the likely one.

Pure. `vdevice decode` shows all of it; the log, `vdevice outbox show` and the page ask `better` whether another setting
reads clearly better than the one that a target has.
"""

from typing import NamedTuple, get_args

from vdevice.config.schema import Target
from vdevice.errors import TextError
from vdevice.registers import clarity, text
from vdevice.registers.text import HEADER, Coding

FORMATS: tuple[str, ...] = get_args(Target.__annotations__["format"])
ENCODINGS: tuple[str, ...] = get_args(Target.__annotations__["encoding"])
ORDERS = ("big", "little")

_LIKELY_FIRST = ("utf-8", "ascii", "utf-16-be", "cp1252", "latin-1", "utf-16-le")
"""Encodings, the one that is taken first among equal readings."""

GARBLED = 0.3
"""Penalty from which on a reading is none that anybody meant."""

CLEAR = 0.05
"""Penalty up to which a reading is a text."""

SWAPPED = 2
"""Votes against the order of a text, and for the swapped one, from which on it is swapped."""

SURELY_SWAPPED = 5
"""Votes between the two at least; in a long text one for every eight characters."""

MOST_FOREIGN = 0.5
"""Share of letters beyond ASCII up to which a single-byte encoding is believed; above it is another alphabet's."""


class Reading(NamedTuple):
    """Registers read in one way: the text, or why it is none.

    `penalty` and `votes` are those of `clarity`; `unread` is how many bytes behind the text, neither NUL nor blank, were
    left out.
    """

    coding: Coding
    text: str | None
    reason: str = ""
    penalty: float = 10.0
    votes: int = 0
    unread: int = 0


def codings() -> list[Coding]:
    """Return every combination of settings that reads registers, the usual ones first."""
    return [
        Coding(byte_order, form, encoding, word_order)
        for form in FORMATS
        for word_order in (ORDERS if form == "length32" else ORDERS[:1])
        for byte_order in ORDERS
        for encoding in (("utf-16-be",) if form == "s7-wstring" else _LIKELY_FIRST)
    ]


def read(registers: bytes, coding: Coding) -> Reading:
    """Read registers (two bytes each, as on the wire) in one way."""
    ordered = text.ordered(registers, coding)
    try:
        found = text.decode_ordered(ordered, coding)
    except TextError as error:
        return Reading(coding, None, str(error))
    # Encoded again, so that one place knows how many bytes a text is.
    encoded = found.encode(coding.charset)
    rest = ordered[HEADER.get(coding.format, 0) + len(encoded) :]
    unread = len(rest) - rest.count(b"\0") - rest.count(b" ")
    penalty = clarity.penalty(found, encoded, coding.charset, unread)
    return Reading(coding, found, "", penalty, clarity.votes(found), unread)


def readings(registers: bytes) -> list[Reading]:
    """Return all readings."""
    return [read(registers, coding) for coding in codings()]


def likely(found: list[Reading]) -> Reading | None:
    """Return the reading that was meant, as far as anybody can tell, of equal ones the first; None where none is a text."""
    texts = [one for one in found if one.text and one.penalty < GARBLED and clarity.is_meant(one.text)]
    return min(texts, key=lambda one: (round(one.penalty, 2), -one.votes), default=None)


def better(registers: bytes, coding: Coding) -> Coding | None:
    """Return the settings that read registers clearly better than `coding`, None where there are none.

    Careful: None for ordinary texts of any language that were read with the right settings.
    """
    now = read(registers, coding)
    if now.text is None or now.penalty >= GARBLED:
        clear = [one for one in readings(registers) if _is_clear(one) and _is_believed(one, now)]
        return min(clear, key=lambda one: _distance(one, now)).coding if clear else None
    if now.votes <= -SWAPPED:
        swapped = read(registers, coding._replace(byte_order="little" if coding.byte_order == "big" else "big"))
        is_clear = swapped.votes >= SWAPPED and swapped.votes - now.votes >= max(SURELY_SWAPPED, len(now.text) / 8)
        if swapped.text and swapped.penalty <= now.penalty and is_clear:
            return swapped.coding
    return None


def advice(registers: bytes, coding: Coding) -> str:
    """Return the settings that read registers clearly better, as in the config; empty where there are none."""
    found = better(registers, coding)
    return ", ".join(f'{name} = "{value}"' for name, value in differences(coding, found)) if found else ""


def advice_on(value: str, coding: Coding) -> str:
    """Return the settings that would have read what became `value` by `coding` clearly better; empty where there are none."""
    try:
        return advice(text.encode(value, coding), coding)
    except TextError:
        return ""


def differences(coding: Coding, other: Coding) -> list[tuple[str, str]]:
    """Return the settings of `other` that `coding` does not have."""
    return [
        (name, value)
        for name, value in other._asdict().items()
        if value != getattr(coding, name) and not (name == "encoding" and other.format == "s7-wstring")
    ]


def _is_clear(one: Reading) -> bool:
    return bool(one.text) and one.penalty <= CLEAR and not one.unread and clarity.is_meant(one.text or "")


def _is_believed(one: Reading, now: Reading) -> bool:
    if now.text and now.unread and clarity.is_meant(now.text):
        # What stands behind the NUL may be the rest of an older text, which was not cleared.
        is_wide = one.coding.charset.startswith("utf-16")
        if is_wide and (len(one.text or "") < 3 or not (one.text or "").isascii()):
            return False
        if not is_wide and one.votes <= now.votes:
            return False
    is_single = one.coding.charset in {"latin-1", "cp1252"}
    return not is_single or clarity.foreign_share(one.text or "") <= MOST_FOREIGN


def _distance(one: Reading, now: Reading) -> tuple[float, int, int]:
    return (round(one.penalty, 2), -one.votes, len(differences(now.coding, one.coding)))
