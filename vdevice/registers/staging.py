"""Strings in several writes: the completion modes `content`, `commit` and `idle` of CONTRACT section 2.

Rules of this room: pure, time is passed in (seconds of any clock that never goes back); a write that is refused leaves its
stage as it was; a string that completed leaves its stage at once, and comes back by `restore` where it could not be stored.

Theory of operation. A stage is what one client address has written to one target since its string began: bytes in the
order of their characters, and which registers were written.

| mode    | a write to offset 0   | elsewhere                             | complete                                        |
|---------|-----------------------|---------------------------------------|-------------------------------------------------|
| content | begins a new string   | needs a string that was begun         | once the content from 0 on is whole             |
| idle    | begins a new string   | needs a string that was begun         | `idle_ms` after the last write                  |
| commit  | is like any other     | is staged                             | by the write to the commit register             |

After a string completed by its content, writes that lie wholly behind its end are the tail of the same array (a SCADA tag
is written to its full length): they are answered and ignored.
"""

from typing import NamedTuple

import msgspec

from vdevice.config import Target
from vdevice.errors import OutboxFullError, StageError, TextError
from vdevice.registers import text
from vdevice.registers.text import CAPACITY, Coding

MOST_STAGES = 1000
"""Stages kept at a time, each of less than 3 KiB; above that a new string is refused until others ended or expired."""

Key = tuple[str, int]
"""Client address and target."""


class Rules(NamedTuple):
    """What a target's config says about its strings: mode, coding, and seconds."""

    mode: str
    coding: Coding
    idle: float
    timeout: float


def rules_of(target: Target) -> Rules:
    """Return what a target's config says about its strings."""
    return Rules(target.completion, text.coding_of(target), target.idle_ms / 1000, target.staging_timeout)


class Stage(msgspec.Struct):
    """What was written so far; `tail` is where, in registers, the end of a completed string is, else None."""

    rules: Rules
    last_write: float
    data: bytearray
    written: bytearray
    tail: int | None = None

    def contiguous(self) -> bytes:
        """Return what was written from offset 0 on, up to the first gap."""
        gap = self.written.find(0)
        return bytes(self.data[: 2 * gap] if gap >= 0 else self.data)


class Staging:
    """All stages."""

    def __init__(self) -> None:
        self._stages: dict[Key, Stage] = {}

    def __len__(self) -> int:
        return len(self._stages)

    def write(self, key: Key, rules: Rules, offset: int, data: bytes, now: float) -> bytes | None:
        """Take a write of registers at text offset `offset`; return the whole string in order where it completes one.

        Raises StageError where no string was begun, TextError for content that cannot be, OutboxFullError where too
        many strings are staged.
        """
        stage = self._stage(key, rules, now)
        if stage is None or (offset == 0 and rules.mode != "commit"):
            if offset and rules.mode != "commit":
                raise StageError(f"a string begins at register 0 of the text, not {offset}")
            stage = self._new(key, rules, now)
        elif stage.tail is not None and offset < stage.tail:
            raise StageError("the string is complete; the next one begins at register 0 of the text")
        if stage.tail is None:
            stage = _with(stage, offset, text.ordered(data, rules.coding, offset))
        stage.last_write = now
        whole = _whole(stage) if rules.mode == "content" and stage.tail is None else None
        if whole is not None:
            stage = Stage(rules, now, bytearray(), bytearray(), (len(whole) + 1) // 2)
        self._stages[key] = stage
        return whole

    def commit(self, key: Key, rules: Rules, length: int, now: float) -> bytes:
        """Return the staged string of `length` bytes, 0 = up to its first NUL, and end its stage.

        Raises StageError where nothing was staged, TextError where the string has a gap.
        """
        stage = self._stage(key, rules, now)
        if stage is None:
            raise StageError("nothing was written since the last commit")
        data = stage.contiguous()
        if length > len(data):
            raise TextError(f"the commit says {length} bytes, {len(data)} were written without a gap")
        if not length and not _has_nul(data, rules.coding) and _without_gap(stage) is None:
            raise TextError(f"register {len(data) // 2} of the text was not written")
        del self._stages[key]
        return data[:length] if length else data

    def restore(self, key: Key, rules: Rules, data: bytes, now: float) -> None:
        """Take back a string that could not be stored, unless its client has begun another one."""
        stage = self._stages.get(key)
        if stage is None or stage.tail is not None:
            self._stages[key] = _with(_empty(rules, now), 0, data + b"\0" * (len(data) % 2))

    def due(self, now: float) -> list[tuple[Key, Rules, bytes | None]]:
        """End and return the `idle` strings whose time has come; None for one with a gap."""
        done = [
            (key, stage)
            for key, stage in self._stages.items()
            if stage.rules.mode == "idle" and now - stage.last_write >= stage.rules.idle
        ]
        for key, _ in done:
            del self._stages[key]
        return [(key, stage.rules, _without_gap(stage)) for key, stage in done]

    def waits_for_idle(self) -> bool:
        """Tell whether any string completes by time."""
        return any(stage.rules.mode == "idle" for stage in self._stages.values())

    def _stage(self, key: Key, rules: Rules, now: float) -> Stage | None:
        """Return the stage of a key, unless it expired or was staged under other settings."""
        stage = self._stages.get(key)
        if stage and (stage.rules != rules or now - stage.last_write > rules.timeout):
            del self._stages[key]
            return None
        return stage

    def _new(self, key: Key, rules: Rules, now: float) -> Stage:
        if key not in self._stages and len(self._stages) >= MOST_STAGES:
            for old, stage in list(self._stages.items()):
                if stage.tail is not None or now - stage.last_write > stage.rules.timeout:
                    del self._stages[old]
            if len(self._stages) >= MOST_STAGES:
                raise OutboxFullError(f"{MOST_STAGES} strings are staged")
        return _empty(rules, now)


def _empty(rules: Rules, now: float) -> Stage:
    return Stage(rules, now, bytearray(CAPACITY), bytearray(CAPACITY // 2))


def _with(stage: Stage, offset: int, data: bytes) -> Stage:
    """Return the stage with ordered data in it, the old one untouched."""
    fresh = Stage(stage.rules, stage.last_write, stage.data.copy(), stage.written.copy())
    count = len(data) // 2
    fresh.data[2 * offset : 2 * (offset + count)] = data
    fresh.written[offset : offset + count] = b"\x01" * count
    return fresh


def _whole(stage: Stage) -> bytes | None:
    data = stage.contiguous()
    size = text.end(data, stage.rules.coding)
    return None if size is None else data[:size]


def _without_gap(stage: Stage) -> bytes | None:
    data = stage.contiguous()
    return data if stage.written.find(1, len(data) // 2) < 0 else None


def _has_nul(data: bytes, coding: Coding) -> bool:
    return coding.format == "nul" and text.end(data, coding) is not None
