"""Each mode fires exactly once with exactly the text, whatever the writes are, or refuses and fires nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.errors import OutboxFullError, StageError, TextError
from vdevice.registers import staging, text
from vdevice.registers.staging import Rules, Staging
from vdevice.registers.text import Coding

KEY, OTHER = ("10.0.0.5", 7), ("10.0.0.6", 7)
FORMATS = ["nul", "length16", "length32", "s7-string", "s7-wstring"]
codings = st.builds(
    Coding,
    st.sampled_from(["big", "little"]),
    st.sampled_from(FORMATS),
    st.sampled_from(["utf-8", "utf-16-be", "utf-16-le"]),
    st.just("big"),
) | st.builds(Coding, st.just("big"), st.just("length32"), st.just("utf-8"), st.sampled_from(["big", "little"]))
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=400)


def rules(mode: str, coding: Coding = Coding(), idle: float = 0.5) -> Rules:  # noqa: B008 (immutable)
    return Rules(mode, coding, idle, 60.0)


def registers_of(value: str, coding: Coding, *, ended: bool = False) -> bytes | None:
    try:
        data = text.encode(value, coding)
    except TextError:
        return None
    if ended and coding.format == "nul":
        data += b"\0\0" if len(data) + 2 <= text.CAPACITY else b""
    return data


def pieces(data: bytes, sizes: list[int]) -> list[tuple[int, bytes]]:
    """Cut registers into writes of these sizes, in registers: (offset, data) each."""
    cut, offset = [], 0
    sizes = [*sizes, *[123] * 20]
    for size in sizes:
        part = data[2 * offset : 2 * (offset + size)]
        if part:
            cut.append((offset, part))
        offset += size
    return cut


def write_all(stages: Staging, how: Rules, writes: list[tuple[int, bytes]]) -> list[bytes]:
    return [whole for offset, data in writes if (whole := stages.write(KEY, how, offset, data, 0.0)) is not None]


@given(words, codings, st.lists(st.integers(1, 123), max_size=12), st.randoms(use_true_random=False))
def test_content_fires_once_with_the_text_for_any_split_and_order(
    value: str, coding: Coding, sizes: list[int], lots: random.Random
) -> None:
    data = registers_of(value, coding, ended=True)
    if data is None:
        return
    writes = pieces(data, sizes)
    rest = writes[1:]
    lots.shuffle(rest)
    stages, how = Staging(), rules("content", coding)
    fired = write_all(stages, how, [writes[0], *rest])
    if coding.format == "nul" and len(data) < text.CAPACITY:
        assert text.end(text.ordered(data, coding), coding) is not None
    assert [text.decode_ordered(whole, coding) for whole in fired] == [value]


@given(words, codings, st.lists(st.integers(1, 123), max_size=12), st.randoms(use_true_random=False), st.booleans())
def test_commit_fires_the_text_for_any_split_and_order(
    value: str,
    coding: Coding,
    sizes: list[int],
    lots: random.Random,
    explicit: bool,  # noqa: FBT001
) -> None:
    data = registers_of(value, coding, ended=True)
    if data is None:
        return
    writes = pieces(data, sizes)
    lots.shuffle(writes)
    stages, how = Staging(), rules("commit", coding)
    assert write_all(stages, how, writes) == []
    whole = stages.commit(KEY, how, len(data) if explicit else 0, 0.0)
    assert text.decode_ordered(whole, coding) == value
    with pytest.raises(StageError):
        stages.commit(KEY, how, 0, 0.0)


@given(words, codings, st.lists(st.integers(1, 123), max_size=12))
def test_idle_fires_once_when_its_time_has_come(value: str, coding: Coding, sizes: list[int]) -> None:
    data = registers_of(value, coding)
    if data is None:
        return
    stages, how = Staging(), rules("idle", coding)
    for number, (offset, part) in enumerate(pieces(data, sizes)):
        assert stages.due(number * 0.4) == []
        assert stages.write(KEY, how, offset, part, number * 0.4) is None
    ((key, _, whole),) = stages.due(1000.0)
    assert key == KEY
    assert whole is not None
    assert text.decode_ordered(whole, coding) == value
    assert stages.due(2000.0) == []


@given(
    st.lists(st.tuples(st.integers(0, 899), st.binary(min_size=1, max_size=123)), max_size=30),
    st.sampled_from(["content", "commit", "idle"]),
    codings,
)
def test_any_writes_are_a_text_or_a_refusal_that_leaves_the_stage(
    writes: list[tuple[int, bytes]], mode: str, coding: Coding
) -> None:
    stages, how = Staging(), rules(mode, coding)
    for offset, raw in writes:
        data = (raw * 2)[: 2 * min(len(raw), 900 - offset)]
        before = stages._stages.get(KEY)
        kept = before and (bytes(before.data), bytes(before.written), before.tail)
        try:
            whole = stages.write(KEY, how, offset, data, 0.0)
        except (StageError, TextError):
            after = stages._stages.get(KEY)
            assert (after and (bytes(after.data), bytes(after.written), after.tail)) == kept
            continue
        assert whole is None or mode == "content"


def test_two_clients_on_one_target_do_not_mix() -> None:
    stages, how = Staging(), rules("content")
    assert stages.write(KEY, how, 0, b"mine", 0.0) is None
    assert stages.write(OTHER, how, 0, b"else", 0.0) is None
    assert stages.write(KEY, how, 2, b"!\0", 0.0) == b"mine!\0"
    assert stages.write(OTHER, how, 2, b"?\0", 0.0) == b"else?\0"


def test_a_write_to_offset_0_begins_anew_but_in_commit() -> None:
    stages = Staging()
    content, commit = rules("content"), rules("commit")
    stages.write(KEY, content, 0, b"old text", 0.0)
    assert stages.write(KEY, content, 0, b"new\0", 0.0) == b"new\0"
    stages.write(OTHER, commit, 2, b"ld", 0.0)
    stages.write(OTHER, commit, 0, b"wor ", 0.0)
    assert stages.commit(OTHER, commit, 6, 0.0) == b"wor ld"


@pytest.mark.parametrize("mode", ["content", "idle"])
def test_a_write_elsewhere_needs_a_string_that_was_begun(mode: str) -> None:
    stages = Staging()
    with pytest.raises(StageError):
        stages.write(KEY, rules(mode), 2, b"ab", 0.0)
    stages.write(KEY, rules(mode), 0, b"ab", 0.0)
    with pytest.raises(StageError):
        stages.write(KEY, rules(mode), 1, b"ab", 61.0)


def test_the_tail_of_an_array_is_no_new_string() -> None:
    stages, how = Staging(), rules("content")
    assert stages.write(KEY, how, 0, b"Hi!\0old stuff ", 0.0) == b"Hi!\0"
    assert stages.write(KEY, how, 7, b"\0\0\0\0", 0.0) is None
    assert stages.write(KEY, how, 2, b"more", 0.0) is None
    with pytest.raises(StageError):
        stages.write(KEY, how, 1, b"xx", 0.0)


def test_what_was_staged_expires_after_its_last_write() -> None:
    stages, how = Staging(), rules("commit")
    stages.write(KEY, how, 0, b"ab", 0.0)
    stages.write(KEY, how, 1, b"cd", 50.0)
    assert stages.commit(KEY, how, 0, 109.0) == b"abcd"
    stages.write(KEY, how, 0, b"ab", 200.0)
    with pytest.raises(StageError):
        stages.commit(KEY, how, 0, 261.0)


@pytest.mark.parametrize("length", [5, 1801, 65535])
def test_a_commit_of_what_was_not_written_is_refused_and_keeps_it(length: int) -> None:
    stages, how = Staging(), rules("commit")
    stages.write(KEY, how, 0, b"abcd", 0.0)
    with pytest.raises(TextError):
        stages.commit(KEY, how, length, 0.0)
    assert stages.commit(KEY, how, 3, 0.0) == b"abc"


def test_a_gap_is_refused_unless_the_text_ends_before_it() -> None:
    stages, how = Staging(), rules("commit")
    stages.write(KEY, how, 0, b"ab", 0.0)
    stages.write(KEY, how, 2, b"ef", 0.0)
    with pytest.raises(TextError):
        stages.commit(KEY, how, 0, 0.0)
    stages.write(KEY, how, 1, b"\0\0", 0.0)
    assert text.decode_ordered(stages.commit(KEY, how, 0, 0.0), Coding()) == "ab"
    idle = rules("idle")
    stages.write(KEY, idle, 0, b"ab", 0.0)
    stages.write(KEY, idle, 2, b"ef", 0.0)
    assert stages.due(10.0) == [(KEY, idle, None)]


def test_a_length_that_cannot_be_leaves_the_stage() -> None:
    coding = Coding(format="length16")
    stages, how = Staging(), rules("content", coding)
    stages.write(KEY, how, 0, b"\0\x06ab", 0.0)
    with pytest.raises(TextError):
        stages.write(KEY, how, 0, b"\x08\0ab", 0.0)
    assert stages.write(KEY, how, 2, b"cdef", 0.0) == b"\0\x06abcdef"


def test_a_string_that_could_not_be_stored_comes_back() -> None:
    stages, how = Staging(), rules("content")
    stages.write(KEY, how, 0, b"ab", 0.0)
    whole = stages.write(KEY, how, 1, b"c\0", 0.0)
    assert whole is not None
    stages.restore(KEY, how, whole, 0.0)
    assert stages.write(KEY, how, 1, b"c\0", 0.0) == whole
    stages.write(KEY, how, 0, b"next", 0.0)
    stages.restore(KEY, how, whole, 0.0)
    assert stages.write(KEY, how, 2, b"!\0", 0.0) == b"next!\0"


def test_other_settings_begin_anew() -> None:
    stages = Staging()
    stages.write(KEY, rules("content"), 0, b"ab", 0.0)
    with pytest.raises(StageError):
        stages.write(KEY, rules("content", Coding("little")), 1, b"c\0", 0.0)


def test_stages_are_bounded_and_expired_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_STAGES", 3)
    stages, how = Staging(), rules("content")
    for number in range(3):
        stages.write((f"10.0.0.{number}", 7), how, 0, b"ab", float(number))
    with pytest.raises(OutboxFullError):
        stages.write(KEY, how, 0, b"ab", 3.0)
    assert stages.write(("10.0.0.0", 7), how, 0, b"a\0", 3.0) == b"a\0"
    assert stages.write(KEY, how, 0, b"ab", 62.5) is None
    assert len(stages) <= 3
