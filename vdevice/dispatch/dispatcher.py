"""Owns the lanes: starts one for each target, hands them what is stored, renders and sends for them."""

import asyncio
import time

import structlog

from vdevice.board import Board
from vdevice.clock import Clock
from vdevice.config import Config, Target
from vdevice.dispatch.lane import Lane
from vdevice.dispatch.sender import Sender
from vdevice.errors import BuildError, FileRefusedError, OutboxFailingError
from vdevice.model import ErrorCode, Outcome, Stored, Verdict
from vdevice.outbox.api import Outbox
from vdevice.webhooks import http

GONE = "the target was removed from the config"

log = structlog.get_logger()


class Dispatcher:
    """All lanes. `run` works until it is cancelled; `apply` takes a new config at any moment."""

    def __init__(self, config: Config, outbox: Outbox, board: Board, sender: Sender, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._outbox = outbox
        self._board = board
        self._sender = sender
        self._lanes: dict[int, Lane] = {}
        self._workers: dict[int, list[asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

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
        self._config = config
        self._sender.apply(config.delivery.deny_networks)
        for number in [number for number in self._lanes if number not in config.targets]:
            del self._lanes[number]
            for worker in self._workers.pop(number):
                worker.cancel()
        for target in config.targets.values():
            self._open_lane(target)
        self._outbox.serve(config.targets.values(), self._offer)
        self._fail_removed()

    def shift(self, jump: float, now: float) -> None:
        """Let what the lanes hold follow a clock that was set by `jump` seconds to `now`."""
        for lane in self._lanes.values():
            lane.shift(jump, now)

    async def drain(self, seconds: float) -> None:
        """Take nothing more from the lanes, and give what is being sent some time to end."""
        self._outbox.serve((), lambda _stored: None)
        deadline = time.monotonic() + seconds
        for number, workers in self._workers.items():
            if not self._board.targets[number].sending:
                for worker in workers:
                    worker.cancel()
        while any(state.sending for state in self._board.targets.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _open_lane(self, target: Target) -> None:
        number = target.number
        lane = self._lanes.get(number)
        if lane is None:
            lane = Lane(target, self._outbox, self._board, self._attempt, self._clock)
            self._lanes[number] = lane
        elif lane.target != target:
            lane.update(target)
        workers = [worker for worker in self._workers.get(number, []) if not worker.done()]
        workers += [self._spawn(lane.run(index)) for index in range(len(workers), target.parallel)]
        self._workers[number] = workers

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("the dispatcher is not running")
        return self._group.create_task(work)

    def _offer(self, stored: list[Stored]) -> None:
        for item in stored:
            lane = self._lanes.get(item.event.target)
            if lane:
                lane.offer(item)
            elif self._group:
                # Its target went away while it was committed.
                self._spawn(self._fail_waiting(item.event.target))

    def _look_again(self) -> None:
        for lane in self._lanes.values():
            lane.look_again()
        self._fail_removed()

    def _fail_removed(self) -> None:
        """Make dead letters of what waits for targets without a config."""
        for number, state in self._board.targets.items():
            if self._group and number not in self._lanes and state.queued > 0:
                self._spawn(self._fail_waiting(number))

    async def _fail_waiting(self, number: int) -> None:
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
                request = await asyncio.to_thread(http.build, self._config, target, stored.event, time.time())
            else:
                request = http.build(self._config, target, stored.event, time.time())
            if target.debug:
                log.info("sending", event_id=stored.event.id, target=target.number, value=stored.event.value)
            return await self._sender.send(target, request)
        except FileRefusedError as error:
            return Outcome(Verdict.GIVE_UP, ErrorCode.FILE, text=str(error))
        except BuildError as error:
            return Outcome(Verdict.GIVE_UP, ErrorCode.BUILD, text=str(error))
        except Exception as error:
            log.exception("internal error", event_id=stored.event.id, target=target.number)
            return Outcome(Verdict.GIVE_UP, ErrorCode.INTERNAL, text=f"internal error ({type(error).__name__})")
