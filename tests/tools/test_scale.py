"""The arithmetic of docs/scale.md against its simulation."""

import math

import pytest

from tools.scale.figures import MEASURED
from tools.scale.model import Cluster, Fleet, plan, shard
from tools.scale.simulate import simulate


@pytest.mark.parametrize(
    ("fleet", "seconds"),
    [
        (Fleet(devices=1000, targets=64, rate=0.1, webhook=0.1), 10.0),
        (Fleet(devices=50, targets=64, rate=1.0, webhook=0.4), 40.0),
    ],
)
def test_the_simulation_confirms_the_arithmetic(fleet: Fleet, seconds: float) -> None:
    expected, seen = simulate(fleet, seconds)
    for name in ("strings", "lane_share", "arrival", "device_share", "dispatcher_share", "broker_cores"):
        assert getattr(seen, name) == pytest.approx(getattr(expected, name), rel=0.05), name
    # A mean of waits that are mostly none needs more strings than a test has time for.
    assert seen.lane_wait == pytest.approx(expected.lane_wait, rel=0.15)


def test_a_target_that_is_asked_for_more_than_it_can_send_waits_for_ever() -> None:
    found = plan(Fleet(1, 1, 10.0, 0.2), MEASURED, Cluster())
    assert found.lane_wait == math.inf
    assert found.limit.startswith("a target")


def test_devices_are_spread_over_clusters() -> None:
    assert [sum(shard(device, 3) == cluster for device in range(999)) for cluster in range(3)] == [333] * 3
