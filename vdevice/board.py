"""The live state of the device and of all targets: what the status registers and the command line read.

In memory and written on the event loop only, so that whoever reads it sees one consistent moment. It never touches
the disk: the outbox keeps the counters and puts them here.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from vdevice.model import TARGETS, ErrorCode, Outcome, TargetStatus, Verdict

SLOW_SECONDS = 2.0
"""Seconds that a Modbus request may be without its response before the device is not healthy."""

LATE_SECONDS = 10.0
"""Seconds for which a request that was answered 04 because of time is shown, unless another one is stored meanwhile."""

TRIES = 5000
"""The last attempts of all targets, which are kept for whoever looks at a string."""


class TargetState(msgspec.Struct):
    """What is known of one target. Times are UTC seconds, `latency_ms` is accept to delivery.

    `sending` and `retrying` count the events that this process has; another one that shares the outbox may have some.
    `full` says that the last write found no room in the outbox. `refused` counts, since the start, the writes that stored
    nothing and the staged texts that were thrown away.
    """

    configured: bool = False
    enabled: bool = False
    paused: bool = False
    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    discarded: int = 0
    sending: int = 0
    retrying: int = 0
    sending_elsewhere: bool = False
    retrying_elsewhere: bool = False
    attempts: int = 0
    http_status: int = 0
    latency_ms: int = 0
    finished_at: int = 0
    error: ErrorCode = ErrorCode.NONE
    error_text: str = ""
    refused: int = 0
    full: bool = False

    @property
    def queued(self) -> int:
        """Strings waiting or being sent."""
        return self.accepted - self.delivered - self.failed - self.discarded

    @property
    def status(self) -> TargetStatus:
        """The state register."""
        if not self.configured:
            return TargetStatus.NOT_CONFIGURED
        if not self.enabled:
            return TargetStatus.DISABLED
        if self.sending or self.sending_elsewhere:
            return TargetStatus.SENDING
        if self.paused:
            return TargetStatus.PAUSED
        if self.retrying or self.retrying_elsewhere:
            return TargetStatus.WAITING_TO_RETRY
        return TargetStatus.QUEUED if self.queued > 0 else TargetStatus.IDLE


class Try(NamedTuple):
    """One attempt that this process made: `at` in UTC seconds, how long it took, and what came of it."""

    event_id: str
    at: float
    seconds: float
    outcome: Outcome


class Board:
    """All targets, and the device's own figures.

    `waiting` counts what the outbox holds for all targets; `outbox_full` says that it has no place free for any of them.
    `unanswered_since` is when the oldest Modbus request without a response came (seconds of the monotonic clock).
    """

    def __init__(self) -> None:
        self.targets: dict[int, TargetState] = {number: TargetState() for number in TARGETS}
        self.started_at = time.monotonic()
        self.waiting = 0
        self.connections: Counter[str] = Counter()
        self.outbox_full = False
        self._outbox_failing = False
        self.outbox_good_until = math.inf
        """By the monotonic clock: a commit vouches for the outbox until then; infinite where nothing measures it."""
        self.delivering = False
        self.out_of_files = False
        """No file descriptor is left: new connections cannot be taken."""
        self.unanswered_since: float | None = None
        self._late_at: float | None = None
        self.tries: deque[Try] = deque(maxlen=TRIES)

    @property
    def uptime(self) -> int:
        """Whole seconds since the start."""
        return int(time.monotonic() - self.started_at)

    @property
    def outbox_failing(self) -> bool:
        """The last commit failed, or has been due for too long, or requests did not get their responses in time."""
        return self._outbox_failing or not self.answering or time.monotonic() > self.outbox_good_until

    @outbox_failing.setter
    def outbox_failing(self, failing: bool) -> None:
        self._outbox_failing = failing

    @property
    def healthy(self) -> bool:
        """Messages can be accepted and are delivered, new clients get in; where one target is full, others are accepted."""
        return self.delivering and not self.outbox_failing and not self.outbox_full and not self.out_of_files

    @property
    def unanswered_seconds(self) -> float:
        """Age of the oldest Modbus request without a response, 0 where there is none."""
        return 0.0 if self.unanswered_since is None else time.monotonic() - self.unanswered_since

    @property
    def answering(self) -> bool:
        """Modbus requests get their responses in time."""
        late = self._late_at is not None and time.monotonic() - self._late_at < LATE_SECONDS
        return not late and self.unanswered_seconds < SLOW_SECONDS

    def answered_late(self) -> None:
        """Show that a request was not stored in time."""
        self._late_at = time.monotonic()

    def answered_in_time(self) -> None:
        """Show that a request was stored."""
        self._late_at = None

    def configure(self, enabled: Mapping[int, bool]) -> None:
        """Show which targets there are, and which of them are enabled."""
        for number, state in self.targets.items():
            state.configured, state.enabled = number in enabled, enabled.get(number, False)
            # Nobody can write to a target that is not there, to show that it has room again.
            state.full = state.full and state.configured

    def count(self, target: int, *, accepted: int = 0, delivered: int = 0, failed: int = 0, discarded: int = 0) -> None:
        """Add to the counters of a target and to what waits in all."""
        state = self.targets[target]
        state.accepted += accepted
        state.delivered += delivered
        state.failed += failed
        state.discarded += discarded
        self.waiting += accepted - delivered - failed - discarded

    def refuse(self, target: int) -> None:
        """Count a write to a target that was answered 03, 04 or 06, or a staged text that was thrown away."""
        self.targets[target].refused += 1

    def attempted(self, target: int, outcome: Outcome, attempts: int) -> None:
        """Show the result of an attempt, and how many its event has had."""
        state = self.targets[target]
        state.http_status, state.error, state.error_text = outcome.http_status, outcome.error, outcome.text
        state.attempts = attempts

    def ended(self, target: int, outcome: Outcome, now: float, seconds: float) -> None:
        """Show how an event ended at `now` (UTC seconds), that many seconds after it was accepted."""
        self.attempted(target, outcome, 0)
        state = self.targets[target]
        state.finished_at = int(now)
        if outcome.verdict is Verdict.DELIVERED:
            state.latency_ms = max(int(seconds * 1000), 0)
