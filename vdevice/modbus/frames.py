"""The MBAP header (Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3): a byte stream to frames and back.

    | transaction id | protocol id | length | unit id | PDU            |
    | 2 bytes        | 2 bytes, 0  | 2      | 1       | length-1 bytes |

The specification's longest frame says 254 there. Clients that write one register too many say more; their frames are read
whole, so that they can be answered an exception instead of losing their connection.

Pure: whatever pieces the bytes come in, the same frames come out.
"""

import re
import struct
from typing import NamedTuple

from pymodbus.framer import FramerAscii, FramerRTU

from vdevice.modbus.pdu import FUNCTIONS

HEADER = 7
SHORTEST, LONGEST = 2, 512
"""What the length field may say; 2 is the unit id and one byte of PDU."""

_MBAP = struct.Struct(">HHHB")
_ASCII = re.compile(rb":((?:[0-9A-Fa-f]{2}){3,255})\r\n")

_RTU_SIZES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
"""Bytes of a Modbus RTU request, by its function (Modbus over Serial Line V1.02, 2.5.1)."""

_RTU_COUNTS = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10}
"""Where the other functions have their byte count, behind which the data and the CRC follow."""


class Frame(NamedTuple):
    """One request as it came: its transaction and unit id, which the answer repeats, and its PDU."""

    transaction: int
    unit: int
    pdu: bytes


class FrameError(Exception):
    """Bytes that are not Modbus/TCP; the connection that they came on cannot be read further.

    `kind` names what they are without figures, so that the same mistake is known again.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _wrong_protocol() -> FrameError:
    return FrameError("wrong protocol id", "its protocol id is not 0")


def take(buffer: bytearray) -> Frame | None:
    """Remove and return the first whole frame of a buffer, or None where there is none yet. Raises FrameError."""
    if len(buffer) < HEADER:
        if len(buffer) >= 4 and (buffer[2] or buffer[3]):
            raise _wrong_protocol()
        return None
    transaction, protocol, length, unit = _MBAP.unpack_from(buffer)
    if protocol:
        raise _wrong_protocol()
    if not SHORTEST <= length <= LONGEST:
        raise FrameError("wrong length", f"its length field says {length}, which is not {SHORTEST}..{LONGEST}")
    end = length + 6
    if len(buffer) < end:
        return None
    pdu = bytes(buffer[HEADER:end])
    del buffer[:end]
    return Frame(transaction, unit, pdu)


def encode(frame: Frame, pdu: bytes) -> bytes:
    """Return the frame that answers `frame` with a PDU."""
    return _MBAP.pack(frame.transaction, 0, len(pdu) + 1, frame.unit) + pdu


def check_not_serial(buffer: bytearray) -> None:
    """Raise FrameError where the first bytes of a connection are a frame for serial lines.

    One in 65,536 frames of Modbus/TCP has by chance the check sum of the other kind, so that what can be one is one.
    """
    if len(buffer) > HEADER and buffer[HEADER] in FUNCTIONS:
        _, protocol, length, _ = _MBAP.unpack_from(buffer)
        if not protocol and SHORTEST <= length <= len(buffer) - 6:
            return
    kind = serial_kind(bytes(buffer))
    if kind:
        raise FrameError(
            f"Modbus {kind} frames",
            f"it sends Modbus {kind} frames, and this port takes Modbus/TCP only; set the gateway to Modbus TCP "
            '(Modbus TCP to RTU, not a raw, transparent or "RTU over TCP" socket)',
        )


def serial_kind(data: bytes) -> str:
    """Return "RTU" or "ASCII" where bytes begin with a whole Modbus frame for serial lines, its check sum right; else ""."""
    found = _ASCII.match(data)
    if found:
        body = bytes.fromhex(found[1].decode())
        return "ASCII" if FramerAscii.compute_LRC(body[:-1]) == body[-1] else ""
    size = _rtu_size(data)
    if not 4 <= size <= len(data):
        return ""
    return "RTU" if FramerRTU.compute_CRC(data[: size - 2]) == int.from_bytes(data[size - 2 : size]) else ""


def _rtu_size(data: bytes) -> int:
    """Return how long the Modbus RTU request at the start of some bytes is, 0 where that cannot be told."""
    if len(data) < 4:
        return 0
    count = _RTU_COUNTS.get(data[1])
    if count is None:
        return _RTU_SIZES.get(data[1], 0)
    return count + 1 + data[count] + 2 if len(data) > count else 0
