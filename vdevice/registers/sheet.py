"""The register map as a sheet: Markdown to print, CSV and JSON to import. Pure: names in, text out."""

import csv
import io
import json
from collections.abc import Callable, Mapping

from vdevice.model import TARGETS, ErrorCode
from vdevice.registers.layout import COMMIT, DEVICE_STATUS, DISCRETE_BLOCKS, MIRROR, POINTS, TARGET_STATUS, TEXT, Row

Names = Mapping[int, str] | None
"""Descriptions of the configured targets; None for the map of every device."""

HOLDING, INPUT, DISCRETE, COIL = 400_001, 300_001, 100_001, 1
COLUMNS = ("space", "address", "reference", "registers", "name", "type", "access", "meaning")
Line = tuple[str, int, int, int, str, str, str, str]

ERRORS = {
    ErrorCode.NONE: "none",
    ErrorCode.BUILD: "request could not be built",
    ErrorCode.DNS: "name not resolved",
    ErrorCode.CONNECT: "no connection",
    ErrorCode.TLS: "TLS",
    ErrorCode.TIMEOUT: "timeout",
    ErrorCode.HTTP: "HTTP status (see http_status)",
    ErrorCode.SERVICE: "answer says error (chat services)",
    ErrorCode.TOO_OLD: "too old (max_age)",
    ErrorCode.TARGET: "target removed or disabled",
    ErrorCode.FILE: "file",
    ErrorCode.INTERNAL: "internal",
}


def _status(rows: tuple[Row, ...], block: int, prefix: str) -> list[Line]:
    lines: list[Line] = []
    for space, first, base in (("input register", block, INPUT), ("holding register", block + MIRROR, HOLDING)):
        for row in rows:
            address = first + row.offset
            lines.append(
                (space, address, address + base, row.count, f"{prefix}.{row.name}", row.kind, "read", row.meaning)
            )
    return lines


def device_lines() -> list[Line]:
    """Return the device block."""
    lines: list[Line] = [
        ("holding register", 0, HOLDING, POINTS, "device.points", "uint16", "read/write", "points: the process image"),
        ("coil", 0, COIL, POINTS, "device.coils", "bool", "read/write", "points (booleans)"),
        ("discrete input", 0, DISCRETE, 1, "device.healthy", "bool", "read", "the device is healthy"),
    ]
    for first, name, meaning in zip(
        DISCRETE_BLOCKS, ("busy", "failed", "enabled"), ("busy", "last string failed", "enabled"), strict=True
    ):
        lines.append(
            (
                "discrete input",
                first,
                DISCRETE + first,
                64,
                f"targets.{name}",
                "bool",
                "read",
                f"target 1 to 64: {meaning}",
            )
        )
    return lines + _status(DEVICE_STATUS, 0, "device")


def target_lines(number: int, description: str = "") -> list[Line]:
    """Return the block of one target."""
    block = 1000 * number
    name = f"target/{number}"
    meaning = f"the string: 2 bytes a register, up to {2 * TEXT} bytes{f' ({description})' if description else ''}"
    text: Line = ("holding register", block, HOLDING + block, TEXT, f"{name}.text", "string", "write", meaning)
    commit: Line = (
        "holding register",
        block + COMMIT,
        HOLDING + block + COMMIT,
        1,
        f"{name}.commit",
        "uint16",
        "write",
        "completes a staged string (completion commit, not in this version)",
    )
    return [text, commit, *_status(TARGET_STATUS, block, name)]


def lines(names: Names) -> list[Line]:
    """Return the whole map: the device and each target of `names`, or all 64."""
    chosen: Mapping[int, str] = dict.fromkeys(TARGETS, "") if names is None else names
    return device_lines() + [line for number in sorted(chosen) for line in target_lines(number, chosen[number])]


def to_csv(names: Names) -> str:
    """Return the map as CSV, one line a register or field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([COLUMNS, *lines(names)])
    return out.getvalue()


def to_json(names: Names) -> str:
    """Return the map as a JSON array of objects."""
    return json.dumps([dict(zip(COLUMNS, line, strict=True)) for line in lines(names)], indent=1) + "\n"


def to_markdown(names: Names) -> str:
    """Return the map as a sheet to print: the device, then one target as a pattern, and where each target starts."""
    rows: Mapping[int, str] = dict.fromkeys(TARGETS, "") if names is None else names
    return _SHEET.format(
        device=_table(device_lines()),
        target=_table([_pattern(line) for line in target_lines(0)]),
        errors="\n".join(f"| {int(code)} | {words} |" for code, words in ERRORS.items()),
        targets="\n".join(_place(number, rows[number]) for number in sorted(rows)),
        bytes=2 * TEXT,
    )


def _place(number: int, description: str) -> str:
    block = 1000 * number
    words = " ".join(description.split()).replace("|", "&#124;")
    return f"| {number} | {block}..{block + TEXT - 1} | {block}..{block + 49} | {block + MIRROR}..{block + 999} | {words} |"


def _pattern(line: Line) -> Line:
    space, address, reference, count, name, kind, access, meaning = line
    return (space, address, reference, count, name.replace("target/0", "target/n"), kind, access, meaning)


def _table(rows: list[Line]) -> str:
    head = "| space | address | reference | registers | name | type | access | meaning |\n|---|---|---|---|---|---|---|---|\n"
    base = "B + " if rows[0][4].startswith("target/") else ""
    return head + "\n".join(_markdown_row(row, base) for row in rows)


def _markdown_row(row: Line, base: str) -> str:
    space, address, reference, count, name, kind, access, meaning = row
    span = f"{base}{address}" if count == 1 else f"{base}{address}..{address + count - 1}"
    return f"| {space} | {span} | {base}{reference} | {count} | {name} | {kind} | {access} | {meaning} |"


_SHEET = """\
# Register map of vdevice (map version 1)

Generated by `vdevice map`; `make map` writes it anew.

Addresses are 0-based protocol addresses. The reference that many tools show is the address + 400001 for holding
registers, + 300001 for input registers.

## To send a string to target 7

1. Write it with FC16 to holding register 7000 (reference 407001), two characters a register, the first one in the high
   byte, ended by a NUL or by the end of the write. The answer means that it is on disk.
2. Read 7014 (accepted_seq) and 7015 (finished_seq) with FC04, or 7964 and 7965 with FC03, until they are equal.
3. Read 7010 (FC04) or 7960 (FC03): 0 means that the last string was delivered, else see the table of errors.

One request carries at most 123 registers (246 bytes); the text holds {bytes} bytes.

## Device

{device}

## Target n: its block starts at B = 1000 · n

{target}

### Values of error

| error | meaning |
|---|---|
{errors}

### Exception codes

| code | what happened | what to do |
|---|---|---|
| 01 | the function is not one of 01 02 03 04 05 06 15 16 17 23 43/14 | use FC16 |
| 02 | no such register, not readable or writable, or the target is not configured | see the tables above |
| 03 | wrong quantity or byte count, or not text of the target's encoding | check encoding and byte_order |
| 04 | the target is disabled, or the outbox cannot be written; nothing was stored | write again later |
| 06 | the outbox is full, or more than 16 requests of this connection wait; nothing was stored | write again |
| 0B | another unit id | use modbus.unit_id, 0 or 255 |

## Where the targets are

| target | text | status by FC04 | status by FC03 | description |
|---|---|---|---|---|
{targets}
"""

FORMATS: dict[str, Callable[[Names], str]] = {"md": to_markdown, "csv": to_csv, "json": to_json}
