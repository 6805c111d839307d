"""Texts as clients write them: from registers, in one write or several, to what is to be stored.

It refuses what is no text, counts and logs that, and knows no outbox.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pymodbus.constants import ExcCodes

from vdevice.config import Config, Target
from vdevice.errors import StageError, TextError
from vdevice.modbus.pdu import Refused
from vdevice.modbus.refusals import Hint, Refusals, no_hint
from vdevice.modbus.rights import EVERYTHING, Rights
from vdevice.registers import readings, stage, text
from vdevice.registers.stage import Key, Rules
from vdevice.registers.staging import Complete, Staging
from vdevice.registers.text import Coding
from vdevice.repeats import Repeats


class Client(NamedTuple):
    """Who asks: its address, its name where the config has one, what it may write, and how many requests a second.

    `connection` is the number of its connection, as `Texts.opened` gave it; 0 where there is none.
    """

    address: str
    name: str
    rights: Rights = EVERYTHING
    rate: float | None = None
    connection: int = 0


class Whole(NamedTuple):
    """A whole text: None where it is answered and makes no message. `undo` takes it back where it could not be stored."""

    value: str | None
    undo: Callable[[], None] | None = None


class IdleText(NamedTuple):
    """A text that time completed."""

    target: int
    value: str
    client: str


@contextlib.contextmanager
def _undone(undo: Callable[[], None]) -> Iterator[None]:
    """Take a text back to its stage where an error comes up that nobody expected; what is refused stays refused."""
    try:
        yield
    except Refused:
        raise
    except BaseException:
        undo()
        raise


class Texts:
    """The texts of all targets that are being written."""

    def __init__(self, config: Config, refusals: Refusals) -> None:
        self._staging = Staging()
        self._refusals = refusals
        self._looks = Repeats()
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Go on with another config."""
        self._config = config
        self._rules = {number: stage.rules_of(target) for number, target in config.targets.items()}

    def opened(self) -> int:
        """Return the number of a connection that begins to ask."""
        return self._staging.opened()

    def closed(self, connection: int) -> None:
        """Keep what a connection staged for the next one of its address."""
        self._staging.closed(connection)

    def rules(self, target: int) -> Rules:
        """Return what the config says about the texts of a target that it has."""
        return self._rules[target]

    def next_end(self) -> float | None:
        """Return when time completes or ends a text next, by the monotonic clock; None for never."""
        return self._staging.next_end()

    def write(self, target: Target, offset: int, data: bytes, client: Client, now: float) -> Whole | None:
        """Take a write at a register of the text, at `now` of the monotonic clock; None while more must come.

        Raises Refused, and OutboxFullError where too many texts are staged.
        """
        rules = self._rules[target.number]
        if rules.mode == "request":
            # A text starts at the first register.
            if offset:
                raise Refused(ExcCodes.ILLEGAL_ADDRESS)
            return self._whole(target.number, text.ordered(data, rules.coding), data, client)
        key = Key(client.address, client.connection, target.number)
        try:
            whole = self._staging.write(key, rules, offset, data, now)
        except StageError as error:
            raise Refused(ExcCodes.ILLEGAL_ADDRESS, str(error)) from None
        except TextError as error:
            hint = _hint(data, rules.coding) if offset == 0 else no_hint
            raise self._not_text(target.number, client.name, error, hint) from None
        finally:
            self._tell_thrown_away()
        if whole is None:
            return None
        undo = self._restoring(key, whole)
        with _undone(undo):
            # The whole array, where it came at once: what stands behind the end tells more than the text.
            registers = data if offset == 0 else _registers(whole, rules.coding)
            return self._whole(target.number, whole, registers, client, undo)

    def commit(self, target: Target, length: int, client: Client) -> Whole:
        """Take a write of the commit register. Raises Refused."""
        rules = self._rules[target.number]
        if rules.mode != "commit":
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        key = Key(client.address, client.connection, target.number)
        try:
            data = self._staging.commit(key, rules, length, time.monotonic())
        except (StageError, TextError) as error:
            raise self._not_text(target.number, client.name, error) from None
        finally:
            self._tell_thrown_away()
        undo = self._restoring(key, data)
        with _undone(undo):
            registers = _registers(data, rules.coding)
            return self._whole(target.number, data, registers, client, undo)

    def due(self, now: float) -> list[IdleText]:
        """Return the idle texts whose time has come, in the order in which it came."""
        found = []
        for complete in self._staging.due(now):
            number, client = complete.key.target, self._config.client_name(complete.key.address)
            coding = complete.rules.coding
            registers = _registers(complete.data or b"", coding)
            try:
                value = self._idle_value(complete, client)
            except TextError as error:
                self._not_text(number, client, error, _hint(registers, coding))
            else:
                self._look(number, registers, coding, client)
                if value or not complete.rules.ignore_empty:
                    found.append(IdleText(number, value, client))
        return found

    def expire(self, now: float) -> None:
        """Throw away what was staged for too long."""
        self._staging.expire(now)
        self._tell_thrown_away()

    def _idle_value(self, complete: Complete, client: str) -> str:
        number = complete.key.target
        if number not in self._config.targets:
            raise TextError("the target was removed from the config")
        if complete.data is None:
            raise TextError("a part of the text was not written")
        return self._value(number, complete.data, complete.rules, client)

    def _restoring(self, key: Key, data: bytes) -> Callable[[], None]:
        rules = self._rules[key.target]
        return lambda: self._staging.restore(key, rules, data, time.monotonic())

    def _whole(
        self, target: int, data: bytes, registers: bytes, client: Client, undo: Callable[[], None] | None = None
    ) -> Whole:
        rules = self._rules[target]
        try:
            value = self._value(target, data, rules, client.name)
        except TextError as error:
            raise self._not_text(target, client.name, error, _hint(registers, rules.coding)) from None
        self._look(target, registers, rules.coding, client.name)
        return Whole(value if value or not rules.ignore_empty else None, undo)

    def _value(self, target: int, data: bytes, rules: Rules, client: str) -> str:
        """Return the text in ordered data. Raises TextError."""
        value = text.decode_ordered(data, rules.coding)
        cut = text.cut(data, rules.coding)
        if cut:
            what = f"the write ends in the first {cut} bytes of a UTF-8 character, which were dropped"
            self._refusals.warn("text cut", target, client, f"{what}; if there is no such character, check encoding")
        return text.trimmed(value) if rules.trim else value

    def _look(self, target: int, registers: bytes, coding: Coding, client: str) -> None:
        """Look, once in a while, whether other settings read a target's texts clearly better, and say so in the log."""
        if self._looks.count(("look", client, target), time.monotonic()) is not None:
            settings = readings.advice(registers, coding)
            if settings:
                self._refusals.warn(
                    "text garbled", target, client, "other settings read it clearly better", lambda: settings
                )

    def _not_text(self, target: int, client: str, error: TextError | StageError, hint: Hint = no_hint) -> Refused:
        """Count and log what is no text, and return its refusal."""
        self._refusals.refuse("not text", target, client, str(error), hint)
        return Refused(ExcCodes.ILLEGAL_VALUE)

    def _tell_thrown_away(self) -> None:
        for key, reason in self._staging.thrown_away():
            self._refusals.refuse("text thrown away", key.target, self._config.client_name(key.address), reason)


def _registers(data: bytes, coding: Coding) -> bytes:
    """Return the registers that ordered data, which may end in the middle of one, came in."""
    return text.ordered(data + b"\0" * (len(data) % 2), coding)


def _hint(registers: bytes, coding: Coding) -> Hint:
    return lambda: readings.advice(registers, coding)
