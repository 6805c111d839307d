"""The sheet that a PLC programmer prints, and the same lines as CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterable

import msgspec

from vdevice.config import Config, Target
from vdevice.config.converter import enabled
from vdevice.model import ErrorCode
from vdevice.registers import text
from vdevice.registers.layout import COMMIT, MAP_VERSION, MIRROR, STATUS, TEXT
from vdevice.sheets import tags
from vdevice.sheets.tags import Tag

COLUMNS = ("space", "address", "reference", "registers", "name", "type", "access", "unit", "meaning")
Line = tuple[str, int, int, int, str, str, str, str, str]

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

EXAMPLE = "Hi!"
_HOLDING, _INPUT = tags.REFERENCES[tags.HOLDING], tags.REFERENCES[tags.INPUT]


def lines(config: Config | None) -> list[Line]:
    """Return the whole map: the device, its points, and each configured target, or all 64."""
    targets = tags.targets_of(config)
    found = [*tags.device_tags(), *tags.image_tags(), *tags.point_tags(config), *tags.discrete_tags(targets)]
    for number, target in targets.items():
        found += [*tags.text_tags(number, target), *tags.target_status_tags(number)]
    return [_line(tag, config) for tag in found]


def _line(tag: Tag, config: Config | None) -> Line:
    meaning = "; ".join(filter(None, (tag.meaning, _coding(tag), _rules(tag, config))))
    return (
        tag.space, tag.address, tag.reference, tag.count, tag.name, _kind(tag), tag.access, tag.unit, meaning,
    )  # fmt: skip


def _kind(tag: Tag) -> str:
    return f"{tag.kind}, bit {tag.bit}" if tag.bit is not None else tag.kind


def _coding(tag: Tag) -> str:
    """Return what a point's registers mean, in words."""
    words = []
    if tag.access == "read/write" and tag.kind in {"int32", "uint32", "int64", "float32", "float64"}:
        words.append("high word first" if tag.word_order == "big" else "low word first")
    if tag.byte_order == "little":
        words.append("first character in the low byte" if tag.kind == "string" else "bytes swapped")
    if tag.is_scaled:
        words.append(f"value = register · {tag.scale:g}{f' {tag.offset:+g}' if tag.offset else ''}")
    return ", ".join(words)


def _rules(tag: Tag, config: Config | None) -> str:
    """Return where the rules send a point."""
    if config is None or not any(point.name == tag.name for point in config.points):
        return ""
    there = dict.fromkeys(d for _, rule in enabled(config.rules) if rule.source == tag.name for d in rule.destinations)
    return f"watched for {', '.join(there)}" if there else ""


