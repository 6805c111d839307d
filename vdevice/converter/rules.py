"""The rules: from top to bottom, depth first, what the write of a point causes.

Theory of operation. A request writes the image; each watched point that it made whole is looked at by the rules which have
it as their source, in their order in the file. A rule that fires writes its destinations in order: a target becomes an
event, a point is written into the image, and the rules that watch that point are looked at before the next destination.

Chains of rules are followed without recursion: a chain may be as long as there are points.

Memory is the last whole value of each point, and of each rule whether its condition held and when it fired. It stays over a
reload, and starts anew with the device. Where the events of a request could not be stored, `take_back` undoes the image and
makes the rules forget, so that the same write fires again. A change whose events are on their way is `open`; it ends by
`keep` or `take_back`. One that fails on its way is undone before the error leaves.
"""

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

import msgspec

from vdevice.config import Config
from vdevice.config.converter import enabled, target_number
from vdevice.config.schema import Point, When
from vdevice.converter import points
from vdevice.converter.change import Change, Compiled, Later, Origin, RuleKey, Step
from vdevice.converter.conditions import holds, why_not
from vdevice.converter.image import Image
from vdevice.converter.journal import Assignment, Journal
from vdevice.converter.values import Value, convert, to_text
from vdevice.errors import ConversionError, TooManyStepsError
from vdevice.model import Event, new_event_id
from vdevice.variables import substitute, values_of

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
NEVER = float("-inf")

MOST_STEPS = 50_000
"""Destinations of one request, worked out before any other request; those of one point are bounded by the config's check."""


