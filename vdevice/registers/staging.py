"""Texts in several writes: the completion modes `content`, `commit` and `idle`.

Rules of this room: pure, time is passed in (seconds of any clock that never goes back); a write that is refused leaves its
stage as it was; a text that completed leaves its stage at once, and comes back by `restore` where it could not be stored;
a text that is thrown away is told by `thrown_away`.

Theory of operation. A stage is what one connection has written to one target since its text began: bytes in the order of
their characters, and which registers were written.

| mode    | a write to offset 0   | elsewhere                             | complete                                        |
|---------|-----------------------|---------------------------------------|-------------------------------------------------|
| content | begins a new text     | needs a text that was begun           | once the content from 0 on is whole             |
| idle    | begins a new text     | needs a text that was begun           | `idle_ms` after the last write                  |
| commit  | is like any other     | is staged                             | by the write to the commit register             |

An idle text is complete when its time has come, not when somebody looks at the clock: a write that comes later finds it
complete, however busy the device was in between.

After a text completed by its content, writes that lie wholly behind its end are the tail of the same array (a SCADA tag
is written to its full length): they are answered and ignored.

A stage whose connection was closed is left behind. A connection of the same address that was opened afterwards takes it
over with its first write to that target: a PLC that reconnects goes on. Where two connections of one address left a text
unfinished, nobody can tell whose the next connection is, and neither is taken over: texts of two writers never mix.
"""

from typing import NamedTuple

from vdevice.errors import OutboxFullError, StageError, TextError
from vdevice.registers import stage as stages
from vdevice.registers import text
from vdevice.registers.stage import Key, Rules, Stage

MOST_STAGES = 1000
"""Stages kept at a time, each of less than 3 KiB; above that a new text is refused until others ended or expired."""


class Thrown(NamedTuple):
    """A staged text that was thrown away, and why."""

    key: Key
    reason: str


class Complete(NamedTuple):
    """An idle text whose time has come: its bytes in order, None where it has a gap."""

    key: Key
    rules: Rules
    data: bytes | None


