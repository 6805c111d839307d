"""What the device and the outbox's writer process say to each other, over the writer's standard input and output.

Each message is MessagePack behind its length in four bytes. The device sends requests, as many as it likes; the writer
answers each commit with one Reply, which is for the oldest `count` requests without an answer. Its first reply, for none,
says that the outbox is open.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from vdevice.model import Event, Outcome


class Put(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Store the events of one request; answered by their numbers in order, 0 for one that was left out.

    Events of a target in `changed_only` are left out where they repeat its last accepted string.
    """

    events: tuple[Event, ...]
    changed_only: frozenset[int]


class Finish(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Record how an event, which waited `since` then, ended at `now`; answered by False if it had ended already."""

    seq: int
    target: int
    since: float
    attempts: int
    outcome: Outcome
    now: float


class Retry(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Record a failed attempt; answered by False if the event waits no more."""

    seq: int
    target: int
    attempts: int
    next_at: float
    outcome: Outcome


class Fetch(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Ask for what waits for a target; answered by the events, and when the next delayed one is due."""

    target: int
    after: int
    limit: int
    now: float


class Purge(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Delete at most `limit` events whose time to be kept is over; answered by how many there were."""

    delivered_before: float
    failed_before: float
    limit: int


class Probe(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """See whether another process has changed the outbox; answered by all counters then, with all that its commit did.

    `write` tries the disk. `patience` is how many seconds the writer waits for a lock of another program from now on.
    """

    write: bool
    patience: float


class Shift(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Let times follow a clock that was set by `jump` seconds to `now`; what ended before `started` has another clock."""

    jump: float
    now: float
    started: float


Request = Put | Finish | Retry | Fetch | Purge | Probe | Shift


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The answer to `count` requests: their results in order, or why none of them was done.

    `failed` says of single ones, by their place, why they alone were not done; their result is None. `notes` are sentences for
    the log. `damage` says what is wrong with the outbox's file although this commit was done, nothing where it is whole.
    """

    count: int
    error: str | None
    results: list[Any]
    failed: dict[int, str] = {}
    notes: list[str] = []
    damage: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_request: Callable[[bytes], Request] = msgspec.msgpack.Decoder(Request).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Request | Reply) -> bytes:
    """Return a message as it is sent. Raises ValueError, TypeError or OverflowError for what cannot be encoded."""
    body = _encode(message)
    return len(body).to_bytes(4) + body


def take(buffer: bytearray) -> list[bytes]:
    """Remove and return the whole messages of a buffer."""
    found, place = [], 0
    while len(buffer) - place >= 4:
        end = place + 4 + int.from_bytes(buffer[place : place + 4])
        if len(buffer) < end:
            break
        found.append(bytes(buffer[place + 4 : end]))
        place = end
    del buffer[:place]
    return found


def request(body: bytes) -> Request:
    """Return the request in a message. Raises msgspec.DecodeError."""
    return _decode_request(body)


def reply(body: bytes) -> Reply:
    """Return the reply in a message. Raises msgspec.DecodeError."""
    return _decode_reply(body)
