"""Request PDUs to typed requests, checked as the Application Protocol V1.1b3 wants it, and answers to PDUs.

| code | chapter | request after the function code                                             | quantity       |
|------|---------|-----------------------------------------------------------------------------|----------------|
| 01   | 6.1     | address 2, quantity 2                                                        | 1..2000        |
| 02   | 6.2     | address 2, quantity 2                                                        | 1..2000        |
| 03   | 6.3     | address 2, quantity 2                                                        | 1..125         |
| 04   | 6.4     | address 2, quantity 2                                                        | 1..125         |
| 05   | 6.5     | address 2, value 2: 0x0000 or 0xFF00                                         |                |
| 06   | 6.6     | address 2, value 2                                                           |                |
| 15   | 6.11    | address 2, quantity 2, byte count 1, bits, the first in the lowest bit       | 1..1968        |
| 16   | 6.12    | address 2, quantity 2, byte count 1, registers                               | 1..123         |
| 17   | 6.13    | nothing                                                                      |                |
| 22   | 6.16    | address 2, AND mask 2, OR mask 2                                             |                |
| 23   | 6.17    | read address 2, quantity 2, write address 2, quantity 2, byte count 1, registers | 1..125, 1..121 |
| 43   | 6.21    | MEI type 14, read device id code 1, object id 1                              |                |

Registers stay bytes, as they came: a string is not unpacked to numbers only to be packed again.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from pymodbus.constants import ExcCodes

from vdevice.model import TARGETS
from vdevice.registers.layout import COMMIT, Space


class Refused(Exception):  # noqa: N818 (an exception code is an answer, not a failure of ours)
    """A request that gets an exception code instead of an answer."""

    def __init__(self, code: ExcCodes, reason: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class Read(NamedTuple):
    """FC 01, 02, 03, 04."""

    function: int
    space: Space
    address: int
    quantity: int


class WriteBits(NamedTuple):
    """FC 05, 15."""

    function: int
    address: int
    bits: list[bool]
    echo: bytes


class WriteRegisters(NamedTuple):
    """FC 06, 16: `data` is two bytes a register."""

    function: int
    address: int
    data: bytes
    echo: bytes


class MaskWrite(NamedTuple):
    """FC 22: a register becomes (register AND `keep`) OR (`bits` AND NOT `keep`)."""

    function: int
    address: int
    keep: int
    bits: int
    echo: bytes

    def written(self, register: int) -> int:
        """Return what a register is after the write."""
        return register & self.keep | self.bits & ~self.keep & 0xFFFF


class ReadWrite(NamedTuple):
    """FC 23: the write comes first."""

    function: int
    read: Read
    write: WriteRegisters


class Identify(NamedTuple):
    """FC 43/14: `code` 1 basic, 2 regular, 3 extended, 4 one object."""

    function: int
    code: int
    object_id: int


class ServerId(NamedTuple):
    """FC 17."""

    function: int


Request = Read | WriteBits | WriteRegisters | MaskWrite | ReadWrite | Identify | ServerId

QUANTITIES = {1: 2000, 2: 2000, 3: 125, 4: 125, 15: 1968, 16: 123, 23: 121}
"""The most bits or registers of a request, by function; for 23 those that it writes."""

READ_WRITE_READS = 125
"""The most registers that function 23 reads."""

_READS = {
    1: (Space.COILS, QUANTITIES[1]),
    2: (Space.DISCRETE_INPUTS, QUANTITIES[2]),
    3: (Space.HOLDING_REGISTERS, QUANTITIES[3]),
    4: (Space.INPUT_REGISTERS, QUANTITIES[4]),
}
_HH = struct.Struct(">HH")
_HHH = struct.Struct(">HHH")
_HHHHB = struct.Struct(">HHHHB")

FUNCTIONS = frozenset({*_READS, 5, 6, 15, 16, 17, 22, 23, 43})
"""The functions of the table above."""

LONGEST = 253
"""Bytes of a PDU (Application Protocol, 4.1)."""


def decode(pdu: bytes) -> Request:
    """Return the request that a PDU of at least one byte holds.

    Raises Refused: 03 for a PDU that is too long, 01 for a function that this device does not have, else 03 for a wrong
    quantity, byte count, value or length. Addresses are the unit's business.
    """
    function = pdu[0]
    _require(len(pdu) <= LONGEST)
    if function == 16:
        return _write_registers(pdu)
    if function in _READS:
        return _read(pdu)
    if function in {5, 6}:
        return _write_single(pdu)
    if function == 15:
        return _write_bits(pdu)
    if function == 22:
        _require(len(pdu) == 7)
        address, keep, bits = _HHH.unpack_from(pdu, 1)
        return MaskWrite(22, address, keep, bits, pdu)
    if function == 23:
        return _read_write(pdu)
    if function == 17:
        _require(len(pdu) == 1)
        return ServerId(17)
    if function == 43:
        return _identify(pdu)
    raise Refused(ExcCodes.ILLEGAL_FUNCTION)


def written_target(pdu: bytes) -> int | None:
    """Return the target whose text or commit register a PDU would write first, be it whole or broken; None for others."""
    place = {6: 1, 16: 1, 23: 5}.get(pdu[0])
    if place is None or len(pdu) < place + 2:
        return None
    block, offset = divmod(int.from_bytes(pdu[place : place + 2]), 1000)
    return block if block in TARGETS and offset <= COMMIT else None


def _require(holds: bool) -> None:  # noqa: FBT001 (it is the condition itself)
    if not holds:
        raise Refused(ExcCodes.ILLEGAL_VALUE)


def _read(pdu: bytes) -> Read:
    space, most = _READS[pdu[0]]
    _require(len(pdu) == 5)
    address, count = _HH.unpack_from(pdu, 1)
    _require(1 <= count <= most)
    return Read(pdu[0], space, address, count)


def _write_single(pdu: bytes) -> WriteBits | WriteRegisters:
    _require(len(pdu) == 5)
    address, value = _HH.unpack_from(pdu, 1)
    if pdu[0] == 6:
        return WriteRegisters(6, address, pdu[3:5], pdu)
    _require(value in {0x0000, 0xFF00})
    return WriteBits(5, address, [value == 0xFF00], pdu)


def _write_bits(pdu: bytes) -> WriteBits:
    _require(len(pdu) >= 6)
    address, count = _HH.unpack_from(pdu, 1)
    _require(1 <= count <= QUANTITIES[15] and pdu[5] == (count + 7) // 8 and len(pdu) == 6 + pdu[5])
    bits = [bool(pdu[6 + index // 8] >> index % 8 & 1) for index in range(count)]
    return WriteBits(15, address, bits, pdu[:5])


def _write_registers(pdu: bytes) -> WriteRegisters:
    _require(len(pdu) >= 6)
    address, count = _HH.unpack_from(pdu, 1)
    _require(1 <= count <= QUANTITIES[16] and pdu[5] == 2 * count and len(pdu) == 6 + pdu[5])
    return WriteRegisters(16, address, pdu[6:], pdu[:5])


def _read_write(pdu: bytes) -> ReadWrite:
    _require(len(pdu) >= 10)
    read_address, read_count, address, count, size = _HHHHB.unpack_from(pdu, 1)
    _require(1 <= read_count <= READ_WRITE_READS and 1 <= count <= QUANTITIES[23])
    _require(size == 2 * count and len(pdu) == 10 + size)
    read = Read(23, Space.HOLDING_REGISTERS, read_address, read_count)
    return ReadWrite(23, read, WriteRegisters(23, address, pdu[10:], b""))


def _identify(pdu: bytes) -> Identify:
    _require(len(pdu) >= 2)
    if pdu[1] != 14:
        raise Refused(ExcCodes.ILLEGAL_FUNCTION)
    _require(len(pdu) == 4 and 1 <= pdu[2] <= 4)
    return Identify(43, pdu[2], pdu[3])


def exception(function: int, code: ExcCodes) -> bytes:
    """Return the PDU of an exception answer."""
    return bytes((function | 0x80, code))


def registers(function: int, data: bytes) -> bytes:
    """Return the PDU that answers a read of registers."""
    return bytes((function, len(data))) + data


def bits(function: int, values: Sequence[int]) -> bytes:
    """Return the PDU that answers a read of bits."""
    packed = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        packed[index // 8] |= value << index % 8
    return bytes((function, len(packed))) + packed


def server_id(unit_id: int, text: str) -> bytes:
    """Return the PDU that answers FC 17: one byte of id, 0xFF for running, then text, which is how clients take it apart."""
    data = bytes((unit_id, 0xFF)) + text.encode("ascii", "replace")
    return bytes((17, len(data))) + data
