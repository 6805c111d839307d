"""`vdevice decode`: what registers read as, in every format, order and encoding, and as numbers."""

from itertools import groupby
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from vdevice.cli.options import Json, console, new_table, print_json
from vdevice.config.schema import REGISTERS_OF, Point
from vdevice.converter import points
from vdevice.errors import ConfigError, Problem
from vdevice.registers import readings
from vdevice.registers.readings import Reading
from vdevice.registers.text import CAPACITY, DEFAULT
from vdevice.terminal import visible

Words = Annotated[
    str,
    Parameter(help="Registers in hex, as a tool shows them: 4869 2100. Digits without a blank are several registers."),
]


def decode(*registers: Words, as_json: Json = False) -> None:
    """Show what registers read as in every format, order and encoding, the likely reading marked, and as numbers."""
    data = _parse(registers)
    found = readings.readings(data)
    likely = readings.likely(found)
    found_numbers = numbers(data)
    if as_json:
        texts = [_plain(one) | {"likely": one is likely} for one in found]
        print_json({"registers": data.hex(" ", 2).upper().split(), "texts": texts, "numbers": found_numbers})
        return
    _print_texts(found, likely)
    _print_numbers(found_numbers)


def _parse(words: tuple[str, ...]) -> bytes:
    digits = []
    for word in " ".join(words).replace(",", " ").split():
        plain = word.lower().removeprefix("0x")
        if not plain or set(plain) - set("0123456789abcdef") or (len(plain) > 4 and len(plain) % 4):
            raise ConfigError(
                [Problem("registers", f"{word!r} is not hex; write four digits for each register, like 4869 2100")]
            )
        digits.append(plain.zfill(4))
    data = bytes.fromhex("".join(digits))
    if not 0 < len(data) <= CAPACITY:
        raise ConfigError([Problem("registers", f"are {len(data) // 2}; write 1 to {CAPACITY // 2} of them in hex")])
    return data


def _plain(one: Reading) -> dict[str, Any]:
    coding = one.coding
    return {
        "format": coding.format,
        "byte_order": coding.byte_order,
        "word_order": coding.word_order,
        "encoding": coding.encoding,
        "text": one.text,
        "reason": one.reason,
    }


def _print_texts(found: list[Reading], likely: Reading | None) -> None:
    """Print a line for each text; encodings that read the same share it."""
    table = new_table("", "format", "byte_order", "encoding", "text", wrap=("encoding", "text"))
    for place, group in groupby(found, lambda one: (one.coding.format, one.coding.word_order, one.coding.byte_order)):
        form, word_order, byte_order = place
        name = f"{form}, word_order {word_order}" if form == "length32" else form
        same: dict[tuple[str | None, str], list[Reading]] = {}
        for one in group:
            same.setdefault((one.text, "" if one.text is not None else "no text"), []).append(one)
        for (words, _), ones in same.items():
            encodings = ", ".join(one.coding.encoding for one in ones)
            mark = "→" if any(one is likely for one in ones) else ""
            shown = f"({ones[0].reason})" if words is None else f'"{visible(words)}"'
            table.add_row(mark, name, byte_order, encodings, shown, style="bold" if mark else None)
    console.print(table)
    if likely:
        told = ", ".join(f'{key} = "{value}"' for key, value in readings.differences(DEFAULT, likely.coding))
        console.print(f"→ is the likely one: {told or 'the defaults'}")
    else:
        console.print("none of these is a text")


def numbers(data: bytes) -> list[dict[str, str]]:
    """Return the numbers in the first registers: one line for each type and order."""
    found = []
    for kind, count in REGISTERS_OF.items():
        if 2 * count > len(data):
            continue
        for byte_order in readings.ORDERS:
            for word_order in readings.ORDERS if count > 1 else readings.ORDERS[:1]:
                settings = {"type": kind, "word_order": word_order, "byte_order": byte_order}
                point = msgspec.convert({"name": kind, "space": "holding", "address": 0} | settings, Point)
                # repr has the shortest digits, and says nan and inf.
                value = repr(points.decode(point, data[: 2 * count]))
                found.append(settings | {"order": _letters(count, word_order, byte_order), "value": value})
    return found


def _letters(count: int, word_order: str, byte_order: str) -> str:
    """Return the order as SCADA tools name it: ABCD is the usual one, A the highest byte."""
    words = ["ABCDEFGH"[2 * place : 2 * place + 2] for place in range(count)]
    if word_order == "little":
        words.reverse()
    return "".join(word[::-1] if byte_order == "little" else word for word in words)


def _print_numbers(numbers: list[dict[str, str]]) -> None:
    kinds = list(dict.fromkeys(one["type"] for one in numbers))
    for count in dict.fromkeys(REGISTERS_OF[kind] for kind in kinds):
        these = [kind for kind in kinds if REGISTERS_OF[kind] == count]
        table = new_table("order", "word_order", "byte_order", *these)
        orders = dict.fromkeys(
            (one["order"], one["word_order"], one["byte_order"]) for one in numbers if one["type"] in these
        )
        for order in orders:
            values = {one["type"]: one["value"] for one in numbers if one["order"] == order[0]}
            table.add_row(*order, *(values[kind] for kind in these))
        console.print(table)
