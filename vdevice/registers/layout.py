"""Which address is what: the register map, version 2, and the words of the status blocks.

Addresses are 0-based. `find` is the one place that knows what lies where; the tables below it are also what
`vdevice map` prints, and a test holds them against the encoders.
"""

import enum
import struct

import msgspec

from vdevice.board import Board, TargetState
from vdevice.clean import to_ascii
from vdevice.model import POINTS, TARGETS

MAP_VERSION = 2
TEXT = 900
LONGEST_WRITE = 123
"""Registers of one FC16 request (Application Protocol 6.12)."""

COMMIT = 900
MIRROR = 950
STATUS = 50
DISCRETE_HEALTHY = 0
INPUTS, DISCRETES = 65_000, 400
"""Input registers and discrete inputs that can be read, in any range: what no table names is 0."""

DISCRETE_BLOCKS = (1, 101, 201, 301)
"""Where the discrete inputs busy, last message failed, enabled and full of target 1 are."""


class Space(enum.Enum):
    """The four address spaces of Modbus."""

    COILS = "coil"
    DISCRETE_INPUTS = "discrete input"
    INPUT_REGISTERS = "input register"
    HOLDING_REGISTERS = "holding register"


class Row(msgspec.Struct, frozen=True):
    """One line of the map: `count` registers at `offset` of a block, in `unit` where the value has one."""

    offset: int
    count: int
    name: str
    kind: str
    meaning: str
    unit: str = ""


TARGET_STATUS = (
    Row(
        0, 1, "state", "enum", "0 not configured, 1 idle, 2 queued, 3 sending, 4 waiting to retry, 5 paused, 6 disabled"
    ),
    Row(1, 1, "http_status", "uint16", "HTTP status of the last finished attempt, 0 = there was no HTTP answer"),
    Row(2, 2, "accepted", "uint32", "strings accepted since the outbox was created, high word first"),
    Row(4, 2, "delivered", "uint32", "strings delivered"),
    Row(6, 2, "failed", "uint32", "strings given up (dead letters)"),
    Row(8, 1, "queued", "uint16", "strings waiting or being sent, 65535 = that many or more"),
    Row(9, 1, "latency_ms", "uint16", "accept to delivery, of the last delivered string, 65535 = that or longer", "ms"),
    Row(10, 1, "error", "enum", "why the last attempt failed, 0 = it did not"),
    Row(11, 1, "attempts", "uint16", "attempts already made for the string at the head of the queue"),
    Row(12, 2, "finished_at", "uint32", "seconds since 1970 (UTC) when the last string was delivered or given up", "s"),
    Row(14, 1, "accepted_seq", "uint16", "accepted, low 16 bits"),
    Row(
        15,
        1,
        "finished_seq",
        "uint16",
        "delivered + failed + discarded, low 16 bits: equal to accepted_seq = nothing is pending",
    ),
    Row(16, 32, "error_text", "ASCII, 64 bytes", "the last error in words, NUL padded"),
    Row(
        48,
        1,
        "refused",
        "uint16",
        "writes answered 03, 04 or 06 that stored nothing, and staged texts thrown away, since the start, low 16 bits",
    ),
    Row(49, 1, "reserved", "", "0"),
)

DEVICE_STATUS = (
    Row(0, 1, "map_version", "uint16", f"version of this register map, {MAP_VERSION}"),
    Row(1, 1, "heartbeat", "uint16", "goes up by one each second"),
    Row(2, 2, "uptime", "uint32", "since the start, high word first", "s"),
    Row(4, 1, "queued", "uint16", "strings queued in all, 65535 = that many or more"),
    Row(5, 1, "connections", "uint16", "Modbus connections"),
    Row(6, 1, "flags", "bits", "bit 0 outbox full (for every target), bit 1 outbox failing, bit 2 delivery stopped"),
    Row(7, 16, "device_id", "ASCII, 32 bytes", "the device's id, NUL padded"),
    Row(23, 27, "reserved", "", "0"),
)

_TARGET = struct.Struct(">HHIIIHHHHIHH64sH2x")
_DEVICE = struct.Struct(">HHIHHH32s54x")


def text_target(address: int, count: int) -> tuple[int, int] | None:
    """Return target and text offset, if all `count` registers from `address` on are text of one target's block."""
    target, offset = divmod(address, 1000)
    return (target, offset) if target in TARGETS and count >= 1 and offset + count <= TEXT else None


