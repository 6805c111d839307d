import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdevice import logs

anything = st.text(st.characters(codec=None) | st.characters(categories=["Cs"]), max_size=60)
values = anything | st.integers() | st.floats() | st.binary(max_size=20) | st.none() | st.builds(ValueError, anything)


def logged(**line: object) -> bytes:
    file = io.BytesIO()
    logs._Lines(file, quiet=False).warning("a line", **line)
    return file.getvalue()


@given(st.recursive(values, lambda inner: st.lists(inner) | st.dictionaries(anything, inner), max_leaves=5))
@example("\ud800")
@example({"\udcff": ["\ud800"]})
@example(10**400)
def test_a_line_of_any_text_is_written_as_one_line_of_json(value: object) -> None:
    line = logged(reason=value)
    assert line.count(b"\n") == 1
    assert json.loads(line)["event"] == "a line"


def test_the_log_tells_what_it_could_not_write_as_it_was() -> None:
    assert json.loads(logged(reason="a\ud800b", target=7))["reason"] == "a\ufffdb"


@pytest.mark.parametrize("value", ["ü", 7, 1.5])
def test_what_can_be_written_stays_as_it_is(value: object) -> None:
    assert json.loads(logged(reason=value))["reason"] == value
