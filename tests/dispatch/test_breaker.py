"""When a target is tried again: what counts as its failure, and how far apart attempts are."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import target_of
from vdevice.dispatch.breaker import FAILURES, Breaker
from vdevice.model import ErrorCode, Outcome, Verdict

_CONFIG, TARGET = target_of("backoff = 1\nbackoff_max = 300")
NOW = 1_800_000_000.0

DELIVERED = Outcome(Verdict.DELIVERED, http_status=204)
REFUSED = Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, 404, "HTTP 404")
UNBUILT = Outcome(Verdict.GIVE_UP, ErrorCode.BUILD, text="a line break in a header")
UNAVAILABLE = Outcome(Verdict.RETRY, ErrorCode.HTTP, 503, "HTTP 503")
SILENT = Outcome(Verdict.RETRY, ErrorCode.TIMEOUT, text="no answer")


def after(*outcomes: Outcome, chance: float = 1.0) -> Breaker:
    breaker = Breaker()
    for outcome in outcomes:
        breaker.note(TARGET, outcome, NOW, lambda: chance)
    return breaker


@given(st.lists(st.sampled_from([DELIVERED, REFUSED, UNBUILT, UNAVAILABLE, SILENT]), max_size=30))
def test_it_is_open_after_five_failures_in_a_row_that_would_be_retried(outcomes: list[Outcome]) -> None:
    in_a_row = 0
    for outcome in outcomes:
        in_a_row = {Verdict.RETRY: in_a_row + 1}.get(outcome.verdict, in_a_row if outcome is UNBUILT else 0)
    breaker = after(*outcomes)
    assert breaker.is_open is (in_a_row >= 5)
    assert (breaker.not_before > 0) is breaker.is_open


@pytest.mark.parametrize("outcome", [DELIVERED, REFUSED], ids=["delivered", "given up"])
def test_any_answer_of_the_target_closes_it(outcome: Outcome) -> None:
    breaker = after(*[UNAVAILABLE] * 9, outcome)
    assert not breaker.is_open
    assert breaker.not_before == 0


def test_what_was_never_sent_says_nothing_about_the_target() -> None:
    assert after(*[UNAVAILABLE] * FAILURES, UNBUILT).is_open
    assert after(*[UNBUILT] * 50).failures == 0


def test_the_pause_doubles_up_to_backoff_max() -> None:
    pauses = [after(*[SILENT] * count).not_before - NOW for count in range(FAILURES, 40)]
    assert pauses[0] == 16
    assert pauses[-1] == 300
    assert all(one <= other for one, other in pairwise(pauses))


@pytest.mark.parametrize(("asked", "pause"), [(0.0, 16), (100.0, 100), (5000.0, 300)])
def test_retry_after_makes_the_pause_longer_and_never_shorter(asked: float, pause: float) -> None:
    outcome = Outcome(Verdict.RETRY, ErrorCode.HTTP, 503, retry_after=asked)
    assert after(*[outcome] * FAILURES).not_before == NOW + pause


def test_a_clock_that_is_set_takes_the_pause_along() -> None:
    breaker = after(*[SILENT] * FAILURES)
    breaker.shift(-3600)
    assert breaker.not_before == NOW + 16 - 3600
    quiet = Breaker()
    quiet.shift(3600)
    assert quiet.not_before == 0
