"""Changes to the rules in `vdevice.toml` that keep its comments and order. Pure text to text.

A place is the indexes from the top: [0, 2] is the third rule in the folder that stands first.
"""

from collections.abc import Sequence
from typing import Any

import tomlkit
from tomlkit.items import AoT

from vdevice.config.edit import item_of, update
from vdevice.config.ownership import Settings

Place = Sequence[int]


def with_rule(text: str, place: Place, rule: Settings | None) -> str:
    """Return the file with another rule, or without it; the place behind the last one adds it. Raises IndexError.

    `rules` of a folder stay as they are.
    """
    document = tomlkit.parse(text)
    siblings, index = _find(document, place, create=rule is not None)
    if rule is None:
        del siblings[index]
    elif index == len(siblings):
        siblings.append(_table(rule, siblings))
    else:
        there = siblings[index]
        inner = {"rules": there["rules"]} if "rules" in there else {}
        update(there, {**rule, **inner})
    return tomlkit.dumps(document)


def moved(text: str, place: Place, by: int) -> str:
    """Return the file with a rule so many places further down (up: negative) among its neighbours. Raises IndexError."""
    document = tomlkit.parse(text)
    siblings, index = _find(document, place)
    to = index + by
    if not 0 <= to < len(siblings):
        raise IndexError
    rule = siblings[index]
    del siblings[index]
    siblings.insert(to, rule)
    return tomlkit.dumps(document)


def with_enabled(text: str, place: Place, *, enabled: bool) -> str:
    """Return the file with a rule or folder, and all below it, switched on or off. Raises IndexError."""
    document = tomlkit.parse(text)
    siblings, index = _find(document, place)
    _enable(siblings[index], enabled=enabled)
    return tomlkit.dumps(document)


def _enable(rule: Any, *, enabled: bool) -> None:  # noqa: ANN401 (any table of tomlkit)
    if rule.get("enabled", True) != enabled:
        if enabled:
            del rule["enabled"]
        else:
            rule["enabled"] = False
    for inner in rule.get("rules", ()):
        _enable(inner, enabled=enabled)


def _find(document: Any, place: Place, *, create: bool = False) -> tuple[Any, int]:  # noqa: ANN401
    """Return the array that a place is in, and the index there."""
    owner = document
    for index in place[:-1]:
        owner = owner["rules"][_within(index, owner["rules"])]
    if "rules" not in owner:
        if not create:
            raise IndexError
        owner["rules"] = tomlkit.aot()
    siblings = owner["rules"]
    return siblings, _within(place[-1], siblings, more=int(create))


def _within(index: int, siblings: Sequence[object], more: int = 0) -> int:
    if not 0 <= index < len(siblings) + more:
        raise IndexError
    return index


def _table(rule: Settings, siblings: object) -> Any:  # noqa: ANN401
    if not isinstance(siblings, AoT):
        return item_of(rule)
    table = tomlkit.table()
    update(table, rule)
    return table
