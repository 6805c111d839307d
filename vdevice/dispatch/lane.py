"""The lane of one target: takes its messages in order, attempts each until it is delivered or given up.

`parallel` workers share the lane. What the outbox stores comes in by `offer`; where more waits than the window holds, it is
fetched from the outbox. A worker decides anew after each wait: a message may have been discarded meanwhile, its target
paused, the config mended, the clock set. From the last of these decisions to the recorded outcome it is not interrupted: a
stop lets attempts under way end.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import structlog

from vdevice.board import Board, Try
from vdevice.clean import clean
from vdevice.clock import Clock
from vdevice.config import Target
from vdevice.dispatch import backoff
from vdevice.dispatch.breaker import Breaker
from vdevice.dispatch.pace import Pace
from vdevice.dispatch.window import SIZE, Window, shifted
from vdevice.errors import OutboxFailingError
from vdevice.model import ErrorCode, Outcome, Stored, Verdict
from vdevice.outbox.api import Outbox

T = TypeVar("T")
AGAIN_SECONDS = 1.0
"""Seconds until the outbox is asked again for what it could not do."""

NEVER = -1
"""No generation of a window: the outbox is to be asked before the next attempt."""

log = structlog.get_logger()


class Lane:
    """One target's queue. `attempt` renders and sends; `start` begins to work, `stop` ends it.

    `is_missing` says that the target is not in the config: what grows too old is given up for that.
    """

    def __init__(
        self,
        target: Target,
        outbox: Outbox,
        board: Board,
        attempt: Callable[[Target, Stored], Awaitable[Outcome]],
        clock: Clock,
    ) -> None:
        self.target = target
        self.is_missing = False
        self._outbox = outbox
        self._board = board
        self._state = board.targets[target.number]
        self._attempt = attempt
        self._clock = clock
        self._breaker = Breaker()
        self._pace = Pace(target)
        self._window = Window()
        self._fetching = asyncio.Lock()
        self._in_flight: dict[int, Stored] = {}
        self._expected: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._waiters = 0
        self._workers: dict[int, asyncio.Task[None]] = {}
        self._busy: set[asyncio.Task[Any] | None] = set()
        self._stopping = False
        # Bound once: finding the logger is half of what a line costs.
        self._log = log.bind()

    @property
    def _is_active(self) -> bool:
        return self.target.enabled and not self._state.paused

    def start(self, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        """Work with `parallel` workers, also again after a stop."""
        self._stopping = False
        for index in range(self.target.parallel):
            worker = self._workers.get(index)
            if worker is None or worker.done() or worker.cancelling():
                self._workers[index] = spawn(self._run(index))

    def stop(self) -> None:
        """Begin no attempt any more; those under way end, and their outcomes are recorded."""
        self._stopping = True
        for worker in self._workers.values():
            if worker not in self._busy:
                worker.cancel()

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """The workers that have an attempt under way, or its outcome to record."""
        return {worker for worker in self._workers.values() if worker in self._busy and not worker.done()}

    def update(self, target: Target) -> None:
        """Go on with other settings, at once: what was wrong may be mended."""
        self.target = target
        self._pace.update(target)
        self._breaker.reset()
        self._in_flight = {seq: msgspec.structs.replace(stored, next_at=0.0) for seq, stored in self._in_flight.items()}
        self._rouse()

    def offer(self, stored: Stored) -> None:
        """Take a message that was just stored; one that is delayed is looked for when it is due."""
        if stored.next_at and not stored.attempts:
            self._expect(stored.next_at)
        else:
            self._window.offer(stored)
        self._rouse()

    def _expect(self, due: float) -> None:
        """Look for a delayed message when it is due (UTC seconds)."""
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
        """Fetch anew, and ask for what waits in flight: a delayed message is due, or others changed the outbox."""
        self._window.clear()
        self._rouse()

    def shift(self, jump: float, now: float) -> None:
        """Let ages and waits follow a clock that was set by `jump` seconds to `now`."""
        self._window.shift(jump, now)
        self._in_flight = {seq: shifted(stored, jump, now) for seq, stored in self._in_flight.items()}
        self._breaker.shift(jump)
        self._rouse()

    def _rouse(self) -> None:
        if self._waiters:
            self._wake.set()
            self._wake = asyncio.Event()
            self._waiters = 0

    async def _roused(self) -> None:
        """Wait until something has changed: a new message, other settings, an outcome, an outbox changed by others."""
        self._waiters += 1
        await self._wake.wait()

    async def _run(self, index: int) -> None:
        """Work until the lane stops, or `parallel` has become too small for worker `index`."""
        while index < self.target.parallel and not self._stopping:
            # Also while the target is disabled or paused: its messages wait, but none longer than max_age.
            stored = await self._take()
            if stored is None:
                if not (self._window or self._window.has_more):
                    await self._roused()
                continue
            self._in_flight[stored.seq] = stored
            try:
                await self._deliver(stored.seq)
            finally:
                del self._in_flight[stored.seq]

    async def _take(self) -> Stored | None:
        stored = self._window.pop()
        if stored is None:
            async with self._fetching:
                if not self._window and self._window.has_more:
                    await self._fetch()
                stored = self._window.pop()
        return stored

    async def _fetch(self) -> None:
        with self._window.reading() as read:
            try:
                found, due = await self._outbox.fetch(self.target.number, self._window.cursor, SIZE, time.time())
            except OutboxFailingError:
                await asyncio.sleep(AGAIN_SECONDS)
                return
            if due:
                self._expect(due)
            read([self._capped(item) for item in found], self._in_flight)

    def _capped(self, stored: Stored) -> Stored:
        """Return a message that is due within backoff_max: the clock may have gone back while no device was running."""
        latest = time.time() + self.target.backoff_max
        return stored if stored.next_at <= latest else msgspec.structs.replace(stored, next_at=latest)

    async def _deliver(self, seq: int) -> None:
        """Attempt a message until it has ended, waits no more, or the lane stops; each wait is followed by a new decision."""
        asked, has_leave = self._window.generation, False
        while not self._stopping:
            stored = self._in_flight[seq]
            if time.time() >= self._too_old_at(stored):
                if not self._clock.jump():
                    await self._end_too_old(stored)
                    return
                # Not age, but a clock that was set; `shift` comes within a second.
                await self._roused()
            elif asked != self._window.generation:
                asked = self._window.generation
                if not await self._still_waits(stored):
                    return
            elif self._must_wait(stored):
                await self._wait(stored)
                has_leave = False
                if not self._must_wait(self._in_flight[seq]):
                    # An operator's change may be younger than the last look at what others do.
                    asked = NEVER
            elif self._pace.is_limited and not has_leave:
                asked = asked if self._pace.is_free else NEVER
                has_leave = await self._pace.leave(self._too_old_at(stored) - time.time())
            elif await self._attempt_once(stored):
                return
            else:
                has_leave = False

    def _must_wait(self, stored: Stored) -> bool:
        """Tell whether the target may not be tried now."""
        return self._free_at(stored) > time.time()

    def _free_at(self, stored: Stored) -> float:
        """Return when the target may be tried (UTC seconds); without end where only a change can tell.

        That is while it is disabled or paused, or while the one attempt at a target that keeps failing is under way.
        """
        if not self._is_active or (self._breaker.is_open and self._state.sending > 0):
            return math.inf
        return max(stored.next_at, self._breaker.not_before)

    async def _wait(self, stored: Stored) -> None:
        """Wait until the message is due, or too old, or something has changed."""
        # What grows too old is not sent any more, and need not wait for its attempt. A moment that has passed since it
        # was looked at is waited for no longer.
        until = min(self._free_at(stored), self._too_old_at(stored))
        self._state.retrying += 1
        self._state.attempts = stored.attempts
        try:
            async with asyncio.timeout(until - time.time()):
                await self._roused()
        except TimeoutError:
            pass
        finally:
            self._state.retrying -= 1

    async def _still_waits(self, stored: Stored) -> bool:
        """Ask the outbox whether a message still waits: somebody may have discarded it."""
        number = self.target.number
        found, _ = await self._insist(lambda: self._outbox.fetch(number, stored.seq - 1, 1, math.inf))
        return bool(found) and found[0].seq == stored.seq

    def _too_old_at(self, stored: Stored) -> float:
        return stored.since + self.target.max_age

    async def _end_too_old(self, stored: Stored) -> None:
        text, error = f"older than max_age ({self.target.max_age:g} s)", ErrorCode.TOO_OLD
        if self.is_missing:
            text, error = f"the target is not in the config, and the message is {text}", ErrorCode.TARGET
        await self._finish(stored, Outcome(Verdict.GIVE_UP, error, self._state.http_status, text))

    async def _attempt_once(self, stored: Stored) -> bool:
        """Attempt a message and record the outcome; tell whether it waits here no more. A stop does not interrupt it."""
        if not self._outbox.holds(stored):
            # Another dispatcher may have it now; where none has, the outbox offers it again.
            return True
        worker = asyncio.current_task()
        self._busy.add(worker)
        try:
            outcome = await self._send(stored)
            return await self._recorded(self._in_flight[stored.seq], outcome)
        finally:
            self._busy.discard(worker)
            self._rouse()

    async def _send(self, stored: Stored) -> Outcome:
        state = self._state
        state.sending += 1
        state.attempts = stored.attempts
        at, started = time.time(), time.monotonic()
        try:
            outcome = _encodable(await self._attempt(self.target, stored))
        finally:
            state.sending -= 1
        self._board.tries.append(Try(stored.event.id, at, time.monotonic() - started, outcome))
        self._board.attempted(stored.event.target, outcome, stored.attempts + 1)
        self._breaker.note(self.target, outcome, time.time())
        return outcome

    async def _recorded(self, stored: Stored, outcome: Outcome) -> bool:
        attempts = stored.attempts + 1
        if outcome.verdict is not Verdict.RETRY or attempts >= self.target.attempts:
            await self._finish(msgspec.structs.replace(stored, attempts=attempts), outcome)
            return True
        wait = backoff.delay(self.target, attempts, outcome.retry_after)
        stored = msgspec.structs.replace(stored, attempts=attempts, next_at=time.time() + wait)
        self._in_flight[stored.seq] = stored
        log.warning("retry", **_words(stored, outcome), attempts=attempts, wait_s=round(wait, 3))
        return not await self._insist(lambda: self._outbox.retry(stored, outcome))

    async def _finish(self, stored: Stored, outcome: Outcome) -> None:
        now = time.time()
        latency = max(int((now - stored.since) * 1000), 0)
        if not await self._insist(lambda: self._outbox.finish(stored, outcome, now)):
            # It was discarded while its attempt was under way.
            log.warning("ended already", **_words(stored, outcome), verdict=outcome.verdict.value)
        elif outcome.verdict is Verdict.DELIVERED:
            self._log.info(
                "delivered", event_id=stored.event.id, target=self.target.number, status=outcome.http_status, ms=latency
            )
        else:
            log.error("given up", **_words(stored, outcome), attempts=stored.attempts, ms=latency)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the outbox, again and again while it fails: nothing may be sent past what is not recorded."""
        while True:
            try:
                return await ask()
            except OutboxFailingError:
                await asyncio.sleep(AGAIN_SECONDS)


def _encodable(outcome: Outcome) -> Outcome:
    """Return an outcome that can be recorded and shown whatever its text holds: otherwise it would be tried for ever."""
    text = clean(outcome.text)
    return outcome if text == outcome.text else msgspec.structs.replace(outcome, text=text)


def _words(stored: Stored, outcome: Outcome) -> dict[str, object]:
    return {
        "event_id": stored.event.id,
        "target": stored.event.target,
        "status": outcome.http_status,
        "error": int(outcome.error),
        "reason": outcome.text,
    }
