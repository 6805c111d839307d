"""Writes: what is stored because of one, and what must be on disk before its answer.

A write of text goes through `registers`, a write of points through `converter`; both end as events in the outbox. What
completes by time, an idle string or a delayed rule, has no request that waits for it: `run` stores it, again and again
until it is stored.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from pymodbus.constants import ExcCodes

from vdevice.board import Board
from vdevice.config import Config, Target
from vdevice.converter.image import Image
from vdevice.converter.rules import Change, Converter, Origin
from vdevice.errors import OutboxFailingError, OutboxFullError, StageError, TextError
from vdevice.modbus.pdu import MaskWrite, Refused
from vdevice.modbus.refusals import Refusals
from vdevice.modbus.rights import EVERYTHING, Rights
from vdevice.model import Event, Stored, new_event_id
from vdevice.outbox.api import Outbox
from vdevice.registers import layout, staging, text
from vdevice.registers.staging import Key, Rules, Staging

TICK = 0.02
"""Seconds between two looks for idle strings and delayed rules, while there are any."""

AGAIN = 1.0
"""Seconds until what has no request is stored again, where it could not be."""

log = structlog.get_logger()

Answer = Callable[[], bytes]


class Client(NamedTuple):
    """Who asks: its address, its name where the config has one, what it may write, and how many requests a second."""

    address: str
    name: str
    rights: Rights = EVERYTHING
    rate: float | None = None


class Pending(NamedTuple):
    """An answer that waits for the outbox: `answer` makes the PDU once `stored` is done."""

    stored: asyncio.Future[list[Stored]]
    answer: Answer


class Writes:
    """The write half of the unit, with the process image and the strings in several writes."""

    def __init__(self, config: Config, outbox: Outbox, board: Board) -> None:
        self._outbox = outbox
        self._refusals = Refusals(board)
        self._staging = Staging()
        self._converter = Converter(config)
        self._unstored: deque[Sequence[Event]] = deque()
        self._storing = asyncio.Lock()
        self._by_time = asyncio.Event()
        self._take(config)

    @property
    def image(self) -> Image:
        """The process image, for reading."""
        return self._converter.image

    def apply(self, config: Config) -> None:
        """Go on with another config."""
        self._take(config)
        self._converter.apply(config)

    def _take(self, config: Config) -> None:
        self._config = config
        self._refused: set[tuple[str, str]] = set()
        self._rules = {number: staging.rules_of(target) for number, target in config.targets.items()}
        self._changed_only = frozenset(n for n, target in config.targets.items() if target.trigger == "change")

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

    def string(self, number: int, value: str, client: Client) -> asyncio.Future[list[Stored]]:
        """Store a string that did not come over Modbus, if registers of the target could hold it.

        Raises TextError, Refused, and as the outbox does.
        """
        target = self._target(number, client)
        text.encode(value, self._rules[number].coding)
        self._check_enabled(target)
        return self._put((_event(number, value, client.name),), client, bytes, None).stored

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
        """Store what completes by time, for ever."""
        while True:
            await self._by_time.wait()
            await asyncio.sleep(TICK)
            self._complete_idle(time.monotonic())
            self._do_delayed(time.monotonic())
            if not await self._store_unstored():
                await asyncio.sleep(AGAIN)
            if not self._unstored and not self._staging.waits_for_idle() and self._converter.next_due() is None:
                self._by_time.clear()

    async def finish(self) -> None:
        """Store the idle strings that are staged, before the end."""
        self._complete_idle(float("inf"))
        await self._store_unstored()

    def _target(self, number: int, client: Client) -> Target:
        target = self._config.targets.get(number)
        if target is None:
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        if not client.rights.may_write_target(number):
            raise self._not_permitted(client, target.name)
        return target

    def _not_permitted(self, client: Client, what: str) -> Refused:
        """Return the refusal of a write that a client has no right to; the log says so once."""
        if (client.name, what) not in self._refused:
            self._refused.add((client.name, what))
            log.warning("not permitted", client=client.name, write=what)
        return Refused(ExcCodes.ILLEGAL_FUNCTION)

    def _text(self, target: Target, offset: int, data: bytes, client: Client, answer: Answer) -> bytes | Pending:
        rules = self._rules[target.number]
        if rules.mode == "request":
            # A string starts at the first register of the text.
            if offset:
                raise Refused(ExcCodes.ILLEGAL_ADDRESS)
            return self._string(target, text.ordered(data, rules.coding), client, answer)
        self._check_enabled(target)
        key, now = (client.address, target.number), time.monotonic()
        try:
            whole = self._staging.write(key, rules, offset, data, now)
        except StageError:
            raise Refused(ExcCodes.ILLEGAL_ADDRESS) from None
        except TextError as error:
            raise self._rejected(target, client, error) from None
        except OutboxFullError as error:
            raise self._busy(client, error, target=target.number) from None
        if rules.mode == "idle":
            self._by_time.set()
        if whole is None:
            return answer()
        return self._string(target, whole, client, answer, self._restoring(key, whole))

    def _commit(self, target: Target, length: int, client: Client, answer: Answer) -> bytes | Pending:
        rules = self._rules[target.number]
        if rules.mode != "commit":
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        self._check_enabled(target)
        key = (client.address, target.number)
        try:
            data = self._staging.commit(key, rules, length, time.monotonic())
        except (StageError, TextError) as error:
            raise self._rejected(target, client, error) from None
        return self._string(target, data, client, answer, self._restoring(key, data))

    def _restoring(self, key: Key, data: bytes) -> Callable[[], None]:
        rules = self._rules[key[1]]
        return lambda: self._staging.restore(key, rules, data, time.monotonic())

    def _string(
        self, target: Target, data: bytes, client: Client, answer: Answer, undo: Callable[[], None] | None = None
    ) -> bytes | Pending:
        """Store a whole string, its characters in order."""
        try:
            value = text.decode_ordered(data, self._rules[target.number].coding)
        except TextError as error:
            raise self._rejected(target, client, error) from None
        self._check_enabled(target)
        return self._put((_event(target.number, value, client.name),), client, answer, undo)

    def _points(  # noqa: PLR0917 (as the write came)
        self, space: str, address: int, data: bytes, client: Client, answer: Answer, bits: int = -1
    ) -> bytes | Pending:
        count = len(data) // 2 if space == "holding" else len(data)
        if not client.rights.may_write_points(space, address, count):
            raise self._not_permitted(client, f"points of {space}")
        origin = Origin(client.address, client.name, time.time(), time.monotonic())
        change = self._converter.write(space, address, data, origin, bits)
        if change is None:
            return answer()
        if self._converter.next_due() is not None:
            self._by_time.set()
        events = self._events(change)
        return self._put(events, client, answer, lambda: self._converter.take_back(change)) if events else answer()

    def _events(self, change: Change) -> list[Event]:
        """Return the events of a change that are to be stored; what was left out is in the log."""
        for step in change.skipped():
            log.warning("not converted", rule=step.rule.description, destination=step.destination, reason=step.reason)
        events = []
        for event in change.events:
            target = self._config.targets.get(event.target)
            if target and target.enabled:
                events.append(event)
            else:
                log.warning(
                    "rule skipped", target=event.target, source=event.source_parameter, reason="target disabled"
                )
        return events

    def _put(self, events: Sequence[Event], client: Client, answer: Answer, undo: Callable[[], None] | None) -> Pending:
        try:
            stored = self._outbox.put(events, self._changed_only)
        except OutboxFullError as error:
            if undo:
                undo()
            raise self._busy(client, error, target=events[0].target) from None
        if undo:
            stored.add_done_callback(lambda future: undo() if future.exception() else None)
        return Pending(stored, answer)

    def _check_enabled(self, target: Target) -> None:
        if not target.enabled:
            raise Refused(ExcCodes.DEVICE_FAILURE)

    def _rejected(self, target: Target, client: Client, error: TextError | StageError) -> Refused:
        """Return the refusal of what is no text."""
        self._refusals.refuse("not text", target.number, client.name, str(error))
        return Refused(ExcCodes.ILLEGAL_VALUE)

    def _busy(self, client: Client, error: OutboxFullError, target: int) -> Refused:
        log.warning("busy", target=target, client=client.name, reason=str(error))
        return Refused(ExcCodes.DEVICE_BUSY)

    def _complete_idle(self, clock: float) -> None:
        """Make events of the idle strings whose time has come."""
        for (address, number), rules, data in self._staging.due(clock):
            client = self._config.client_name(address)
            target = self._config.targets.get(number)
            try:
                value = _idle_string(target, rules, data)
            except TextError as error:
                self._refusals.refuse("not text", number, client, str(error))
                continue
            self._unstored.append((_event(number, value, client),))

    def _do_delayed(self, clock: float) -> None:
        """Do the delayed writes of points, and make events of what follows."""
        for change in self._converter.due(time.time(), clock):
            events = self._events(change)
            if events:
                self._unstored.append(events)

    async def _store_unstored(self) -> bool:
        """Store in order what waits for it; False where the outbox does not take it now."""
        async with self._storing:
            while self._unstored:
                try:
                    await self._outbox.put(self._unstored[0], self._changed_only)
                except (OutboxFullError, OutboxFailingError) as error:
                    log.warning("not stored yet", strings=len(self._unstored), reason=str(error))
                    return False
                self._unstored.popleft()
        return True


def _idle_string(target: Target | None, rules: Rules, data: bytes | None) -> str:
    if target is None:
        raise TextError("the target was removed from the config")
    if data is None:
        raise TextError("a part of the text was not written")
    return text.decode_ordered(data, rules.coding)


def _event(target: int, value: str, client: str) -> Event:
    now = time.time()
    name = f"target/{target}"
    return Event(new_event_id(now), target, value, now, client, name, value)