def to_csv(config: Config | None) -> str:
    """Return the map as CSV, one line a register or field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([COLUMNS, *lines(config)])
    return out.getvalue()


def to_json(config: Config | None) -> str:
    """Return the map as a JSON array of objects."""
    return (
        json.dumps([dict(zip(COLUMNS, line, strict=True)) for line in lines(config)], indent=1, ensure_ascii=False)
        + "\n"
    )


def to_markdown(config: Config | None) -> str:
    """Return the sheet: how to send, the device and its points, one target as a pattern, and where each target starts."""
    points = tags.point_tags(config)
    targets = tags.targets_of(config)
    number = next(iter(targets), 7) if config else 7
    return _SHEET.format(
        version=MAP_VERSION,
        port=f"{config.modbus.listen.port}" if config else "5020 (modbus.listen)",
        unit=f"{config.modbus.unit_id}" if config else "1 (modbus.unit_id)",
        patience=f"{config.modbus.answer_timeout if config else 5:g} s",
        number=number,
        send=_how_to_send(number, targets.get(number)),
        device=_table([*tags.device_tags(), *tags.image_tags()], config),
        points=f"\n### Points\n\n{_table(points, config)}\n" if points else "",
        target=_table(_pattern(), None, "B + "),
        errors="\n".join(f"| {int(code)} | {words} |" for code, words in ERRORS.items()),
        targets="\n".join(_place(number, target) for number, target in targets.items()),
        bytes=2 * TEXT,
    )


def _how_to_send(number: int, target: Target | None) -> str:
    """Return the steps for one target."""
    block, coding = 1000 * number, text.coding_of(target)
    words = text.encode(EXAMPLE, coding).hex().upper()
    return _STEPS.format(
        how=_how(target), example=EXAMPLE, write=_write_step(number, target),
        words=" ".join(words[place : place + 4] for place in range(0, len(words), 4)),
        queued=block + 8, accepted=block + 14, finished=block + 15, error=block + 10, queued_mirror=block + MIRROR + 8,
        accepted_mirror=block + MIRROR + 14, finished_mirror=block + MIRROR + 15, error_mirror=block + MIRROR + 10,
        input_reference=_INPUT + block + 8, mirror_reference=_HOLDING + block + MIRROR + 8,
    )  # fmt: skip


def _write_step(number: int, target: Target | None) -> str:
    """Return how the registers are written, and which answer is the promise."""
    block = 1000 * number
    where = f"holding register {block} (reference {_HOLDING + block})"
    match target.completion if target else "request":
        case "content":
            return (
                f"Write them with FC16 (or FC06) from {where} on, in as many requests as it takes, the first register first. "
                "The answer to the request that brings the end (NUL or length) means that the string is on disk."
            )
        case "commit":
            return (
                f"Write them with FC16 (or FC06) from {where} on, in any order; then write the length in bytes, or 0 = up to "
                f"the first NUL, to {block + COMMIT} (reference {_HOLDING + block + COMMIT}). The answer to that last write "
                "means that the string is on disk."
            )
        case "idle":
            return (
                f"Write them with FC16 (or FC06) from {where} on, the first register first; the string is stored when nothing "
                f"was written for {target.idle_ms if target else 0} ms."
            )
    return f"Write them in one request with FC16 to {where}. The answer means that the string is on disk."


def _how(target: Target | None) -> str:
    """Return how a target wants its strings, in one sentence."""
    coding = text.coding_of(target)
    order = "low" if coding.byte_order == "little" else "high"
    first = "low" if coding.word_order == "little" else "high"
    characters = f"two characters a register, the first one in the {order} byte"
    layout = {
        "nul": f"{characters}, ended by a NUL or by the end of the write",
        "fixed": f"{characters}, padded with NULs or blanks",
        "length16": f"register 0 = length in bytes, then {characters}",
        "length32": f"registers 0 and 1 = length in bytes, {first} word first, then {characters}",
        "s7-string": "a STEP 7 STRING as it lies in memory: greatest length, length, characters",
        "s7-wstring": "a STEP 7 WSTRING as it lies in memory: greatest length, length, UTF-16 characters",
    }[coding.format]
    return f"{layout}; {coding.charset}"


def _completion(target: Target | None) -> str:
    match target.completion if target else "request":
        case "content":
            whole = f" or {target.registers} registers were written" if target and target.registers else ""
            return f"several writes, the first register first; whole when its end or length is there{whole}"
        case "commit":
            return f"several writes in any order, then the length in bytes to B + {COMMIT}"
        case "idle":
            return (
                f"several writes, the first register first; whole {target.idle_ms if target else 0} ms after the last"
            )
    return "one write (FC16, up to 123 registers), from the first register on"


def _place(number: int, target: Target | None) -> str:
    block = 1000 * number
    description = _cell(target.description if target else "")
    where = f"{block}..{block + TEXT - 1}"
    status = f"{block}..{block + STATUS - 1}"
    mirror = f"{block + MIRROR}..{block + 999}"
    start = f"| {number} | {where} | {_HOLDING + block} | {status} | {mirror} |"
    if target is None:
        return f"{start}  |  |"
    repeated = "; a text like the last one is not sent again" if target.trigger == "change" else ""
    off = "; disabled: writes get exception 04" if not target.enabled else ""
    return f"{start} {_cell(_how(target))}. {_completion(target)}{repeated}{off} | {description} |"


def _pattern() -> list[Tag]:
    found = (*tags.text_tags(0, None), *tags.target_status_tags(0))
    return [msgspec.structs.replace(tag, name=tag.name.replace("target/0", "target/n")) for tag in found]


def _table(rows: Iterable[Tag], config: Config | None, base: str = "") -> str:
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
    return head + "\n".join(_row(_line(tag, config), base) for tag in rows)


def _row(line: Line, base: str) -> str:
    space, address, reference, count, *rest = line
    span = f"{base}{address}" if count == 1 else f"{base}{address}..{address + count - 1}"
    return f"| {space} | {span} | {base}{reference} | {count} | {' | '.join(_cell(str(word)) for word in rest)} |"


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "&#124;")


_STEPS = """\
1. Put the text into registers: {how}. `{example}` is `{words}` (hexadecimal, one group a register).
   An odd last byte is followed by a NUL.
