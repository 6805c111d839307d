import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import target_of
from vdevice.dispatch import backoff

_CONFIG, TARGET = target_of("backoff = 1\nbackoff_max = 300")


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_between_nothing_and_the_doubled_backoff(failures: int, chance: float) -> None:
    wait = backoff.delay(TARGET, failures, draw=lambda: chance)
    assert 0 <= wait <= min(2.0 ** min(failures - 1, 60), 300)


@pytest.mark.parametrize(("failures", "most"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (500, 300)])
def test_the_longest_wait_doubles_up_to_backoff_max(failures: int, most: float) -> None:
    assert backoff.delay(TARGET, failures, draw=lambda: 1.0) == most


@pytest.mark.parametrize(("asked", "wait"), [(7, 7), (0, 0), (5000, 300)])
def test_retry_after_is_obeyed_up_to_backoff_max(asked: float, wait: float) -> None:
    assert backoff.delay(TARGET, 1, retry_after=asked) == wait
