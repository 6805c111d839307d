"""The lane of one target: takes its events in order, sends each until it is delivered or given up.

`parallel` workers share the lane. What the outbox stores comes in by `offer`; where more waits than the lane holds,
it is fetched from the outbox, so that a hundred thousand waiting strings cost no memory. The breaker lets one worker
at a time through while the target keeps failing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import aiolimiter
import msgspec
import structlog

from vdevice.board import Board, Try
from vdevice.clock import Clock, is_before
from vdevice.config import Target
from vdevice.dispatch import backoff
from vdevice.errors import OutboxFailingError
from vdevice.model import ErrorCode, Outcome, Stored, Verdict
from vdevice.outbox.api import Outbox

WINDOW = 64
"""Events that a lane holds in memory at most."""

RECORD_AGAIN = 1.0
"""Seconds until an outcome that the outbox could not record is recorded again."""

SLACK_RATE = 1.0

log = structlog.get_logger()


class Lane:
    """One target's queue. `attempt` renders and sends; `run` is a worker, of which `parallel` are started."""

    def __init__(
        self,
        target: Target,
        outbox: Outbox,
        board: Board,
        attempt: Callable[[Target, Stored], Awaitable[Outcome]],
        clock: Clock,
    ) -> None:
        self.target = target
        self._outbox = outbox
        self._board = board
        self._state = board.targets[target.number]
        self._attempt = attempt
        self._clock = clock
        self._window: deque[Stored] = deque()
        self._in_flight: dict[int, Stored] = {}
        self._cursor = 0
        self._generation = 0
        self._more_on_disk = True
        self._fetching = asyncio.Lock()
        self._probing = asyncio.Lock()
        self._expected: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._waiters = 0
        self._failures = 0
        self._not_before = 0.0
        self._limiter = _limiter(target)
        # Bound once: finding the logger is half of what a line costs.
        self._log = log.bind()

    @property
    def _is_active(self) -> bool:
        return self.target.enabled and not self._state.paused

    def update(self, target: Target) -> None:
        """Go on with other settings, at once: what was wrong may be mended."""
        if _rate(target) != _rate(self.target):
            self._limiter = _limiter(target)
        self.target = target
        self._failures = 0
        self._not_before = 0.0
        self._rouse()

    def offer(self, stored: Stored) -> None:
        """Take an event that was just stored, unless others before it wait on disk only."""
        if stored.next_at and not stored.attempts:
            self._expect(stored.next_at)
        elif self._more_on_disk or self._fetching.locked() or len(self._window) >= WINDOW:
            self._more_on_disk = True
        else:
            self._window.append(stored)
            self._cursor = max(self._cursor, stored.seq)
        self._rouse()

    def _expect(self, due: float) -> None:
        """Look for a delayed event when it is due (UTC seconds)."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(due - time.time(), 0)
        if self._expected is None or self._expected.when() > when:
            if self._expected:
                self._expected.cancel()
            self._expected = loop.call_at(when, self._expected_now)

    def _expected_now(self) -> None:
        self._expected = None
        self.look_again()

    def look_again(self) -> None:
        """Forget what is held but not in flight, and fetch anew: a delayed event is due, or others changed the outbox."""
        self._window.clear()
        self._cursor = 0
        self._generation += 1
        self._more_on_disk = True
        self._rouse()

    def shift(self, jump: float, now: float) -> None:
        """Let ages and waits follow a clock that was set by `jump` seconds to `now`."""
        self._window = deque(_shifted(stored, jump, now) for stored in self._window)
        self._in_flight = {seq: _shifted(stored, jump, now) for seq, stored in self._in_flight.items()}
        self._not_before += jump if self._not_before else 0
        self._rouse()

    def _rouse(self) -> None:
        if self._waiters:
            self._wake.set()
            self._wake = asyncio.Event()
            self._waiters = 0

    async def _roused(self) -> None:
        """Wait until something has changed: a new event, other settings, an outbox changed by others."""
        self._waiters += 1
        await self._wake.wait()

    async def run(self, index: int) -> None:
        """Work for ever, or until `parallel` has become too small for worker `index`."""
        while index < self.target.parallel:
            stored = await self._take() if self._is_active else None
            if stored is None:
                if not self._is_active or not (self._window or self._more_on_disk):
                    await self._roused()
                continue
            self._in_flight[stored.seq] = stored
            try:
                await self._deliver(stored.seq)
            finally:
                del self._in_flight[stored.seq]

    async def _take(self) -> Stored | None:
        if self._window and not self._fetching.locked():
            return self._window.popleft()
        async with self._fetching:
            if not self._window and self._more_on_disk:
                await self._fetch()
            return self._window.popleft() if self._window else None

    async def _fetch(self) -> None:
        self._more_on_disk = False
        generation = self._generation
        try:
            found, due = await self._outbox.fetch(self.target.number, self._cursor, WINDOW, time.time())
        except OutboxFailingError:
            self._more_on_disk = True
            await asyncio.sleep(RECORD_AGAIN)
            return
        if due:
            self._expect(due)
        if generation != self._generation:
            return
        self._more_on_disk = self._more_on_disk or len(found) == WINDOW
        self._window.extend(self._capped(item) for item in found if item.seq not in self._in_flight)
        self._cursor = found[-1].seq if found else self._cursor

    def _capped(self, stored: Stored) -> Stored:
        """Return an event that is due within backoff_max: the clock may have gone back while no device was running."""
        latest = time.time() + self.target.backoff_max
        return stored if stored.next_at <= latest else msgspec.structs.replace(stored, next_at=latest)

    async def _deliver(self, seq: int) -> None:
        while True:
            stored = self._in_flight[seq]
            if stored.next_at or self._not_before or not self._is_active:
                await self._until_due(seq)
                stored = self._in_flight[seq]
            if self._is_too_old(stored):
                if self._clock.jump():
                    # Not age, but a clock that was set; `shift` comes within a second.
                    await self._roused()
                    continue
                text = f"older than max_age ({self.target.max_age:g} s)"
                await self._finish(stored, Outcome(Verdict.GIVE_UP, ErrorCode.TOO_OLD, self._state.http_status, text))
                return
            outcome = await (self._send(stored) if self._failures < backoff.BREAKER else self._probe(seq))
            if outcome is None:
                continue
            stored = self._in_flight[seq]
            attempts = stored.attempts + 1
            if outcome.verdict is not Verdict.RETRY or attempts >= self.target.attempts:
                await self._finish(msgspec.structs.replace(stored, attempts=attempts), outcome)
                return
            wait = backoff.delay(self.target, attempts, outcome.retry_after)
            stored = msgspec.structs.replace(stored, attempts=attempts, next_at=time.time() + wait)
            self._in_flight[seq] = stored
            log.warning("retry", **_words(stored, outcome), attempts=attempts, wait_s=round(wait, 3))
            if not await self._record(self._outbox.retry, stored, outcome):
                return

    async def _until_due(self, seq: int, *, retry: bool = True) -> None:
        """Wait until the target may be tried: enabled, the retry due, the breaker's pause over; a mended config ends waits."""
        while True:
            target, stored = self.target, self._in_flight[seq]
            due = max(stored.next_at if retry else 0.0, self._not_before)
            # What grows too old is not sent any more, and need not wait for it.
            wait = min(due, stored.since + target.max_age) - time.time()
            if self._is_active and wait <= 0:
                return
            self._state.retrying += 1
            self._state.attempts = stored.attempts
            try:
                async with asyncio.timeout(wait if self._is_active else None):
                    await self._roused()
            except TimeoutError:
                pass
            finally:
                self._state.retrying -= 1
            retry = retry and self.target is target

    async def _probe(self, seq: int) -> Outcome | None:
        """Send alone, when the breaker's pause is over; None for what grew too old meanwhile."""
        async with self._probing:
            await self._until_due(seq, retry=False)
            stored = self._in_flight[seq]
            return None if self._is_too_old(stored) else await self._send(stored)

    def _is_too_old(self, stored: Stored) -> bool:
        return time.time() - stored.since >= self.target.max_age

    async def _send(self, stored: Stored) -> Outcome:
        if self._limiter:
            await self._limiter.acquire()
        state = self._state
        state.sending += 1
        state.attempts = stored.attempts
        at, started = time.time(), time.monotonic()
        try:
            outcome = await self._attempt(self.target, stored)
        finally:
            state.sending -= 1
        self._board.tries.append(Try(stored.event.id, at, time.monotonic() - started, outcome))
        self._board.attempted(stored.event.target, outcome, stored.attempts + 1)
        self._count_failures(outcome)
        return outcome

    def _count_failures(self, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.DELIVERED:
            self._failures = 0
            self._not_before = 0.0
            return
        self._failures += 1
        if self._failures >= backoff.BREAKER:
            pause = backoff.delay(self.target, self._failures, outcome.retry_after)
            self._not_before = time.time() + pause

    async def _finish(self, stored: Stored, outcome: Outcome) -> None:
        now = time.time()
        if not await self._record(self._outbox.finish, stored, outcome, now):
            return
        latency = max(int((now - stored.since) * 1000), 0)
        if outcome.verdict is Verdict.DELIVERED:
            self._log.info(
                "delivered", event_id=stored.event.id, target=self.target.number, status=outcome.http_status, ms=latency
            )
        else:
            log.error("given up", **_words(stored, outcome), attempts=stored.attempts, ms=latency)

    async def _record(self, write: Callable[..., Awaitable[bool]], *arguments: object) -> bool:
        """Record an outcome, again and again while the outbox fails: nothing may be sent past an unrecorded one."""
        while True:
            try:
                return await write(*arguments)
            except OutboxFailingError:
                await asyncio.sleep(RECORD_AGAIN)


def _shifted(stored: Stored, jump: float, now: float) -> Stored:
    if not is_before(stored.since, jump, now):
        return stored
    next_at = stored.next_at + jump if stored.next_at else 0.0
    return msgspec.structs.replace(stored, since=stored.since + jump, next_at=next_at)


def _words(stored: Stored, outcome: Outcome) -> dict[str, object]:
    return {
        "event_id": stored.event.id,
        "target": stored.event.target,
        "status": outcome.http_status,
        "error": int(outcome.error),
        "reason": outcome.text,
    }


def _rate(target: Target) -> float | None:
    return SLACK_RATE if target.rate is None and target.method == "slack" else target.rate


def _limiter(target: Target) -> aiolimiter.AsyncLimiter | None:
    rate = _rate(target)
    return aiolimiter.AsyncLimiter(1, 1 / rate) if rate else None