class Converter:
    """The image and its rules. `explain` makes changes tell of rules that did not fire, too."""

    def __init__(self, config: Config, *, explain: bool = False, new_id: Callable[[float], str] = new_event_id) -> None:
        self.image = Image()
        self._explain = explain
        self._new_id = new_id
        self._last: dict[str, Value | None] = {}
        self._held: dict[RuleKey, bool] = {}
        self._fired_at: dict[RuleKey, float] = {}
        self._journal = Journal()
        self._points: dict[str, Point] = {}
        self._later: list[Later] = []
        self._numbers = itertools.count()
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Go on with another config; points and rules that stay keep their memory."""
        self._config = config
        before, self._points = self._points, {point.name: point for point in config.points}
        self._drop(self._last, {name for name in self._last if before.get(name) != self._points.get(name)})
        self._by_source: dict[str, list[Compiled]] = {}
        for compiled in self._compile(config):
            self._by_source.setdefault(compiled.source.name, []).append(compiled)
        keys = {compiled.key for rules in self._by_source.values() for compiled in rules}
        self._drop(self._held, self._held.keys() - keys)
        self._drop(self._fired_at, self._fired_at.keys() - keys)
        for key in keys - self._held.keys():
            self._held[key] = self._holds_already(key)
        self._later = [later for later in self._later if later.rule.key in keys]
        heapq.heapify(self._later)
        self.image.watch([self._points[name] for name in self._by_source])

    def write(self, space: str, address: int, data: bytes, origin: Origin, bits: int = -1) -> Change | None:
        """Write registers (two bytes each) or coils (a byte each); return what it caused, None where no rule watches.

        `bits` are those that the request wrote of each register.
        """
        patch, whole = self.image.write(space, address, data, (origin.address, origin.connection), bits)
        change = Change(origin, patches=[patch])
        if not whole:
            self.keep(change)
            return None
        self._work(self._run(whole, change), change)
        return change

    def due(self, now: float, clock: float) -> Iterator[Change]:
        """Do the delayed writes whose time has come, one after the other."""
        while self._later and self._later[0].due <= clock:
            later = heapq.heappop(self._later)
            change = Change(later.origin._replace(now=now, clock=clock))
            self._work(self._delayed(later, change), change)
            yield change

    def next_due(self) -> float | None:
        """Return when the next delayed write is due, by the clock of its origin."""
        return self._later[0].due if self._later else None

    def open(self, change: Change) -> None:
        """Remember what it takes to undo a change whose events are on their way to the outbox."""
        cells = [one for patch in change.patches for one in self.image.assignments(patch, self._journal)]
        change.opened = [*cells, *change.memory]
        self._journal.open(change.opened)

    def keep(self, change: Change) -> None:
        """Let a change stay: what it caused is stored, or is nothing that must be. Its delayed writes are done from now on."""
        for later in change.later:
            # Unless the rule went away while the change was open.
            if later.rule.key in self._held:
                heapq.heappush(self._later, later)
        if change.opened is not None:
            self._journal.keep(change.opened)
        elif len(self._journal):
            for patch in change.patches:
                self._journal.overwrite(self.image.assignments(patch, self._journal))
            self._journal.overwrite(change.memory)

    def take_back(self, change: Change) -> None:
        """Undo a change whose events could not be stored; the same write will fire again."""
        if change.opened is not None:
            self._journal.undo(change.opened)
        else:
            for patch in reversed(change.patches):
                self.image.take_back(patch)
            for one in reversed(change.memory):
                one.store[one.key] = one.before

    def _work(self, points_written: Iterator[Point], change: Change) -> None:
        """Look at the rules of each point as it is written, before the next one is; undo all where that fails."""
        under_way = [points_written]
        try:
            while under_way:
                point = next(under_way[-1], None)
                if point is None:
                    under_way.pop()
                else:
                    under_way.append(self._run([point], change))
        except BaseException:
            self.take_back(change)
            raise

    def _drop(self, memory: dict[K, V], keys: Iterable[K]) -> None:
        """Forget what is remembered of points or rules that are no more."""
        for key in list(keys):
            del memory[key]
            self._journal.forget(memory, key)

    def _compile(self, config: Config) -> list[Compiled]:
        compiled = []
        seen: dict[tuple[str, str, When | None], int] = {}
        for order, (path, rule) in enumerate(enabled(config.rules)):
            source = self._points[rule.source or ""]
            alike = (source.name, rule.trigger, rule.when)
            seen[alike] = seen.get(alike, -1) + 1
            destinations = tuple((d, target_number(d), self._points.get(d)) for d in rule.destinations)
            compiled.append(Compiled(order, path, rule, (*alike, seen[alike]), source, destinations))
        return compiled

    def _holds_already(self, key: RuleKey) -> bool:
        """Return whether the condition of a rule that is new holds: what its source was written to before is no edge."""
        source, _trigger, when, _ = key
        value = self._last.get(source)
        return value is not None and holds(when, value, held=False)

    def _delayed(self, later: Later, change: Change) -> Iterator[Point]:
        if self._write_point(later.rule, later.point, later.value, change):
            yield later.point

    def _run(self, whole: list[Point], change: Change) -> Iterator[Point]:
        """Look at the rules of points that were written whole; yield each watched point that they write."""
        values = {point.name: self._take(point, change) for point in whole}
        if len(whole) == 1:
            rules = self._by_source[whole[0].name]
        else:
            rules = sorted((rule for name in values for rule in self._by_source[name]), key=lambda rule: rule.order)
        for compiled in rules:
            taken = values[compiled.source.name]
            if taken is not None and self._fires(compiled, *taken, change):
                yield from self._write_destinations(compiled, taken[0], change)

    def _take(self, point: Point, change: Change) -> tuple[Value, Value] | None:
        """Return a point's value and the one before, and remember it; None for a string that is not text."""
        try:
            value = self.image.value(point)
        except ConversionError as error:
            change.steps += [Step(c.rule, c.path, point.name, "", str(error)) for c in self._by_source[point.name]]
            return None
        before = self._last.get(point.name)
        if value != before:
            _assign(self._last, point.name, value, change, None)
        return value, points.decode(point, bytes(2 * point.count)) if before is None else before

    def _fires(self, compiled: Compiled, value: Value, before: Value, change: Change) -> bool:
        rule, key = compiled.rule, compiled.key
        held = self._held[key]
        holds_now = holds(rule.when, value, held=held)
        if holds_now != held:
            _assign(self._held, key, holds_now, change, unknown=False)
        reason = why_not(rule, value, before, held=held, holds_now=holds_now)
        if not reason and change.origin.clock - self._fired_at.get(key, NEVER) < rule.min_interval:
            reason = f"it fired less than {rule.min_interval:g} s ago (min_interval)"
        if reason:
            if self._explain:
                change.steps.append(Step(rule, compiled.path, "", "", reason))
            return False
        if rule.min_interval:
            _assign(self._fired_at, key, change.origin.clock, change, NEVER)
        return True

    def _write_destinations(self, compiled: Compiled, value: Value, change: Change) -> Iterator[Point]:
        if len(change.steps) > MOST_STEPS:
            raise TooManyStepsError(
                f"its rules write more than {MOST_STEPS} destinations; write fewer points in one request"
            )
        for name, target, point in compiled.destinations:
            try:
                watched = self._send(compiled, name, target, point, value, change)
            except ConversionError as error:
                change.steps.append(Step(compiled.rule, compiled.path, name, "", str(error)))
                continue
            if watched and point is not None:
                yield point

    def _send(  # noqa: PLR0917 (a destination is its name, target and point)
        self, compiled: Compiled, name: str, target: int | None, point: Point | None, value: Value, change: Change
    ) -> bool:
        """Write one destination; tell whether rules watch it. Raises ConversionError."""
        rule, path, origin = compiled.rule, compiled.path, change.origin
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
            change.steps.append(Step(rule, path, name, event.value, ""))
            change.events.append(event)
            return False
        result = convert(result, points.kind(point))
        change.steps.append(Step(rule, path, name, to_text(result), ""))
        if rule.delay:
            later = Later(origin.clock + rule.delay, next(self._numbers), compiled, point, result, origin)
            change.later.append(later)
            return False
        return self._write_point(compiled, point, result, change)

    def _write_point(self, compiled: Compiled, point: Point, value: Value, change: Change) -> bool:
        try:
            data = points.encode(point, value, self.image.read(point.space, point.address, point.count))
        except ConversionError as error:
            change.steps.append(Step(compiled.rule, compiled.path, point.name, "", str(error)))
            return False
        change.patches.append(self.image.put(point.space, point.address, data))
        return point.name in self._by_source


def _assign(memory: dict[K, V], key: K, value: V, change: Change, unknown: V) -> None:
    """Remember a value, and what it replaced."""
    change.memory.append(Assignment(memory, key, memory.get(key, unknown)))
    memory[key] = value