class Staging:
    """All stages."""

    def __init__(self) -> None:
        self._stages: dict[Key, Stage] = {}
        self._open: set[int] = set()
        self._newest = 0
        self._complete: list[Complete] = []
        self._thrown: list[Thrown] = []

    def __len__(self) -> int:
        return len(self._stages)

    def opened(self) -> int:
        """Return the number of a connection that begins to ask."""
        self._newest += 1
        self._open.add(self._newest)
        return self._newest

    def closed(self, connection: int) -> None:
        """Leave behind the stages of a connection that was closed."""
        self._open.discard(connection)
        for key in [key for key in self._stages if key.connection == connection]:
            self._leave(key)

    def write(self, key: Key, rules: Rules, offset: int, data: bytes, now: float) -> bytes | None:
        """Take a write of registers at text offset `offset`; return the whole text in order where it completes one.

        Raises StageError where no text was begun, TextError for content that cannot be, OutboxFullError where too
        many texts are staged.
        """
        before = self._find(key, rules, now)
        begins = before is None or (offset == 0 and rules.mode != "commit")
        if begins and offset and rules.mode != "commit":
            raise StageError(f"a text begins at register 0 of the text, not {offset}")
        if before is None or begins:
            self._make_room(key, now)
            stage = stages.empty(rules, now)
        elif before.tail is not None and offset < before.tail:
            raise StageError("the text is complete; the next one begins at register 0 of the text")
        else:
            stage = before
        if stage.tail is None:
            stage = stage.with_write(offset, text.ordered(data, rules.coding, offset))
        whole = stage.whole() if rules.mode == "content" and stage.tail is None else None
        if begins and before is not None:
            self._throw(key, before, "a new text began before this one was complete")
        if whole is not None:
            stage = stages.completed(rules, now, whole)
        stage.last_write = now
        self._keep(key, stage)
        return whole

    def commit(self, key: Key, rules: Rules, length: int, now: float) -> bytes:
        """Return the staged text of `length` bytes, 0 = up to its first NUL, and end its stage.

        Raises StageError where nothing was staged, TextError where the text has a gap.
        """
        stage = self._find(key, rules, now)
        if stage is None:
            raise StageError("nothing was written since the last commit")
        data = stage.contiguous()
        if length > len(data):
            raise TextError(f"the commit says {length} bytes, {len(data)} were written without a gap")
        if not length and not text.has_nul(data, rules.coding) and stage.without_gap() is None:
            raise TextError(f"register {len(data) // 2} of the text was not written")
        del self._stages[key]
        return data[:length] if length else data

    def restore(self, key: Key, rules: Rules, data: bytes, now: float) -> None:
        """Take back a text that could not be stored, unless its client has begun another one."""
        stage = self._stages.get(key)
        if stage is None or stage.tail is not None:
            stage = stages.empty(rules, now).with_write(0, data + b"\0" * (len(data) % 2))
            stage.is_refused = True
            self._keep(key, stage)

    def due(self, now: float) -> list[Complete]:
        """Return, once, the `idle` texts whose time has come, in the order in which it came."""
        self._end_idle(now)
        complete, self._complete = self._complete, []
        return complete

    def expire(self, now: float) -> None:
        """Throw away what nobody wrote to for `staging_timeout`."""
        for key, stage in [(k, s) for k, s in self._stages.items() if _is_expired(s, now)]:
            self._throw(key, stage, _expiry(stage))
            del self._stages[key]

    def next_end(self) -> float | None:
        """Return when `due` or `expire` has something to do, None for never."""
        return min((stage.ends_at for stage in self._stages.values()), default=None)

    def thrown_away(self) -> list[Thrown]:
        """Return, once, the texts that were thrown away."""
        thrown, self._thrown = self._thrown, []
        return thrown

    def _end_idle(self, now: float) -> None:
        done = [(key, stage) for key, stage in self._stages.items() if stage.is_idle and now >= stage.ends_at]
        for key, stage in sorted(done, key=lambda one: one[1].ends_at):
            del self._stages[key]
            self._complete.append(Complete(key, stage.rules, stage.without_gap()))

    def _find(self, key: Key, rules: Rules, now: float) -> Stage | None:
        """Return the stage of a key, unless it ended or was staged under other settings."""
        if key not in self._stages:
            self._take_over(key)
        if key in self._stages and self._stages[key].is_idle:
            self._end_idle(now)
        stage = self._stages.get(key)
        if stage is None:
            return None
        if stage.rules == rules and not _is_expired(stage, now):
            return stage
        self._throw(key, stage, _expiry(stage) if stage.rules == rules else "the settings of the target changed")
        del self._stages[key]
        return None

    def _take_over(self, key: Key) -> None:
        """Give a new connection what a closed one of its address left behind."""
        left = [k for k in self._left_behind(key) if (self._stages[k].left or 0) < key.connection]
        left = [k for k in left if self._stages[k].tail is None] or left
        if len(left) == 1:
            self._keep(key, self._stages.pop(left[0]))

    def _leave(self, key: Key) -> None:
        """Leave a stage behind for a connection that is still to come; two ends of completed texts are one too many."""
        for other in self._left_behind(key):
            if other != key and self._stages[other].tail is not None:
                del self._stages[other]
        self._stages[key].left = self._newest

    def _left_behind(self, key: Key) -> list[Key]:
        """Return the stages of closed connections of the same address and target."""
        place = (key.address, key.target)
        return [k for k, s in self._stages.items() if s.left is not None and (k.address, k.target) == place]

    def _keep(self, key: Key, stage: Stage) -> None:
        stage.left = None
        self._stages[key] = stage
        if key.connection and key.connection not in self._open:
            # Closed while its request waited for the outbox.
            self._leave(key)

    def _make_room(self, key: Key, now: float) -> None:
        """Drop what is of no use, then what was left behind longest. Raises OutboxFullError.

        One address gets as many stages as there are free, so that it can never take the last one from all others.
        """
        if key in self._stages or len(self._stages) < MOST_STAGES // 2:
            return
        self.expire(now)
        if len(self._stages) >= MOST_STAGES:
            for old in [k for k, stage in self._stages.items() if stage.tail is not None]:
                del self._stages[old]
        left = [(s.last_write, k) for k, s in self._stages.items() if s.left is not None and not s.is_idle]
        if len(self._stages) >= MOST_STAGES and left:
            oldest = min(left)[1]
            self._throw(oldest, self._stages.pop(oldest), f"{MOST_STAGES} texts are staged")
        own = sum(k.address == key.address for k in self._stages)
        if own >= MOST_STAGES - len(self._stages):
            raise OutboxFullError(f"{len(self._stages)} texts are staged, {own} of them by this address")

    def _throw(self, key: Key, stage: Stage, reason: str) -> None:
        """Tell that a text is thrown away; one that was answered 04 or 06 has been told already."""
        if stage.tail is None and not stage.is_refused:
            self._thrown.append(Thrown(key, reason))


def _is_expired(stage: Stage, now: float) -> bool:
    return not stage.is_idle and now >= stage.ends_at


def _expiry(stage: Stage) -> str:
    return f"nothing was written to it for {stage.rules.timeout:g} s (staging_timeout)"
