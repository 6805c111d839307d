"""The MBAP header (Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3): a byte stream to frames and back.

    | transaction id | protocol id | length | unit id | PDU            |
    | 2 bytes        | 2 bytes, 0  | 2      | 1       | length-1 bytes |

Pure: whatever pieces the bytes come in, the same frames come out.
"""

import struct
from typing import NamedTuple

HEADER = 7
SHORTEST, LONGEST = 2, 254
"""What the length field may say: unit id and one byte of PDU, unit id and 253."""

_MBAP = struct.Struct(">HHHB")


class Frame(NamedTuple):
    """One request as it came: its transaction and unit id, which the answer repeats, and its PDU."""

    transaction: int
    unit: int
    pdu: bytes


class FrameError(Exception):
    """Bytes that are not Modbus/TCP; the connection that they came on cannot be read further."""


def take(buffer: bytearray) -> Frame | None:
    """Remove and return the first whole frame of a buffer, or None where there is none yet. Raises FrameError."""
    if len(buffer) < HEADER:
        if len(buffer) >= 4 and (buffer[2] or buffer[3]):
            raise FrameError("the protocol id is not 0")
        return None
    transaction, protocol, length, unit = _MBAP.unpack_from(buffer)
    if protocol:
        raise FrameError("the protocol id is not 0")
    if not SHORTEST <= length <= LONGEST:
        raise FrameError(f"the length field says {length}, which is not {SHORTEST}..{LONGEST}")
    end = length + 6
    if len(buffer) < end:
        return None
    pdu = bytes(buffer[HEADER:end])
    del buffer[:end]
    return Frame(transaction, unit, pdu)


def encode(frame: Frame, pdu: bytes) -> bytes:
    """Return the frame that answers `frame` with a PDU."""
    return _MBAP.pack(frame.transaction, 0, len(pdu) + 1, frame.unit) + pdu
