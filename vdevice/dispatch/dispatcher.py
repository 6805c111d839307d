"""Owns the lanes: starts one for each target, hands them what is stored, renders and sends for them."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from vdevice.board import Board
from vdevice.clock import Clock
from vdevice.config import Config, Target
from vdevice.dispatch.lane import Lane
from vdevice.dispatch.sender import Sender
from vdevice.errors import BuildError, FileRefusedError, OutboxFailingError, StalledError
from vdevice.model import ErrorCode, Outcome, Stored, Verdict
from vdevice.outbox.api import Outbox
from vdevice.webhooks import files, http

GONE = "the target was removed from the config"

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
        """Go on with another config: lanes of targets that are gone end, and what waits for them becomes dead letters."""
        if self._stopping:
            return
        self._config = config
        self._sender.apply(config.delivery)
        for number, lane in self._lanes.items():
            if number not in config.targets:
                lane.stop()
        for target in config.targets.values():
            self._open_lane(target)
        self._outbox.serve(config.targets.values(), self._offer)
        self._fail_removed()

    def shift(self, jump: float, now: float) -> None:
        """Let what the lanes hold follow a clock that was set by `jump` seconds to `now`."""
        for lane in self._lanes.values():
            lane.shift(jump, now)

    def stop(self) -> None:
        """Begin no attempt any more; `drain` waits for those under way."""
        self._stopping = True
        # The targets stay: their outcomes are still to be recorded. What is offered now is sent after the next start.
        self._outbox.serve(self._config.targets.values(), lambda _stored: None)
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
        lane.start(self._spawn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("the dispatcher is not running")
        return self._group.create_task(work)

    def _offer(self, stored: list[Stored]) -> None:
        for item in stored:
            number = item.event.target
            if number in self._config.targets:
                self._lanes[number].offer(item)
            elif self._group:
                # Its target went away while it was committed.
                self._spawn(self._fail_waiting(number))

    def _look_again(self) -> None:
        for lane in self._lanes.values():
            lane.look_again()
        self._fail_removed()

    def _fail_removed(self) -> None:
        """Make dead letters of what waits for targets without a config."""
        for number, state in self._board.targets.items():
            if self._group and number not in self._config.targets and state.queued > 0:
                self._spawn(self._fail_waiting(number))

    async def _fail_waiting(self, number: int) -> None:
        lane = self._lanes.get(number)
        # What is delivered in this moment is no dead letter; and the target may be back meanwhile.
        while lane and lane.under_way and number not in self._config.targets:
            await asyncio.wait(lane.under_way, timeout=1)
        if number in self._config.targets:
            return
        try:
            count = await self._outbox.fail_waiting(number, GONE, time.time())
        except OutboxFailingError:
            log.warning("dead letters could not be recorded", target=number)
            return
        if count:
            log.error("given up", target=number, error=int(ErrorCode.TARGET), reason=GONE, events=count)

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
