"""The rules: from top to bottom, depth first, what the write of a point causes.

Theory of operation. A request writes the image; each watched point that it made whole is looked at by the rules which have
it as their source, in their order in the file. A rule that fires writes its destinations in order: a target becomes an
event, a point is written into the image, and the rules that watch that point are looked at before the next destination.

Memory is the last whole value of each point, and of each rule whether its condition held and when it fired. It stays over a
reload, and starts anew with the device. Where the events of a request could not be stored, `take_back` undoes the image and
makes the rules forget, so that the same write fires again.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from vdevice.config import Config
from vdevice.config.converter import enabled, target_number
from vdevice.config.schema import Point, Rule, When
from vdevice.converter import points
from vdevice.converter.image import Image, Patch
from vdevice.converter.values import Value, convert, to_bool, to_text
from vdevice.errors import ConversionError
from vdevice.model import Event, new_event_id
from vdevice.variables import substitute, values_of

RuleKey = tuple[str, str, When | None, int]
"""Source, trigger, condition, and which one of those that share them: what a rule is known by over a reload."""

_UNKNOWN: Value = float("nan")
"""A last value that no value equals."""


class Origin(NamedTuple):
    """Who wrote, and when: a client's address and name, UTC seconds, and seconds of a clock that never goes back."""

    address: str
    name: str
    now: float
    clock: float


class Step(NamedTuple):
    """What one rule did with one value: fired on a destination with a text, or did not and why."""

    rule: Rule
    destination: str
    text: str
    reason: str


class Change(msgspec.Struct):
    """What a write caused: events to store, and what it takes to undo it."""

    origin: Origin
    events: list[Event] = []
    steps: list[Step] = []
    patches: list[Patch] = []
    written: list[tuple[str, Value | None, Value]] = []
    fired: list["_Compiled"] = []
    later: list["_Later"] = []

    def skipped(self) -> list[Step]:
        """Return the destinations that a value could not be converted for."""
        return [step for step in self.steps if step.destination and step.reason]


class _Compiled(msgspec.Struct, frozen=True, eq=False):
    order: int
    rule: Rule
    key: RuleKey
    source: Point
    destinations: tuple[tuple[str, int | None, Point | None], ...]


class _Memory(msgspec.Struct):
    held: bool = False
    fired_at: float = float("-inf")


class _Later(NamedTuple):
    """A delayed write of a point."""

    due: float
    number: int
    rule: _Compiled
    point: Point
    value: Value
    origin: Origin