2. {write}
3. Read queued, accepted_seq and finished_seq in one request: input registers {queued}, {accepted} and {finished} with FC04
   (8 registers from reference {input_reference}), or holding registers {queued_mirror}, {accepted_mirror} and
   {finished_mirror} with FC03 (from reference {mirror_reference}). Repeat, some times a second, until the two counters are
   equal and queued is 0. The counters go from 65535 to 0, so that with 65,536 waiting they are equal, too.
4. Read error: {error} (FC04) or {error_mirror} (FC03). 0 means that the last string was delivered, else see the table of
   errors."""

_SHEET = """\
# Register map of vdevice (map version {version})

Generated by `vdevice map`; `make map` writes it anew.

Addresses are 0-based protocol addresses, decimal. The reference that many tools show is the address + 400001 for holding
registers, + 300001 for input registers, + 100001 for discrete inputs, + 1 for coils. Tools with five digits show 40001, 30001
and 10001 plus the address, and reach addresses up to 9998.

| what | value |
|---|---|
| connection | Modbus/TCP, port {port}; unit id {unit}, or 0 or 255 |
| time limit | an answer comes in milliseconds, {patience} at most (modbus.answer_timeout); wait a second longer |
| coils | read FC01, write FC05, FC15 |
| discrete inputs | read FC02; 0..399 in any range, what no table names is 0 |
| input registers | read FC04, up to 125 a request; 0..64999 in any range, what no table names is 0 |
| holding registers | read FC03, up to 125 a request; write FC06, FC16 (up to 123), FC23 (up to 121); points also FC22 |
| numbers of two registers | high word first, unless the meaning says otherwise; read both in one request |
| bits of a register | bit 0 is the lowest |

## To send a string to target {number}

{send}

One request carries at most 123 registers (246 bytes); the text holds {bytes} bytes. How longer strings go in several writes
is a setting of the target: see the last table.

## Device

{device}
{points}
## Target n: its block starts at B = 1000 · n

{target}

### Values of error

| error | meaning |
|---|---|
{errors}

### Exception codes

| code | what happened | what to do |
|---|---|---|
| 01 | not one of 01 02 03 04 05 06 15 16 17 22 23 43/14, or this client may not write there | use FC16; see modbus.clients |
| 02 | no such register, not readable or writable, not where a string begins, or the target is not configured | see the tables |
| 03 | wrong quantity or byte count, not text of the target's encoding, or a wrong length | see how the target wants its text |
| 04 | the target is disabled, or the outbox cannot be written; nothing was stored, unless it came late | write again later |
| 06 | no room for this target, 16 requests of this connection wait, or faster than its rate; nothing stored | write again |
| 0B | another unit id | use {unit}, 0 or 255 |
| none | no answer: you cannot know | write again, not for ever; the string may go out twice. See the device's log |

## Where the targets are

Discrete inputs of target n: n busy, 100 + n last message failed, 200 + n enabled, 300 + n full (the last write got 06).

| target | text | reference | status by FC04 | status by FC03 | how it wants its text | description |
|---|---|---|---|---|---|---|
{targets}
"""
