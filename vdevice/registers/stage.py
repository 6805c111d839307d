"""One text in several writes: what was written so far, and whether it is whole."""

from typing import NamedTuple

import msgspec

from vdevice.config import Target
from vdevice.registers import text
from vdevice.registers.text import CAPACITY, Coding


class Key(NamedTuple):
    """Whose stage: client address, number of the connection (0 = none, as of the page), target."""

    address: str
    connection: int
    target: int


class Rules(NamedTuple):
    """What a target's config says about its texts.

    `idle` and `timeout` are seconds, `registers` is after how many of them a text of mode content is whole (None: that is
    not known), and the last two are the settings of the same names.
    """

    mode: str
    coding: Coding
    idle: float
    timeout: float
    registers: int | None = None
    trim: bool = False
    ignore_empty: bool = False

    @property
    def patience(self) -> float:
        """Seconds without a write after which time ends a stage: an idle text completes, any other expires."""
        return self.idle if self.mode == "idle" else self.timeout


def rules_of(target: Target) -> Rules:
    """Return what a target's config says about its texts."""
    return Rules(
        target.completion,
        text.coding_of(target),
        target.idle_ms / 1000,
        target.staging_timeout,
        target.registers,
        target.trim,
        target.ignore_empty,
    )


class Stage(msgspec.Struct):
    """What was written so far.

    `tail` is where, in registers, the end of a completed text is, else None. `left` is the newest connection's number at
    the moment when the connection of this stage was closed, None while it is open. `is_refused` tells that this text was
    whole, could not be stored, and was answered so.
    """

    rules: Rules
    last_write: float
    data: bytearray
    written: bytearray
    tail: int | None = None
    left: int | None = None
    is_refused: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether time completes it."""
        return self.rules.mode == "idle"

    @property
    def ends_at(self) -> float:
        """When time ends this stage."""
        return self.last_write + self.rules.patience

    def contiguous(self) -> bytes:
        """Return what was written from offset 0 on, up to the first gap."""
        gap = self.written.find(0)
        return bytes(self.data[: 2 * gap] if gap >= 0 else self.data)

    def without_gap(self) -> bytes | None:
        """Return what was written, None where something in its middle is missing."""
        data = self.contiguous()
        return data if self.written.find(1, len(data) // 2) < 0 else None

    def with_write(self, offset: int, data: bytes) -> "Stage":
        """Return the stage with ordered data at a register in it; this one is left as it is."""
        fresh = Stage(self.rules, self.last_write, self.data.copy(), self.written.copy())
        count = len(data) // 2
        fresh.data[2 * offset : 2 * (offset + count)] = data
        fresh.written[offset : offset + count] = b"\x01" * count
        return fresh

    def whole(self) -> bytes | None:
        """Return the text that its content says is complete, None while more must come. Raises TextError."""
        data = self.contiguous()
        if self.rules.registers is None:
            size = text.end(data, self.rules.coding)
        else:
            data = data[: 2 * self.rules.registers]
            size = text.end(data, self.rules.coding)
            if size is None and len(data) == 2 * self.rules.registers:
                size = len(data)
        return None if size is None else data[:size]


def empty(rules: Rules, now: float) -> Stage:
    """Return a stage in which nothing was written yet."""
    return Stage(rules, now, bytearray(CAPACITY), bytearray(CAPACITY // 2))


def completed(rules: Rules, now: float, whole: bytes) -> Stage:
    """Return what stays behind a text that its content completed: where its end is."""
    return Stage(rules, now, bytearray(), bytearray(), (len(whole) + 1) // 2)
