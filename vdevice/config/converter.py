"""What single settings of points and rules cannot tell: places that overlap, names that are not there, rules that go round.

Pure: structs in, problems out. `tests/config/test_converter.py` has a line for each.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from vdevice.config.schema import Point, Rule, Target, When
from vdevice.errors import Problem
from vdevice.model import POINTS, TARGETS

TARGET = re.compile(r"target/([0-9]{1,9})")
"""A destination that is a target."""

MOST_EFFECTS = 10_000
"""Destinations that one write of a point may reach, over the points that its rules write."""

_EDGES = frozenset({"rising", "falling"})


def check(points: Mapping[str, Point], rules: Mapping[str, Rule], targets: Mapping[int, Target]) -> list[Problem]:
    """Return all that is wrong; the keys are the places in the file, like `rules[0].rules[2]`."""
    problems = [Problem(f"{path}.{key}", message) for path, point in points.items() for key, message in _point(point)]
    problems += _names(points)
    problems += _overlaps(points)
    names = {point.name: point for point in points.values()}
    for path, rule in walk(rules):
        problems += [Problem(f"{path}.{key}", message) for key, message in _rule(rule, names, targets)]
    return problems or _effects(rules)


def walk(rules: Mapping[str, Rule]) -> Iterator[tuple[str, Rule]]:
    """Yield all rules and folders with their paths, from top to bottom, depth first."""
    for path, rule in rules.items():
        yield path, rule
        yield from walk({f"{path}.rules[{index}]": inner for index, inner in enumerate(rule.rules)})


def enabled(rules: tuple[Rule, ...], path: str = "rules") -> Iterator[tuple[str, Rule]]:
    """Yield the rules that work with their paths: no folders, nothing that is or lies in a disabled one; depth first."""
    for index, rule in enumerate(rules):
        if rule.enabled and rule.folder is None:
            yield f"{path}[{index}]", rule
        elif rule.enabled:
            yield from enabled(rule.rules, f"{path}[{index}].rules")


def target_number(destination: str) -> int | None:
    """Return the target that a destination names, or None where it is a point."""
    found = TARGET.fullmatch(destination)
    return int(found[1]) if found and int(found[1]) in TARGETS else None


def _point(point: Point) -> Iterator[tuple[str, str]]:
    number = point.type not in {"bool", "string"}
    bit_of_register = point.space == "holding" and point.type == "bool"
    text = point.type == "string"
    rules = (
        (
            point.space == "coil" and point.type != "bool",
            "type",
            f'is {point.type}, a coil is a bool; use space = "holding"',
        ),
        (bit_of_register and point.bit is None, "bit", "is missing; write which bit of the register, 0 (lowest) to 15"),
        (not bit_of_register and point.bit is not None, "bit", "is for a bool in a holding register only; remove it"),
        (text and point.length is None, "length", "is missing; write how many registers the string takes"),
        (not text and point.length is not None, "length", "is for strings only; remove it"),
        (not number and point.is_scaled, "scale", "and offset are for numbers only; remove them"),
        (
            not math.isfinite(point.scale),
            "scale",
            f"is {point.scale}, which is no number to reckon with; write 1 for none",
        ),
        (
            not math.isfinite(point.offset),
            "offset",
            f"is {point.offset}, which is no number to reckon with; write 0 for none",
        ),
        (not point.scale, "scale", "is 0, so that every value would be the same; write 1 for none"),
        (
            point.word_order != "big" and (not number or point.count == 1),
            "word_order",
            "is for numbers of two or four registers only; remove it",
        ),
        (point.byte_order != "big" and point.type == "bool", "byte_order", "is not used by a bool; remove it"),
        (
            point.end > POINTS,
            "address",
            f"{point.address} and {point.count} registers go beyond {POINTS - 1}; move it down",
        ),
    )
    yield from ((key, message) for wrong, key, message in rules if wrong)


def _names(points: Mapping[str, Point]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path, point in points.items():
        if point.name in seen:
            yield Problem(f"{path}.name", f"{point.name!r} is the name of {seen[point.name]} too; give it another one")
        seen.setdefault(point.name, path)


def _overlaps(points: Mapping[str, Point]) -> Iterator[Problem]:
    taken: dict[tuple[str, int, int], Point] = {}
    for path, point in points.items():
        bits = range(16) if point.bit is None else (point.bit,)
        cells = [(point.space, address, bit) for address in range(point.address, point.end) for bit in bits]
        other = next((taken[cell] for cell in cells if cell in taken), None)
        if other:
            where = f"{other.address}..{other.end - 1}" if other.count > 1 else f"{other.address}"
            yield Problem(f"{path}.address", f"{point.address} lies in {other.name!r} ({where}); move one of them")
        taken.update(dict.fromkeys(cells, point))


def _rule(rule: Rule, points: Mapping[str, Point], targets: Mapping[int, Target]) -> Iterator[tuple[str, str]]:
    if rule.folder is not None:
        for key in ("source", "when", "map", "template", "destinations", "delay", "min_interval"):
            if getattr(rule, key):
                yield key, "is not used by a folder; put it into a rule of its own below [[rules.rules]]"
        return
    if rule.rules:
        yield "folder", 'is missing; a rule that holds rules is a folder: write folder = "its name"'
        return
    if rule.source is None:
        yield "source", "is missing; write the name of a point"
    elif rule.source not in points:
        yield "source", f"{rule.source!r} is not the name of a point{_known(points)}"
    else:
        yield from _conditions(rule, points[rule.source])
    yield from _destinations(rule, points, targets)


def _destinations(rule: Rule, points: Mapping[str, Point], targets: Mapping[int, Target]) -> Iterator[tuple[str, str]]:
    if not rule.destinations:
        yield "destinations", 'is missing; write targets or points, like ["target/7"]'
    for index, destination in enumerate(rule.destinations):
        number = target_number(destination)
        if number is not None and number not in targets:
            yield f"destinations[{index}]", f"{destination} is not configured; add [targets.{number}]"
        elif number is None and destination not in points:
            yield (
                f"destinations[{index}]",
                f"{destination!r} is neither target/1 to target/64 nor a point{_known(points)}",
            )


def _known(points: Mapping[str, Point]) -> str:
    names = ", ".join(sorted(points)[:10])
    return f"; points are {names}" if names else "; there are no [[points]]"


def _conditions(rule: Rule, source: Point) -> Iterator[tuple[str, str]]:
    when = rule.when
    if when is None:
        if rule.trigger in _EDGES and source.type == "string":
            yield "trigger", f'{rule.trigger} needs a condition for a string; add when = {{ equals = "…" }}'
        return
    yield from _numbers(when)
    limits = [key for key in ("above", "below") if getattr(when, key) is not None]
    if not limits and when.equals is None and when.not_equals is None:
        yield "when", "holds no condition; write above, below, equals or not_equals"
    for key in limits:
        if source.type in {"bool", "string"}:
            yield f"when.{key}", f"is for numbers, and {source.name!r} is a {source.type}; use equals"
    if when.hysteresis and not limits:
        yield "when.hysteresis", "goes with above or below; remove it"
    if when.above is not None and when.below is not None and when.above >= when.below:
        yield "when.below", "is not higher than above, so that no value is between them"
    for key in ("equals", "not_equals"):
        wanted = getattr(when, key)
        kind = {"bool": bool, "string": str}.get(source.type, float)
        given = float if isinstance(wanted, float | int) and not isinstance(wanted, bool) else type(wanted)
        if wanted is not None and given is not kind:
            yield f"when.{key}", f"{wanted!r} cannot be the value of {source.name!r}, which is a {source.type}"


def _numbers(when: When) -> Iterator[tuple[str, str]]:
    for key in ("above", "below", "equals", "not_equals", "hysteresis"):
        wanted = getattr(when, key)
        if isinstance(wanted, float) and not math.isfinite(wanted):
            yield f"when.{key}", f"is {wanted}, which no value can be compared with; write a number"


def _effects(rules: Mapping[str, Rule]) -> list[Problem]:
    """Return a problem where the points that rules write go round in a circle, or one write causes too many others."""
    following: dict[str, list[tuple[str, str]]] = {}
    steps: Counter[str] = Counter()
    working = {id(rule) for _, rule in enabled(tuple(rules.values()))}
    for path, rule in walk(rules):
        if id(rule) in working and rule.source:
            points = [name for name in rule.destinations if target_number(name) is None]
            following.setdefault(rule.source, []).extend((name, path) for name in points)
            steps[rule.source] += len(rule.destinations)
    problems: list[Problem] = []
    done: dict[str, int] = {}
    for start, first in following.items():
        # Depth first, without recursion: a chain may be as long as there are points.
        trail = {start: iter(first)} if start not in done else {}
        while trail:
            name = next(reversed(trail))
            below, path = next(trail[name], ("", ""))
            if not below:
                reached = steps[name] + sum(done.get(point, 0) for point, _ in following[name])
                done[name] = min(reached, MOST_EFFECTS + 1)
                del trail[name]
            elif below in trail:
                names = list(trail)
                circle = " → ".join([*names[names.index(below) :], below])
                problems.append(Problem(f"{path}.destinations", f"goes round in a circle: {circle}; take one rule out"))
            elif below in following and below not in done:
                trail[below] = iter(following[below])
            else:
                done.setdefault(below, steps[below])
    if problems:
        return problems
    most = max(done, key=lambda name: done[name], default="")
    if most and done[most] > MOST_EFFECTS:
        words = f"one write of {most!r} causes more than {MOST_EFFECTS} others; take out rules that write points"
        return [Problem("rules", words)]
    return []
