import time

import pytest

from vdevice.clock import Clock, is_before


def test_a_clock_that_is_set_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = Clock(), time.time
    started = clock.started
    assert clock.jump() == 0
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert clock.jump() == pytest.approx(-3600, abs=1)
    clock.settle(clock.jump())
    assert clock.jump() == 0
    assert clock.started == pytest.approx(started - 3600, abs=1)


def test_what_a_time_server_corrects_by_and_by_is_no_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = Clock(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + 1)
    assert clock.jump() == 0


@pytest.mark.parametrize(
    ("moment", "jump", "before"),
    [(900, 3600, True), (4600, 3600, False), (900, -3600, True), (-2600, -3600, False), (-2700, -3600, False)],
)
def test_what_was_noted_before_a_jump(moment: float, jump: float, before: bool) -> None:  # noqa: FBT001 (a table)
    # The clock stood at 1000 when it was set.
    assert is_before(moment, jump, 1000 + jump) is before
