"""Open changes are kept or undone in any order; what is there is what those that were not undone made of it."""

from hypothesis import given
from hypothesis import strategies as st

from vdevice.converter.journal import Assignment, Journal

KEYS = range(4)
writes = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 99), min_size=1)
"""What one change writes."""

ends = st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=4)
"""Which open changes end then: the number of one, and whether it is kept."""


@given(st.lists(st.tuples(writes, st.booleans(), ends), max_size=12))
def test_what_is_there_is_what_was_not_undone(steps: list[tuple[dict[int, int], bool, list[tuple[int, bool]]]]) -> None:
    journal, store = Journal(), dict.fromkeys(KEYS, 0)
    made: list[dict[int, int]] = []
    undone: set[int] = set()
    open_: dict[int, list[Assignment]] = {}
    for change, opens, ending in steps:
        assignments = [Assignment(store, key, store[key]) for key in change]
        store.update(change)
        if opens:
            journal.open(assignments)
            open_[len(made)] = assignments
        else:
            journal.overwrite(assignments)
        made.append(change)
        for which, kept in ending:
            if not open_:
                break
            number = list(open_)[which % len(open_)]
            if kept:
                journal.keep(open_.pop(number))
            else:
                journal.undo(open_.pop(number))
                undone.add(number)
            assert store == survivors(made, undone)
    for number in list(open_):
        journal.undo(open_.pop(number))
        undone.add(number)
    assert store == survivors(made, undone)
    assert len(journal) == 0


def survivors(made: list[dict[int, int]], undone: set[int]) -> dict[int, int]:
    store = dict.fromkeys(KEYS, 0)
    for number, change in enumerate(made):
        if number not in undone:
            store.update(change)
    return store
