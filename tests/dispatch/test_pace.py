"""The rate of a target delays attempts."""

import pytest

from tests.support import target_of
from vdevice.config import Target
from vdevice.dispatch.pace import Pace


def target(settings: str) -> Target:
    return target_of(settings)[1]


async def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(target(""))
    assert [await pace.leave(0) for _ in range(100)] == [True] * 100


@pytest.mark.parametrize("settings", ["rate = 0.001", 'method = "slack"\npayload = "$VALUE"'])
async def test_the_second_attempt_waits_for_the_rate(settings: str) -> None:
    pace = Pace(target(settings))
    assert pace.is_free
    assert await pace.leave(1)
    assert not pace.is_free
    assert not await pace.leave(0.01)


async def test_another_rate_holds_at_once_and_the_same_one_goes_on() -> None:
    pace = Pace(target("rate = 0.001"))
    assert await pace.leave(1)
    pace.update(target('rate = 0.001\ndescription = "another"'))
    assert not pace.is_free
    pace.update(target("rate = 1000"))
    assert await pace.leave(1)
    assert await pace.leave(10)
    pace.update(target(""))
    assert pace.is_free
