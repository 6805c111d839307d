"""Owns the lanes: starts one for each target, hands them what is stored, renders and sends for them.

What waits for a target that is not in the config has a lane, too, of a stand-in that sends nothing: it waits there until the
target is back, or max_age is over. A config that was cut for a moment costs nothing.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from vdevice.board import Board
from vdevice.clock import Clock
from vdevice.config import Config, Target
from vdevice.config.secret import Secret
from vdevice.dispatch.lane import Lane
from vdevice.dispatch.sender import Sender
from vdevice.errors import BuildError, FileRefusedError, StalledError
from vdevice.model import ErrorCode, Outcome, Stored, Verdict
from vdevice.outbox.api import Outbox
from vdevice.webhooks import files, http

log = structlog.get_logger()


class Dispatcher:
    """All lanes. `run` works until it is cancelled; `apply` takes a new config at any moment until `stop`."""

    def __init__(self, config: Config, outbox: Outbox, board: Board, sender: Sender, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._outbox = outbox
        self._board = board
        self._sender = sender
        self._lanes: dict[int, Lane] = {}
        self._missing: dict[int, Target] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False

    async def run(self, started: asyncio.Event) -> None:
        """Deliver until cancelled. `started` is set once the lanes take events."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self.apply(self._config)
                self._outbox.on_outside_change = self._look_again
                self._board.delivering = True
                started.set()
                await asyncio.Event().wait()
        finally:
            self._board.delivering = False
            self._group = None

    def apply(self, config: Config) -> None:
        """Go on with another config: what waits for targets that are gone waits on."""
        if self._stopping:
            return
        self._config = config
        self._sender.apply(config.delivery)
        self._missing = {}
        for target in config.targets.values():
            self._open_lane(target)
        self._keep_missing()
        for number, lane in self._lanes.items():
            if number not in config.targets and number not in self._missing:
                lane.stop()
        self._serve(self._offer)

    def shift(self, jump: float, now: float) -> None:
        """Let what the lanes hold follow a clock that was set by `jump` seconds to `now`."""
        for lane in self._lanes.values():
            lane.shift(jump, now)

    def stop(self) -> None:
        """Begin no attempt any more; `drain` waits for those under way."""
        self._stopping = True
        # The targets stay: their outcomes are still to be recorded. What is offered now is sent after the next start.
        self._serve(lambda _stored: None)
        for lane in self._lanes.values():
            lane.stop()

    async def drain(self, seconds: float) -> None:
        """Stop, and give attempts under way some time to end and to be recorded."""
        self.stop()
        workers = {worker for lane in self._lanes.values() for worker in lane.under_way}
        if workers:
            _, unfinished = await asyncio.wait(workers, timeout=seconds)
            if unfinished:
                log.warning("attempts are broken off", count=len(unfinished), after_s=seconds)

    def _open_lane(self, target: Target) -> None:
        lane = self._lanes.get(target.number)
        if lane is None:
            lane = self._lanes[target.number] = Lane(target, self._outbox, self._board, self._attempt, self._clock)
        elif lane.target != target:
            lane.update(target)
        lane.is_missing = target.number in self._missing
        lane.start(self._spawn)

    def _keep_missing(self) -> bool:
        """Open a lane for each target that messages wait for without a config; tell whether there is a new one."""
        found = False
        for number, state in self._board.targets.items():
            if self._group and state.queued > 0 and number not in self._config.targets and number not in self._missing:
                found = True
                self._missing[number] = _stand_in(number, self._config.delivery.max_age)
                self._open_lane(self._missing[number])
        return found

    def _serve(self, offer: Callable[[list[Stored]], None]) -> None:
        self._outbox.serve([*self._config.targets.values(), *self._missing.values()], offer)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("the dispatcher is not running")
        return self._group.create_task(work)

    def _offer(self, stored: list[Stored]) -> None:
        for item in stored:
            number = item.event.target
            if number in self._config.targets or number in self._missing:
                self._lanes[number].offer(item)
            elif not self._stopping and self._keep_missing():
                # Its target went away while it was committed.
                self._serve(self._offer)

    def _look_again(self) -> None:
        for lane in self._lanes.values():
            lane.look_again()
        if not self._stopping and self._keep_missing():
            self._serve(self._offer)

    async def _attempt(self, target: Target, stored: Stored) -> Outcome:
        try:
            if any(value.startswith(http.FILE) for _, value in target.parameters):
                request = await files.reading(
                    target, lambda: http.build(self._config, target, stored.event, time.time())
                )
            else:
                request = http.build(self._config, target, stored.event, time.time())
            if target.debug:
                log.info("sending", event_id=stored.event.id, target=target.number, value=stored.event.value)
            return await self._sender.send(target, request)
        except StalledError as error:
            return Outcome(Verdict.RETRY, ErrorCode.FILE, text=str(error))
        except FileRefusedError as error:
            return Outcome(Verdict.GIVE_UP, ErrorCode.FILE, text=str(error))
        except BuildError as error:
            return Outcome(Verdict.GIVE_UP, ErrorCode.BUILD, text=str(error))
        except Exception as error:
            log.exception("internal error", event_id=stored.event.id, target=target.number)
            return Outcome(Verdict.GIVE_UP, ErrorCode.INTERNAL, text=f"internal error ({type(error).__name__})")


def _stand_in(number: int, max_age: float) -> Target:
    """Return a target for what waits without one: it is never tried, and knows how long that may wait."""
    return Target(number=number, method="post-raw", url=Secret(""), enabled=False, max_age=max_age)