class Converter:
    """The image and its rules. `explain` makes changes tell of rules that did not fire, too."""

    def __init__(self, config: Config, *, explain: bool = False, new_id: Callable[[float], str] = new_event_id) -> None:
        self.image = Image()
        self._explain = explain
        self._new_id = new_id
        self._last: dict[str, Value] = {}
        self._memory: dict[RuleKey, _Memory] = {}
        self._points: dict[str, Point] = {}
        self._later: list[_Later] = []
        self._numbers = itertools.count()
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Go on with another config; points and rules that stay keep their memory."""
        self._config = config
        before, self._points = self._points, {point.name: point for point in config.points}
        self._last = {name: value for name, value in self._last.items() if before[name] == self._points.get(name)}
        self._by_source: dict[str, list[_Compiled]] = {}
        for compiled in self._compile(config):
            self._by_source.setdefault(compiled.source.name, []).append(compiled)
        keys = {compiled.key for rules in self._by_source.values() for compiled in rules}
        self._memory = {key: self._memory.get(key) or self._first_memory(key) for key in keys}
        self._later = [later for later in self._later if later.rule.key in keys]
        heapq.heapify(self._later)
        self.image.watch([self._points[name] for name in self._by_source])

    def write(self, space: str, address: int, data: bytes, origin: Origin, bits: int = -1) -> Change | None:
        """Write registers (two bytes each) or coils (a byte each); return what it caused, None where no rule watches.

        `bits` are those that the request wrote of each register.
        """
        patch, whole = self.image.write(space, address, data, origin.address, bits)
        if not whole:
            return None
        change = Change(origin, patches=[patch])
        self._run(whole, change)
        return change

    def due(self, now: float, clock: float) -> list[Change]:
        """Do the delayed writes whose time has come."""
        changes = []
        while self._later and self._later[0].due <= clock:
            later = heapq.heappop(self._later)
            change = Change(later.origin._replace(now=now, clock=clock))
            self._write_point(later.rule, later.point, later.value, change)
            changes.append(change)
        return changes

    def next_due(self) -> float | None:
        """Return when the next delayed write is due, by the clock of its origin."""
        return self._later[0].due if self._later else None

    def take_back(self, change: Change) -> None:
        """Undo a change whose events could not be stored; the same write will fire again."""
        for patch in reversed(change.patches):
            self.image.take_back(patch)
        for name, before, value in reversed(change.written):
            if self._last.get(name) is not value:
                # Somebody has written since: what the next one writes is a change in any case.
                self._last[name] = _UNKNOWN
            elif before is None:
                del self._last[name]
            else:
                self._last[name] = before
        for compiled in change.fired:
            memory = self._memory.get(compiled.key)
            if memory:
                if compiled.rule.trigger in {"rising", "falling"}:
                    memory.held = compiled.rule.trigger == "falling"
                memory.fired_at = float("-inf")
        self._later = [later for later in self._later if later not in change.later]
        heapq.heapify(self._later)

    def _compile(self, config: Config) -> list[_Compiled]:
        compiled = []
        seen: dict[tuple[str, str, When | None], int] = {}
        for order, rule in enumerate(enabled(config.rules)):
            source = self._points[rule.source or ""]
            alike = (source.name, rule.trigger, rule.when)
            seen[alike] = seen.get(alike, -1) + 1
            destinations = tuple((d, target_number(d), self._points.get(d)) for d in rule.destinations)
            compiled.append(_Compiled(order, rule, (*alike, seen[alike]), source, destinations))
        return compiled

    def _first_memory(self, key: RuleKey) -> _Memory:
        """Return the memory of a rule that is new: what its source was written to before is no edge."""
        source, _trigger, when, _ = key
        value = self._last.get(source)
        return _Memory(value is not None and holds(when, value, held=False))

    def _run(self, whole: list[Point], change: Change) -> None:
        values = {point.name: self._take(point, change) for point in whole}
        if len(whole) == 1:
            rules = self._by_source[whole[0].name]
        else:
            rules = sorted((rule for name in values for rule in self._by_source[name]), key=lambda rule: rule.order)
        for compiled in rules:
            taken = values[compiled.source.name]
            if taken is not None:
                self._evaluate(compiled, *taken, change)

    def _take(self, point: Point, change: Change) -> tuple[Value, Value] | None:
        """Return a point's value and the one before, and remember it; None for a string that is not text."""
        try:
            value = self.image.value(point)
        except ConversionError as error:
            change.steps += [Step(c.rule, point.name, "", str(error)) for c in self._by_source[point.name]]
            return None
        before = self._last.get(point.name)
        self._last[point.name] = value
        change.written.append((point.name, before, value))
        return value, points.decode(point, bytes(2 * point.count)) if before is None else before

    def _evaluate(self, compiled: _Compiled, value: Value, before: Value, change: Change) -> None:
        rule, memory = compiled.rule, self._memory[compiled.key]
        held, memory.held = memory.held, holds(rule.when, value, held=memory.held)
        reason = _why_not(rule, value, before, held=held, holds_now=memory.held)
        if not reason and change.origin.clock - memory.fired_at < rule.min_interval:
            reason = f"it fired less than {rule.min_interval:g} s ago (min_interval)"
        if reason:
            if self._explain:
                change.steps.append(Step(rule, "", "", reason))
            return
        memory.fired_at = change.origin.clock
        change.fired.append(compiled)
        for name, target, point in compiled.destinations:
            try:
                self._send(compiled, name, target, point, value, change)
            except ConversionError as error:
                change.steps.append(Step(rule, name, "", str(error)))

    def _send(  # noqa: PLR0917 (a destination is its name, target and point)
        self, compiled: _Compiled, name: str, target: int | None, point: Point | None, value: Value, change: Change
    ) -> None:
        rule, origin = compiled.rule, change.origin
        result = rule.map.get(to_text(value), value) if rule.map else value
        event = Event(
            self._new_id(origin.now), target or 0, to_text(result), origin.now, origin.name, compiled.source.name,
            to_text(value), rule.description, origin.now + rule.delay if rule.delay else 0.0,
        )  # fmt: skip
        if rule.template is not None:
            description = self._config.targets[target].description if target else ""
            words = substitute(rule.template, values_of(self._config, event, name, description))
            event = msgspec.structs.replace(event, value=words)
            result = words
        if point is None:
            change.steps.append(Step(rule, name, event.value, ""))
            change.events.append(event)
            return
        result = convert(result, points.kind(point))
        change.steps.append(Step(rule, name, to_text(result), ""))
        if rule.delay:
            later = _Later(origin.clock + rule.delay, next(self._numbers), compiled, point, result, origin)
            change.later.append(later)
            heapq.heappush(self._later, later)
        else:
            self._write_point(compiled, point, result, change)

    def _write_point(self, compiled: _Compiled, point: Point, value: Value, change: Change) -> None:
        try:
            data = points.encode(point, value, self.image.read(point.space, point.address, point.count))
        except ConversionError as error:
            change.steps.append(Step(compiled.rule, point.name, "", str(error)))
            return
        change.patches.append(self.image.put(point.space, point.address, data))
        if point.name in self._by_source:
            self._run([point], change)


def holds(when: When | None, value: Value, *, held: bool) -> bool:
    """Tell whether a condition holds; `held` is whether it did before, which hysteresis asks for. None: the value as a bool."""
    if when is None:
        return to_bool(value)
    if when.equals is not None and value != when.equals:
        return False
    if when.not_equals is not None and value == when.not_equals:
        return False
    if isinstance(value, str):
        return True
    slack = when.hysteresis if held else 0.0
    above = when.above is None or value > when.above - slack
    return above and (when.below is None or value < when.below + slack)


def _why_not(rule: Rule, value: Value, before: Value, *, held: bool, holds_now: bool) -> str:
    """Return why a rule does not fire, or nothing."""
    match rule.trigger:
        case "rising":
            return "" if holds_now and not held else "it did not begin to hold"
        case "falling":
            return "" if held and not holds_now else "it did not cease to hold"
    if rule.when is not None and not holds_now:
        return "its condition does not hold"
    return "the value did not change" if rule.trigger == "change" and value == before else ""
