"""The data that travels from room to room: an event, what became of it, and the numbers of states and errors in registers.

Pure data; imports nothing of vdevice.
"""

import enum
import hashlib
import os
from collections.abc import Iterator

import msgspec

TARGETS = range(1, 65)
"""Numbers of the targets."""

POINTS = 900
"""Holding registers, and coils, of the process image in the device block."""


class ErrorCode(enum.IntEnum):
    """Why an attempt failed: the error register of a target."""

    NONE = 0
    BUILD = 1
    DNS = 2
    CONNECT = 3
    TLS = 4
    TIMEOUT = 5
    HTTP = 6
    SERVICE = 7
    TOO_OLD = 8
    TARGET = 9
    FILE = 10
    INTERNAL = 99


class TargetStatus(enum.IntEnum):
    """The state register of a target."""

    NOT_CONFIGURED = 0
    IDLE = 1
    QUEUED = 2
    SENDING = 3
    WAITING_TO_RETRY = 4
    PAUSED = 5
    DISABLED = 6


class EventState(enum.IntEnum):
    """What became of an event, as the outbox keeps it."""

    WAITING = 0
    DELIVERED = 1
    FAILED = 2
    DISCARDED = 3


class Verdict(enum.Enum):
    """What an attempt means for its event."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One accepted string on its way to one target.

    Times are UTC seconds; before `due_at` it is not sent. `source_*` are the values of the variables of the same name:
    the client's name or address, what it wrote (`target/7` or a point's name), and the value before conversion.
    `description` is that of the rule which made it, with its variables still in it; empty where a client wrote the string.
    """

    id: str
    target: int
    value: str
    accepted_at: float
    source_connection: str
    source_parameter: str
    source_value: str
    description: str = ""
    due_at: float = 0.0


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """An event on disk: `seq` gives the order, it waits `since` then, `attempts` were made, the next is due at `next_at`.

    Times are UTC seconds. `since` is when it was accepted, or replayed.
    """

    seq: int
    event: Event
    since: float
    attempts: int = 0
    next_at: float = 0.0


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """The result of one attempt.

    `http_status` is 0 where there was no HTTP answer; `answer` holds at most 500 bytes of its body; `retry_after` is
    what the receiver asked for, in seconds.
    """

    verdict: Verdict
    error: ErrorCode = ErrorCode.NONE
    http_status: int = 0
    text: str = ""
    answer: bytes = b""
    retry_after: float | None = None


def digest_of(value: str) -> bytes:
    """Return 16 bytes that tell a string from the last one of its target, for `trigger = "change"`."""
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _random_parts() -> Iterator[str]:
    """Yield 20 random hex digits for ever; a system call for many, as one for each costs more than all else in an id."""
    while True:
        pool = os.urandom(2560).hex()
        yield from (pool[start : start + 20] for start in range(0, len(pool), 20))


_parts = _random_parts()


def new_event_id(now: float) -> str:
    """Return a new event id: 12 hex digits of UTC milliseconds, then 20 random ones, so that ids sort by time."""
    return f"{int(now * 1000):012x}{next(_parts)}"
