"""Writes: what is stored because of one, and what must be on disk before its answer.

A write of text goes through `registers`, a write of points through `converter`; both end as events in the outbox. What
completes by time, an idle string or a delayed rule, has no request that waits for it: `run` stores it, again and again
until it is stored.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Collection, Sequence

import structlog
from pymodbus.constants import ExcCodes

from vdevice.board import Board
from vdevice.config import Config, Target
from vdevice.converter.change import Change, Origin
from vdevice.converter.image import Image
from vdevice.converter.rules import Converter
from vdevice.errors import OutboxFullError, OutboxLateError, TooManyStepsError
from vdevice.modbus.pdu import MaskWrite, Refused
from vdevice.modbus.pending import Pending, nothing, too_late
from vdevice.modbus.refusals import Refusals
from vdevice.modbus.texts import Client, Texts, Whole
from vdevice.modbus.unstored import Unstored
from vdevice.model import Event, Stored, new_event_id
from vdevice.outbox.api import Outbox
from vdevice.registers import layout, text
from vdevice.repeats import Repeats

TICK = 0.02
"""Seconds between two looks for idle texts and delayed rules, at least."""

AGAIN = 1.0
"""Seconds until what has no request is stored again, where it could not be."""

log = structlog.get_logger()

Answer = Callable[[], bytes]


class Writes:
    """The write half of the unit, with the process image and the strings in several writes."""

    def __init__(self, config: Config, outbox: Outbox, board: Board) -> None:
        self._outbox = outbox
        self._board = board
        self._refusals = Refusals(board)
        self._repeats = Repeats()
        self.texts = Texts(config, self._refusals)
        self._converter = Converter(config)
        self._unstored = Unstored()
        self._wake = asyncio.Event()
        self._wakes_at = math.inf
        self._take(config)

    @property
    def image(self) -> Image:
        """The process image, for reading."""
        return self._converter.image

    def apply(self, config: Config) -> None:
        """Go on with another config."""
        self._take(config)
        self.texts.apply(config)
        self._converter.apply(config)

    def _take(self, config: Config) -> None:
        self._config = config
        self._changed_only = frozenset(n for n, target in config.targets.items() if target.trigger == "change")

    def opened(self, client: Client) -> Client:
        """Return a client whose connection begins to ask; it goes on where a closed one of its address stopped."""
        client = client._replace(connection=self.texts.opened())
        self.image.take_over((client.address, client.connection), (client.address, 0))
        return client

    def closed(self, client: Client) -> None:
        """Keep what a client's connection left unfinished for its next one."""
        if client.connection:
            self.texts.closed(client.connection)
            self.image.leave((client.address, client.connection), (client.address, 0))

    def registers(self, address: int, data: bytes, client: Client, answer: Answer) -> bytes | Pending:
        """Write holding registers, two bytes each. Raises Refused."""
        count = len(data) // 2
        if layout.is_points(address, count):
            return self._points("holding", address, data, client, answer)
        place = layout.text_target(address, count)
        if place:
            return self._text(self._target(place[0], client), place[1], data, client, answer)
        number = layout.commit_target(address, count)
        if number is None:
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        return self._commit(self._target(number, client), int.from_bytes(data), client, answer)

    async def string(self, number: int, value: str, client: Client) -> list[Stored]:
        """Store a string that did not come over Modbus, if registers of the target could hold it.

        Raises TextError, Refused, and as the outbox does.
        """
        target = self._target(number, client)
        value = text.trimmed(value) if target.trim else value
        text.encode_ended(value, text.coding_of(target), target.registers)
        self._check_enabled(target, client)
        if not value and target.ignore_empty:
            return []
        pending = self._put((_event(number, value, client.name),), client, bytes)
        await self.ended(pending)
        if pending.error:
            raise pending.error
        return pending.stored.result()

    def tell_due(self, now: float) -> None:
        """Log how many lines were kept back of what is over, at `now` of the monotonic clock."""
        self._repeats.tell_due(log.warning, now)
        self._refusals.tell_due(now)
        self._unstored.tell_due(now)

    async def ended(self, pending: Pending) -> None:
        """Wait until a request has ended, at the latest when its time is over."""
        await asyncio.wait([pending.stored], timeout=self._config.modbus.answer_timeout)
        self.expire(pending)

    def expire(self, pending: Pending) -> None:
        """End a request whose time is over, unless it has ended; its effects are undone."""
        if not pending.stored.done():
            self._board.answered_late()
        pending.expire(too_late(self._config.modbus.answer_timeout))

    def coils(self, address: int, bits: Sequence[bool], client: Client, answer: Answer) -> bytes | Pending:
        """Write coils. Raises Refused."""
        if not layout.is_points(address, len(bits)):
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        return self._points("coil", address, bytes(bits), client, answer)

    def masked(self, request: MaskWrite, client: Client, answer: Answer) -> bytes | Pending:
        """Write some bits of a register of points. Raises Refused."""
        if not layout.is_points(request.address, 1):
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        register = int.from_bytes(self.image.read("holding", request.address, 1))
        data = request.written(register).to_bytes(2)
        return self._points("holding", request.address, data, client, answer, bits=~request.keep)

    async def run(self) -> None:
        """Store what completes by time, and throw away what was staged for too long, for ever."""
        while True:
            self._wake.clear()
            self._wakes_at = math.inf
            try:
                self._complete_idle(time.monotonic())
                self.texts.expire(time.monotonic())
                self._do_delayed(time.monotonic())
            except Exception:
                log.exception("what time completes failed")
                self._look_at(-math.inf)
            is_stored = await self._store_unstored()
            now = time.monotonic()
            moments = [self.texts.next_end(), self._converter.next_due(), None if is_stored else now + AGAIN]
            self._wakes_at = min((moment for moment in moments if moment is not None), default=math.inf)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._wakes_at == math.inf else max(self._wakes_at - now, TICK)):
                    await self._wake.wait()

    async def finish(self, seconds: float) -> None:
        """Store the idle texts that are staged, before the end, if the outbox takes them within `seconds`."""
        self._complete_idle(math.inf)
        try:
            async with asyncio.timeout(seconds):
                stored = await self._store_unstored()
        except TimeoutError:
            stored = False
        if not stored:
            log.error(
                "not stored", messages=len(self._unstored), reason="the device stops, and the outbox takes nothing"
            )

    async def _store_unstored(self) -> bool:
        """Store what no request waits for; False where the outbox did not take all of it."""
        try:
            return await self._unstored.store(self._put_again, self._config.modbus.answer_timeout)
        except OutboxLateError:
            self._board.answered_late()
            return False

    def _look_at(self, moment: float) -> None:
        """Let `run` look again at a moment of the monotonic clock, or before it."""
        if moment < self._wakes_at:
            self._wake.set()

    def _put_again(self, events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
        return self._outbox.put(events, self._changed_only)

    def _target(self, number: int, client: Client) -> Target:
        target = self._config.targets.get(number)
        if target is None:
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        if not client.rights.may_write_target(number):
            raise self._not_permitted(client, target.name)
        return target

    def _not_permitted(self, client: Client, what: str) -> Refused:
        """Return the refusal of a write that a client has no right to; the log says so once, then how often."""
        about = f"{what} by {client.name}"
        self._repeats.tell(log.warning, "not permitted", about, time.monotonic(), client=client.name, write=what)
        return Refused(ExcCodes.ILLEGAL_FUNCTION)

    def _text(self, target: Target, offset: int, data: bytes, client: Client, answer: Answer) -> bytes | Pending:
        now = time.monotonic()
        if target.completion != "request":
            self._check_enabled(target, client)
            self._look_at(now + self.texts.rules(target.number).patience)
        try:
            if target.completion == "idle":
                self._complete_idle(now)
                self._unstored.check_room(target.number)
            whole = self.texts.write(target, offset, data, client, now)
        except OutboxFullError as error:
            raise self._busy(client, error, {target.number}) from None
        return answer() if whole is None else self._whole(target, whole, client, answer)

    def _commit(self, target: Target, length: int, client: Client, answer: Answer) -> bytes | Pending:
        if target.completion == "commit":
            self._check_enabled(target, client)
        return self._whole(target, self.texts.commit(target, length, client), client, answer)

    def _whole(self, target: Target, whole: Whole, client: Client, answer: Answer) -> bytes | Pending:
        """Store a whole text."""
        self._check_enabled(target, client)
        if whole.value is None:
            return answer()
        event = _event(target.number, whole.value, client.name)
        return self._put((event,), client, answer, undo=whole.undo or nothing)

    def _points(  # noqa: PLR0917 (as the write came)
        self, space: str, address: int, data: bytes, client: Client, answer: Answer, bits: int = -1
    ) -> bytes | Pending:
        count = len(data) // 2 if space == "holding" else len(data)
        if not client.rights.may_write_points(space, address, count, bits):
            raise self._not_permitted(client, f"points of {space}")
        origin = Origin(client.address, client.name, time.time(), time.monotonic(), client.connection)
        try:
            change = self._converter.write(space, address, data, origin, bits)
        except TooManyStepsError as error:
            self._repeats.tell(
                log.error, "rules refused", client.name, origin.clock, client=client.name, reason=str(error)
            )
            raise Refused(ExcCodes.DEVICE_FAILURE) from None
        if change is None:
            return answer()
        converter = self._converter
        try:
            events = self._events(change)
        except BaseException:
            converter.take_back(change)
            raise
        if not events:
            self._keep(change)
            return answer()
        converter.open(change)
        return self._put(
            events, client, answer, keep=lambda: self._keep(change), undo=lambda: converter.take_back(change)
        )

    def _keep(self, change: Change) -> None:
        """Let a change of points stay, and let `run` look when the next delayed write is due."""
        self._converter.keep(change)
        due = self._converter.next_due()
        if due is not None:
            self._look_at(due)

    def _events(self, change: Change) -> list[Event]:
        """Return the events of a change that are to be stored; what was left out is in the log."""
        tell, clock = self._repeats.tell, change.origin.clock
        for step in change.skipped():
            where: dict[str, object] = {"rule": step.name, "destination": step.destination}
            tell(log.warning, "not converted", f"{step.path} {step.destination}", clock, **where, reason=step.reason)
        events = []
        for event in change.events:
            target = self._config.targets.get(event.target)
            if target and target.enabled:
                events.append(event)
            else:
                where = {"target": event.target, "source": event.source_parameter}
                tell(log.warning, "rule skipped", str(where), clock, **where, reason="target disabled")
        return events

    def _put(
        self,
        events: Sequence[Event],
        client: Client,
        answer: Answer,
        *,
        keep: Callable[[], None] = nothing,
        undo: Callable[[], None] = nothing,
    ) -> Pending:
        def refused() -> None:
            self._refusals.count({event.target for event in events})
            undo()

        try:
            stored = self._outbox.put(events, self._changed_only)
        except OutboxFullError as error:
            undo()
            raise self._busy(client, error, {event.target for event in events}) from None
        except BaseException:
            undo()
            raise
        return Pending(stored, answer, keep, refused)

    def _check_enabled(self, target: Target, client: Client) -> None:
        if not target.enabled:
            self._refusals.refuse("disabled", target.number, client.name, "the target is disabled")
            raise Refused(ExcCodes.DEVICE_FAILURE)

    def _busy(self, client: Client, error: OutboxFullError, targets: Collection[int]) -> Refused:
        """Count and log a write that found no room, and return its refusal."""
        self._refusals.count(targets)
        self._refusals.warn("busy", error.target or min(targets), client.name, str(error))
        return Refused(ExcCodes.DEVICE_BUSY)

    def _complete_idle(self, clock: float) -> None:
        """Make events of the idle texts whose time has come."""
        for number, value, client in self.texts.due(clock):
            self._unstored.add((_event(number, value, client),))
            self._look_at(clock)

    def _do_delayed(self, clock: float) -> None:
        """Do the delayed writes of points, and make events of what follows."""
        for change in self._converter.due(time.time(), clock):
            events = self._events(change)
            self._converter.keep(change)
            try:
                for event in events:
                    self._unstored.check_room(event.target)
            except OutboxFullError as error:
                for event in events:
                    self._refusals.refuse("rule skipped", event.target, event.source_connection, str(error))
                continue
            # Each alone, as no request waits for all: together they may be more than an outbox takes at once.
            for event in events:
                self._unstored.add((event,))


def _event(target: int, value: str, client: str) -> Event:
    now = time.time()
    name = f"target/{target}"
    return Event(new_event_id(now), target, value, now, client, name, value)
