"""What stands in the messages: JSON with the names of the fields, so that a person with the tools of NATS can read it."""

import msgspec

from vdevice.model import Event, EventState, Outcome, Stored, Verdict

ENDED_KEPT = 8
"""Ended events that a target remembers for each one that may be sent at a time: those whose acknowledgement may be lost."""


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
    """What became of a target's strings: counters, the last outcome, and the attempts at those that wait to be retried.

    `tries` holds attempts and the UTC seconds of the next one by stream sequence; `ended` the last sequences that ended.
    """

    delivered: int = 0
    failed: int = 0
    discarded: int = 0
    http_status: int = 0
    error: int = 0
    error_text: str = ""
    latency_ms: int = 0
    finished_at: int = 0
    tries: dict[int, tuple[int, float]] = {}
    ended: tuple[int, ...] = ()
    paused: bool = False
    moved: tuple[str, ...] = ()

    def retried(self, stored: Stored, outcome: Outcome) -> "Progress | None":
        """Return it with a failed attempt of an event that goes on waiting; None if it has ended."""
        if stored.seq in self.ended:
            return None
        return msgspec.structs.replace(
            self,
            http_status=outcome.http_status,
            error=int(outcome.error),
            error_text=outcome.text,
            tries={**self.tries, stored.seq: (stored.attempts, stored.next_at)},
        )

    def finished(self, stored: Stored, outcome: Outcome, now: float, parallel: int) -> "Progress | None":
        """Return it with an event ended at `now`, `parallel` at a time; None if it had ended already."""
        if stored.seq in self.ended:
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
            tries={seq: tried for seq, tried in self.tries.items() if seq != stored.seq},
            ended=(*self.ended[1 - ENDED_KEPT * parallel :], stored.seq),
        )


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
