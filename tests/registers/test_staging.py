"""Each mode fires exactly once with exactly the text, whatever the writes are, or refuses and fires nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.errors import OutboxFullError, StageError, TextError
from vdevice.registers import staging, text
from vdevice.registers.stage import Key, Rules
from vdevice.registers.staging import Staging, Thrown
from vdevice.registers.text import Coding

KEY, OTHER = Key("10.0.0.5", 0, 7), Key("10.0.0.6", 0, 7)
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
        stages.write(Key(f"10.0.0.{number}", 0, 7), how, 0, b"ab", float(number))
    with pytest.raises(OutboxFullError):
        stages.write(KEY, how, 0, b"ab", 3.0)
    assert stages.write(Key("10.0.0.0", 0, 7), how, 0, b"a\0", 3.0) == b"a\0"
    assert stages.write(KEY, how, 0, b"ab", 62.5) is None
    assert len(stages) <= 3


def test_an_idle_text_is_complete_when_its_time_has_come_however_late_somebody_looks() -> None:
    stages, how = Staging(), rules("idle")
    for number in range(5):
        assert stages.write(KEY, how, 0, b"n%d" % number, 0.6 * number) is None
    assert [complete.data for complete in stages.due(10.0)] == [b"n0", b"n1", b"n2", b"n3", b"n4"]
    assert stages.thrown_away() == []


def test_an_idle_text_does_not_go_on_after_its_time() -> None:
    stages, how = Staging(), rules("idle")
    stages.write(KEY, how, 0, b"ab", 0.0)
    with pytest.raises(StageError):
        stages.write(KEY, how, 1, b"cd", 0.5)
    assert [complete.data for complete in stages.due(0.5)] == [b"ab"]


@pytest.mark.parametrize("mode", ["content", "idle"])
def test_a_text_that_a_new_one_replaces_is_told(mode: str) -> None:
    stages, how = Staging(), rules(mode)
    stages.write(KEY, how, 0, b"ab", 0.0)
    stages.write(KEY, how, 0, b"cd", 0.1)
    assert stages.thrown_away() == [Thrown(KEY, "a new text began before this one was complete")]
    assert stages.thrown_away() == []


@pytest.mark.parametrize("mode", ["content", "commit"])
def test_a_text_that_nobody_completes_is_told_once(mode: str) -> None:
    stages, how = Staging(), rules(mode)
    stages.write(KEY, how, 0, b"ab", 0.0)
    assert stages.next_end() == 60.0
    stages.expire(59.9)
    assert stages.thrown_away() == []
    stages.expire(60.0)
    assert [thrown.reason for thrown in stages.thrown_away()] == [
        "nothing was written to it for 60 s (staging_timeout)"
    ]
    assert stages.next_end() is None


def test_a_text_that_was_answered_06_is_not_told_again() -> None:
    stages, how = Staging(), rules("content")
    whole = stages.write(KEY, how, 0, b"a\0", 0.0)
    assert whole
    stages.restore(KEY, how, whole, 0.0)
    stages.write(KEY, how, 0, b"b\0", 1.0)
    assert stages.thrown_away() == []


def on(address: str, connection: int) -> Key:
    return Key(address, connection, 7)


def test_two_connections_of_one_address_never_mix() -> None:
    stages, how = Staging(), rules("commit")
    one, two = (on("10.0.0.5", stages.opened()) for _ in range(2))
    stages.write(one, how, 0, b"mine", 0.0)
    stages.write(two, how, 2, b"not!", 0.0)
    stages.closed(two.connection)
    stages.write(one, how, 2, b"only", 0.0)
    assert stages.commit(one, how, 0, 0.0) == b"mineonly"
    with pytest.raises(StageError):
        stages.commit(one, how, 0, 0.0)


@pytest.mark.parametrize("mode", ["content", "commit", "idle"])
def test_a_client_that_reconnects_goes_on(mode: str) -> None:
    stages, how = Staging(), rules(mode)
    old = on("10.0.0.5", stages.opened())
    stages.write(old, how, 0, b"abcd", 0.0)
    stages.closed(old.connection)
    stranger, new = on("10.0.0.6", stages.opened()), on("10.0.0.5", stages.opened())
    if mode != "commit":
        with pytest.raises(StageError):
            stages.write(stranger, how, 2, b"x\0", 0.1)
    whole = stages.write(new, how, 2, b"e\0", 0.1)
    if mode == "commit":
        whole = stages.commit(new, how, 0, 0.1)
    elif mode == "idle":
        (complete,) = stages.due(1.0)
        whole = complete.data
    assert whole == b"abcde\0"
    assert stages.thrown_away() == []


def test_what_two_connections_of_one_address_left_behind_is_nobodys() -> None:
    stages, how = Staging(), rules("content")
    one, two = (on("10.0.0.5", stages.opened()) for _ in range(2))
    stages.write(one, how, 0, b"ab", 0.0)
    stages.write(two, how, 0, b"AB", 0.0)
    stages.closed(one.connection)
    stages.closed(two.connection)
    three = on("10.0.0.5", stages.opened())
    with pytest.raises(StageError):
        stages.write(three, how, 1, b"c\0", 1.0)
    assert stages.write(three, how, 0, b"ab", 1.0) is None
    assert stages.write(three, how, 1, b"c\0", 1.0) == b"abc\0"
    stages.expire(100.0)
    assert {thrown.key for thrown in stages.thrown_away()} == {one, two}


def test_a_text_that_could_not_be_stored_waits_for_the_next_connection() -> None:
    stages, how = Staging(), rules("content")
    old = on("10.0.0.5", stages.opened())
    whole = stages.write(old, how, 0, b"abc\0", 0.0)
    assert whole
    stages.closed(old.connection)
    stages.restore(old, how, whole, 0.0)
    assert stages.write(on("10.0.0.5", stages.opened()), how, 1, b"c\0", 0.0) == b"abc\0"


def test_a_scada_tag_that_is_filled_to_its_last_character_is_whole() -> None:
    coding = Coding()
    stages, how = Staging(), Rules("content", coding, 0.5, 60.0, registers=4)
    assert stages.write(KEY, how, 0, b"fill", 0.0) is None
    assert stages.write(KEY, how, 2, b"ed!!", 0.0) == b"filled!!"
    assert stages.write(KEY, how, 0, b"in one!!and more", 0.0) == b"in one!!"
    assert stages.write(KEY, how, 6, b"xx", 0.0) is None
    assert stages.write(KEY, how, 0, b"short\0\0\0", 0.0) == b"short\0"
    fixed = Rules("content", coding._replace(format="fixed"), 0.5, 60.0, registers=4)
    assert stages.write(OTHER, fixed, 0, b"blank", 0.0) is None
    assert stages.write(OTHER, fixed, 2, b"    ", 0.0) == b"blan    "


def test_one_address_never_takes_the_last_stage_from_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_STAGES", 8)
    stages, how = Staging(), rules("content")
    refused = 0
    for number in range(20):
        try:
            stages.write(Key("10.0.0.9", 0, number), how, 0, b"ab", 0.0)
        except OutboxFullError:
            refused += 1
    assert refused == 16
    assert stages.write(KEY, how, 0, b"ab", 0.0) is None


def test_what_closed_connections_left_behind_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_STAGES", 4)
    stages, how = Staging(), rules("content")
    for number in range(50):
        key = on(f"10.0.0.{number}", stages.opened())
        stages.write(key, how, 0, b"ab", float(number) / 10)
        stages.closed(key.connection)
        assert len(stages) <= 4
    assert len(stages.thrown_away()) == 46
