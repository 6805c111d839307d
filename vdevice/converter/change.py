"""What a write of points causes: events to store, steps to show, and what it takes to undo it."""

from typing import NamedTuple

import msgspec

from vdevice.config.schema import Point, Rule, When
from vdevice.converter.image import Patch
from vdevice.converter.journal import Assignment
from vdevice.converter.values import Value
from vdevice.model import Event

RuleKey = tuple[str, str, When | None, int]
"""Source, trigger, condition, and which one of those that share them: what a rule is known by over a reload."""


class Origin(NamedTuple):
    """Who wrote, and when: a client's address and name, UTC seconds, and seconds of a clock that never goes back.

    `connection` is the number of its connection, 0 where there is none.
    """

    address: str
    name: str
    now: float
    clock: float
    connection: int = 0


class Step(NamedTuple):
    """What one rule, which stands at `path` in the config, did with one value: fired on a destination, or why it did not."""

    rule: Rule
    path: str
    destination: str
    text: str
    reason: str

    @property
    def name(self) -> str:
        """What the rule is called: its description, else its path."""
        return self.rule.description or self.path


class Change(msgspec.Struct):
    """What a write caused: events to store, and what it takes to undo it; `opened` while they are on their way."""

    origin: Origin
    events: list[Event] = []
    steps: list[Step] = []
    patches: list[Patch] = []
    memory: list[Assignment] = []
    later: list["Later"] = []
    opened: list[Assignment] | None = None

    def skipped(self) -> list[Step]:
        """Return the destinations that a value could not be converted for."""
        return [step for step in self.steps if step.destination and step.reason]


class Compiled(msgspec.Struct, frozen=True, eq=False):
    """A rule with its place in the order and in the config, and its source and destinations found."""

    order: int
    path: str
    rule: Rule
    key: RuleKey
    source: Point
    destinations: tuple[tuple[str, int | None, Point | None], ...]


class Later(NamedTuple):
    """A delayed write of a point."""

    due: float
    number: int
    rule: Compiled
    point: Point
    value: Value
    origin: Origin
