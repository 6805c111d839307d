"""What stands in the messages: JSON with the names of the fields, so that a person with the tools of NATS can read it."""

from collections.abc import Collection

import msgspec

from vdevice.model import ErrorCode, Event, EventState, Outcome, Stored, Verdict

NOT_OURS = (msgspec.DecodeError, UnicodeDecodeError)
"""What decoders raise for a message that vdevice did not write."""

ENDED_KEPT = 8
"""Ended messages that a target remembers for each one that may be sent at a time: those whose acknowledgement may be lost."""


def name_of(seq: int, message_id: str) -> str:
    """Return the name of a message in the results: its stream sequence tells a replayed one, its id another stream's."""
    return f"{seq}-{message_id}"


def seq_of(name: str) -> int:
    """Return the stream sequence in a name."""
    seq = name.partition("-")[0]
    return int(seq) if seq.isdecimal() else 0


class Waiting(Event, frozen=True, array_like=False):
    """An event as its message holds it; `replayed_at` (UTC seconds) is when it was queued again, or 0."""

    replayed_at: float = 0.0

    @property
    def since(self) -> float:
        """UTC seconds since when it waits."""
        return self.replayed_at or self.accepted_at


class Accepted(msgspec.Struct, frozen=True):
    """How many strings were accepted for a target, the digest of the last one, and the moves that brought some."""

    accepted: int = 0
    digest: str = ""
    moved: tuple[str, ...] = ()


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a target's messages: counters, the last outcome, and the attempts at those that wait to be retried.

    Messages are named by `name_of`: a sequence alone may come twice, when the stream was deleted or went back. `retries` holds
    attempts and the UTC seconds of the next one, `ended_last` the last ones that ended. `changes` counts what was recorded, so
    that the newer of two can be told when the bucket went back; `accepted` is the target's count as it was known then.
    """

    delivered: int = 0
    failed: int = 0
    discarded: int = 0
    http_status: int = 0
    error: int = 0
    error_text: str = ""
    latency_ms: int = 0
    finished_at: int = 0
    retries: dict[str, tuple[int, float]] = {}
    ended_last: tuple[str, ...] = ()
    paused: bool = False
    moved: tuple[str, ...] = ()
    changes: int = 0
    accepted: int = 0

    @property
    def ended(self) -> int:
        """How many messages ended, in whichever way."""
        return self.delivered + self.failed + self.discarded

    def has_passed(self, seq: int) -> bool:
        """Tell whether a message behind stream sequence `seq` has ended already, as far as it is remembered."""
        return any(seq_of(name) > seq for name in self.ended_last)

    def retried(self, name: str, stored: Stored, outcome: Outcome) -> "Progress | None":
        """Return it with a failed attempt of a message that goes on waiting; None if it has ended."""
        if name in self.ended_last:
            return None
        return msgspec.structs.replace(
            self,
            http_status=outcome.http_status,
            error=int(outcome.error),
            error_text=outcome.text,
            retries={**self.retries, name: (stored.attempts, stored.next_at)},
        )

    def finished(self, name: str, stored: Stored, outcome: Outcome, now: float, parallel: int) -> "Progress | None":
        """Return it with a message ended at `now`, `parallel` at a time; None if it had ended already."""
        if name in self.ended_last:
            return None
        delivered = outcome.verdict is Verdict.DELIVERED
        return msgspec.structs.replace(
            self,
            delivered=self.delivered + delivered,
            failed=self.failed + (not delivered),
            http_status=outcome.http_status,
            error=int(outcome.error),
            error_text=outcome.text,
            latency_ms=max(int((now - stored.since) * 1000), 0) if delivered else self.latency_ms,
            finished_at=int(now),
            retries={other: tried for other, tried in self.retries.items() if other != name},
            ended_last=(*self.ended_last[1 - ENDED_KEPT * parallel :], name),
        )

    def lost(self, count: int, now: float, text: str, gone: Collection[str]) -> "Progress":
        """Return it with `count` messages given up that NATS does not have any more, and no retries of those in `gone`."""
        return msgspec.structs.replace(
            self,
            failed=self.failed + count,
            http_status=0,
            error=int(ErrorCode.INTERNAL),
            error_text=text,
            finished_at=int(now),
            retries={name: tried for name, tried in self.retries.items() if name not in gone},
        )

    def with_memory(self, known: "Progress") -> "Progress":
        """Return the newer of both, with the messages that either remembers as ended, twice as many as it has at most."""
        older, newer = (self, known) if known.changes > self.changes else (known, self)
        names = tuple(dict.fromkeys((*older.ended_last, *newer.ended_last)))
        # Whoever only hears of results would else remember every message that ever ended.
        kept = 2 * max(len(newer.ended_last), ENDED_KEPT)
        return msgspec.structs.replace(newer, ended_last=names[-kept:])


class Letter(msgspec.Struct, frozen=True):
    """An event that ended: `state` says how. `answer` is the beginning of the receiver's answer, in base64."""

    event: Waiting
    state: str
    attempts: int
    finished_at: float
    http_status: int = 0
    error: int = 0
    error_text: str = ""
    answer: bytes = b""


class Presence(msgspec.Struct, frozen=True):
    """What a process says twice a second: who it is, and which targets it sends for or waits to retry."""

    process: str
    role: str
    sending: tuple[int, ...] = ()
    retrying: tuple[int, ...] = ()


waiting_decoder = msgspec.json.Decoder(Waiting)
accepted_decoder = msgspec.json.Decoder(Accepted)
progress_decoder = msgspec.json.Decoder(Progress, strict=False)  # keys of JSON objects are strings
letter_decoder = msgspec.json.Decoder(Letter)
presence_decoder = msgspec.json.Decoder(Presence)
encode = msgspec.json.Encoder().encode


def name_in(seq: int, data: bytes) -> str:
    """Return the name of the message that a stream has there; empty where it holds none."""
    message_id = id_in(data)
    return name_of(seq, message_id) if message_id else ""


def id_in(data: bytes) -> str:
    """Return the id of the message in there; empty where it is none."""
    try:
        return waiting_decoder.decode(data).id
    except NOT_OURS:
        return ""


def waiting(event: Event, replayed_at: float = 0.0) -> Waiting:
    """Return the document of an event."""
    return Waiting(**{**msgspec.structs.asdict(event), "replayed_at": replayed_at})


def letter(stored: Stored, outcome: Outcome, now: float) -> Letter:
    """Return the document of an event that ended at `now`."""
    state = EventState.DELIVERED if outcome.verdict is Verdict.DELIVERED else EventState.FAILED
    return Letter(
        event=waiting(stored.event, stored.since if stored.since != stored.event.accepted_at else 0.0),
        state=state.name.lower(),
        attempts=stored.attempts,
        finished_at=now,
        http_status=outcome.http_status,
        error=int(outcome.error),
        error_text=outcome.text,
        answer=outcome.answer,
    )
