"""What the device must answer to any PDU, written down from the contract's tables alone: nothing of vdevice is used.

Target 7 is enabled and target 8 disabled, both in completion mode `request`; no other target has a config.
"""

import codecs
import struct
from collections.abc import Callable
from typing import NamedTuple

ENABLED, DISABLED = 7, 8
OBJECTS = {0, 1, 2, 4, 6}
"""Identification objects that the device has: vendor, product code, revision, product name, application name; no URL is set."""


class Region(NamedTuple):
    """Addresses that one request may touch together."""

    first: int
    last: int
    kind: str
    target: int = 0


HOLDING = [Region(0, 899, "points"), Region(950, 999, "status")]
INPUT = [Region(0, 64_999, "status")]
for number in range(1, 65):
    block = 1000 * number
    HOLDING += [Region(block, block + 899, "text", number), Region(block + 950, block + 999, "status", number)]
COILS = [Region(0, 899, "points")]
DISCRETE = [Region(0, 399, "status")]


def region_of(regions: list[Region], address: int, count: int) -> Region | None:
    """Return the region that holds all of a range."""
    for region in regions:
        if region.first <= address and address + count - 1 <= region.last:
            return region
    return None


def expected(pdu: bytes) -> int:
    """Return the exception code that a PDU must be answered with, 0 for none."""
    function = pdu[0]
    if len(pdu) > 253:
        return 3
    check = CHECKS.get(function)
    return check(pdu) if check else 1


def refused_target(pdu: bytes, code: int) -> int | None:
    """Return the target that counts this answer as refused: a write to its text or commit register got 03, 04 or 06."""
    place = {6: 1, 16: 1, 23: 5}.get(pdu[0])
    if code not in {3, 4, 6} or place is None or len(pdu) < place + 2:
        return None
    target, offset = divmod(struct.unpack(">H", pdu[place : place + 2])[0], 1000)
    return target if 1 <= target <= 64 and offset <= 900 else None


def _read(pdu: bytes) -> int:
    function = pdu[0]
    if len(pdu) != 5:
        return 3
    address, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= (2000 if function < 3 else 125):
        return 3
    regions = {1: COILS, 2: DISCRETE, 3: HOLDING, 4: INPUT}[function]
    region = region_of(regions, address, count)
    return 0 if region and region.kind != "text" else 2


def _coil(pdu: bytes) -> int:
    if len(pdu) != 5 or pdu[3:] not in {b"\x00\x00", b"\xff\x00"}:
        return 3
    return 0 if region_of(COILS, struct.unpack(">H", pdu[1:3])[0], 1) else 2


def _register(pdu: bytes) -> int:
    return 3 if len(pdu) != 5 else _write(struct.unpack(">H", pdu[1:3])[0], pdu[3:])


def _coils(pdu: bytes) -> int:
    if len(pdu) < 6:
        return 3
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= 1968 or size != -(-count // 8) or len(pdu) != 6 + size:
        return 3
    return 0 if region_of(COILS, address, count) else 2


def _registers(pdu: bytes) -> int:
    if len(pdu) < 6:
        return 3
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= 123 or size != 2 * count or len(pdu) != 6 + size:
        return 3
    return _write(address, pdu[6:])


def _read_write(pdu: bytes) -> int:
    if len(pdu) < 10:
        return 3
    read, reads, write, writes, size = struct.unpack(">HHHHB", pdu[1:10])
    if not 1 <= reads <= 125 or not 1 <= writes <= 121 or size != 2 * writes or len(pdu) != 10 + size:
        return 3
    region = region_of(HOLDING, read, reads)
    if region is None or region.kind == "text":
        return 2
    return _write(write, pdu[10:])


def _write(address: int, data: bytes) -> int:
    region = region_of(HOLDING, address, len(data) // 2)
    if region is None or region.kind == "status":
        return 2
    if region.kind == "points":
        return 0
    if region.target not in {ENABLED, DISABLED} or address != region.first:
        return 2
    text = data.partition(b"\0")[0]
    if not text and data.strip(b"\0"):
        # It begins with a NUL and goes on.
        return 3
    try:
        # A character that the end of the write cut is dropped.
        codecs.getincrementaldecoder("utf-8")().decode(text, final=b"\0" in data)
    except UnicodeDecodeError:
        return 3
    return 4 if region.target == DISABLED else 0


def _mask(pdu: bytes) -> int:
    if len(pdu) != 7:
        return 3
    region = region_of(HOLDING, struct.unpack(">H", pdu[1:3])[0], 1)
    return 0 if region and region.kind == "points" else 2


def _identify(pdu: bytes) -> int:
    if len(pdu) < 2:
        return 3
    if pdu[1] != 14:
        return 1
    if len(pdu) != 4 or not 1 <= pdu[2] <= 4:
        return 3
    return 2 if pdu[2] == 4 and pdu[3] not in OBJECTS else 0


CHECKS: dict[int, Callable[[bytes], int]] = {
    **dict.fromkeys((1, 2, 3, 4), _read),
    5: _coil,
    6: _register,
    15: _coils,
    16: _registers,
    17: lambda pdu: 0 if len(pdu) == 1 else 3,
    22: _mask,
    23: _read_write,
    43: _identify,
}
