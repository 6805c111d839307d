import copy
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdevice.config.edit_rules import moved, with_enabled, with_rule

TEXT = """# the press hall
[targets.7]
method = "get"
url = "http://u/"

# heat comes first
[[rules]]
folder = "heat"
# the boiler
[[rules.rules]]
source = "a"   # measured at the top
destinations = ["target/7"]
when = { above = 90 }
[[rules.rules]]
source = "b"
destinations = ["target/7"]

[[rules]]
source = "gate"
destinations = ["target/7"]
"""


def rules(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(text).get("rules", [])
    return found


def test_a_rule_is_changed_and_the_rest_stays_as_it_is() -> None:
    changed = with_rule(TEXT, [0, 0], {"source": "a", "destinations": ["target/7"], "when": {"above": 95}})
    assert changed == TEXT.replace("above = 90", "above = 95")


def test_a_folder_keeps_its_rules() -> None:
    changed = with_rule(TEXT, [0], {"folder": "all the heat"})
    assert changed == TEXT.replace('"heat"', '"all the heat"')


def test_rules_are_added_and_removed() -> None:
    added = with_rule(TEXT, [0, 2], {"source": "c", "destinations": ["target/7"]})
    assert [rule["source"] for rule in rules(added)[0]["rules"]] == ["a", "b", "c"]
    assert len(rules(with_rule(TEXT, [2], {"folder": "new"}))) == 3
    assert rules(with_rule("", [0], {"source": "x"})) == [{"source": "x"}]
    removed = with_rule(TEXT, [0, 0], None)
    assert [rule["source"] for rule in rules(removed)[0]["rules"]] == ["b"]


def test_a_folder_is_switched_off_with_all_below_it_and_on_again() -> None:
    off = with_enabled(TEXT, [0], enabled=False)
    assert [rules(off)[0]["enabled"], *(rule["enabled"] for rule in rules(off)[0]["rules"])] == [False] * 3
    assert "enabled" not in rules(off)[1]
    assert rules(with_enabled(off, [0], enabled=True)) == rules(TEXT)


@pytest.mark.parametrize("place", [[2], [0, 2], [1, 0], [-1], [0, -1], [5, 0]])
def test_a_place_that_is_not_there(place: list[int]) -> None:
    with pytest.raises(IndexError):
        with_rule(TEXT, place, None)
    with pytest.raises(IndexError):
        moved(TEXT, place, 0)
    with pytest.raises(IndexError):
        with_enabled(TEXT, place, enabled=False)


@settings(deadline=None)
@given(st.data())
def test_moves_keep_all_rules_and_all_comments(data: st.DataObject) -> None:
    text, wanted = TEXT, rules(TEXT)
    for _ in range(3):
        place = data.draw(st.sampled_from([[0], [1], [0, 0], [0, 1], [1, 0], [1, 1]]))
        siblings = wanted
        for index in place[:-1]:
            siblings = siblings[index].get("rules", []) if index < len(siblings) else []
        to = data.draw(st.integers(0, 1))
        if place[-1] >= len(siblings) or to >= len(siblings):
            continue
        text = moved(text, place, to - place[-1])
        siblings.insert(to, siblings.pop(place[-1]))
    assert rules(text) == wanted
    for comment in ("# the press hall", "# measured at the top"):
        assert comment in text
    assert copy.deepcopy(wanted) == rules(text)
