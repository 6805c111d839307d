"""Which of many equal lines is logged, and that none is lost from the count."""

from hypothesis import given
from hypothesis import strategies as st

from vdevice import repeats
from vdevice.repeats import Repeats


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), max_size=200))
def test_lines_and_what_they_say_was_kept_back_are_all_that_happened(happened: list[tuple[int, float]]) -> None:
    told, now = Repeats(), 0.0
    counted, last = dict.fromkeys(range(6), 0), dict[int, float]()
    pending = dict.fromkeys(range(6), 0)
    for target, seconds in happened:
        now += seconds
        counted[target] += 1
        kept_back = told.count(("not text", "plc", target), now)
        if kept_back is None:
            assert now - last[target] < repeats.QUIET_SECONDS
            pending[target] += 1
        else:
            assert kept_back == pending[target]
            pending[target] = 0
            last[target] = now


def test_what_is_remembered_is_bounded() -> None:
    told = Repeats()
    for number in range(3 * repeats.MOST_KEYS):
        assert told.count(("not text", f"10.0.{number}", 7), 0.0) == 0
    assert len(told) == repeats.MOST_KEYS


def test_what_was_kept_back_is_told_in_the_end_and_once() -> None:
    told, lines = Repeats(), list[dict[str, object]]()

    def log_line(event: str, **line: object) -> None:
        lines.append({"event": event, **line})

    for now in (0.0, 1.0, 2.0):
        told.tell(log_line, "closed", "idle of plc", now, client="plc")
    assert lines == [{"event": "closed", "client": "plc"}]
    told.tell_due(log_line, 2 * repeats.QUIET_SECONDS - 1)
    assert len(lines) == 1
    for _ in range(2):
        told.tell_due(log_line, 2 * repeats.QUIET_SECONDS)
    assert lines[1:] == [{"event": "closed", "reason": "as before: idle of plc", "not_logged": 2}]


def test_a_mistake_of_each_second_is_one_whole_line_a_minute_beside_a_sweep() -> None:
    told, lines = Repeats(), list[dict[str, object]]()

    def log_line(event: str, **line: object) -> None:
        lines.append({"event": event, **line})

    for half in range(2 * 600):
        if half % 2:
            told.tell(log_line, "not text", "plc", half / 2, byte=0)
        else:
            told.tell_due(log_line, half / 2)
    assert len(lines) == 10
    assert all("byte" in line for line in lines)
    assert sum(int(str(line.get("not_logged", 0))) + 1 for line in lines) == 541