def commit_target(address: int, count: int) -> int | None:
    """Return the target whose commit register this is, if it is just that register."""
    target, offset = divmod(address, 1000)
    return target if target in TARGETS and offset == COMMIT and count == 1 else None


def mirror_block(address: int, count: int) -> tuple[int, int] | None:
    """Return block (0 = the device, else the target) and offset, if all these holding registers mirror its status."""
    block, offset = divmod(address - MIRROR, 1000)
    return (block, offset) if offset + count <= STATUS and (block == 0 or block in TARGETS) else None


def is_points(address: int, count: int) -> bool:
    """Tell whether the whole range is in the process image of the device block."""
    return address + count <= POINTS


def target_status(state: TargetState) -> bytes:
    """Return the 50 status registers of a target as 100 bytes."""
    return _TARGET.pack(
        state.status,
        state.http_status & 0xFFFF,
        state.accepted & 0xFFFFFFFF,
        state.delivered & 0xFFFFFFFF,
        state.failed & 0xFFFFFFFF,
        min(max(state.queued, 0), 0xFFFF),
        min(max(state.latency_ms, 0), 0xFFFF),
        state.error,
        min(state.attempts, 0xFFFF),
        state.finished_at & 0xFFFFFFFF,
        state.accepted & 0xFFFF,
        (state.delivered + state.failed + state.discarded) & 0xFFFF,
        to_ascii(state.error_text, 64).encode(),
        state.refused & 0xFFFF,
    )


def device_status(board: Board, device_id: str) -> bytes:
    """Return the 50 status registers of the device as 100 bytes."""
    uptime = board.uptime
    flags = board.outbox_full | board.outbox_failing << 1 | (not board.delivering) << 2
    return _DEVICE.pack(
        MAP_VERSION,
        uptime & 0xFFFF,
        uptime & 0xFFFFFFFF,
        min(max(board.waiting, 0), 0xFFFF),
        min(board.connections.total(), 0xFFFF),
        flags,
        device_id.encode("ascii", "replace")[:32],
    )


def status(board: Board, device_id: str, block: int) -> bytes:
    """Return the 50 status registers of a block, 0 = the device, as 100 bytes."""
    return target_status(board.targets[block]) if block else device_status(board, device_id)


def input_registers(board: Board, device_id: str, address: int, count: int) -> bytes:
    """Return input registers below `INPUTS`, two bytes each, in any range: drivers read in blocks, across gaps."""
    pieces = []
    end = address + count
    while address < end:
        block, offset = divmod(address, 1000)
        size = min(end - address, 1000 - offset)
        registers = status(board, device_id, block) if offset < STATUS else b""
        pieces.append(registers[2 * offset : 2 * (offset + size)].ljust(2 * size, b"\0"))
        address += size
    return b"".join(pieces)


def discrete_inputs(board: Board, address: int, count: int) -> list[bool]:
    """Return discrete inputs below `DISCRETES`, in any range."""
    return [_discrete(board, number) for number in range(address, address + count)]


def _discrete(board: Board, address: int) -> bool:
    if address == DISCRETE_HEALTHY:
        return board.healthy
    block, index = divmod(address - 1, 100)
    state = board.targets.get(index + 1)
    if state is None or block >= len(DISCRETE_BLOCKS):
        return False
    return (state.queued > 0, state.error != 0, state.configured and state.enabled, state.full)[block]


def parse_target_status(registers: list[int]) -> dict[str, int | str]:
    """Return the status registers of a target by name, as `vdevice status` and a test read them."""
    return _parse(TARGET_STATUS, registers)


def parse_device_status(registers: list[int]) -> dict[str, int | str]:
    """Return the status registers of the device by name."""
    return _parse(DEVICE_STATUS, registers)


def _parse(rows: tuple[Row, ...], registers: list[int]) -> dict[str, int | str]:
    values: dict[str, int | str] = {}
    for row in rows:
        words = registers[row.offset : row.offset + row.count]
        data = struct.pack(f">{row.count}H", *words)
        if row.kind.startswith("ASCII"):
            values[row.name] = data.rstrip(b"\0").decode("ascii", "replace")
        elif row.kind:
            values[row.name] = int.from_bytes(data)
    return values
