"""What is remembered of messages that ended: enough to know them again, and no more."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.support import event_of
from vdevice.model import Outcome, Stored, Verdict
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.documents import ENDED_KEPT, Progress, name_of

DELIVERED = Outcome(Verdict.DELIVERED, http_status=200)


def ended(progress: Progress, seq: int, parallel: int = 1) -> Progress:
    stored = Stored(seq, event_of("x"), 0.0, 1)
    found = progress.finished(name_of(seq, stored.event.id), stored, DELIVERED, 1.0, parallel)
    assert found is not None
    return msgspec.structs.replace(found, changes=progress.changes + 1)


@given(st.integers(1, 3), st.lists(st.booleans(), min_size=100, max_size=300))
def test_who_hears_of_results_remembers_a_bounded_number_of_messages(parallel: int, heard: list[bool]) -> None:
    there = known = Progress()
    for seq, is_heard in enumerate(heard, 1):
        there = ended(there, seq, parallel)
        if is_heard:
            known = there.with_memory(known)
            assert known.ended_last[-len(there.ended_last) :] == there.ended_last
            assert len(known.ended_last) <= 2 * ENDED_KEPT * parallel
            assert len(documents.encode(known)) < 2_000 + 100 * ENDED_KEPT * parallel


def test_results_that_went_back_and_on_again_know_what_ended_in_both_pasts() -> None:
    common = ended(Progress(), 1)
    known, restored = common, common
    for seq in range(2, 2 + ENDED_KEPT):
        known = ended(known, seq)
    for seq in range(100, 100 + ENDED_KEPT):
        restored = ended(restored, seq)
    assert {*known.ended_last, *restored.ended_last} == {*restored.with_memory(known).ended_last}
