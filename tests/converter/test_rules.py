import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.test_load import FOLDER
from vdevice.config.load import parse
from vdevice.config.schema import When
from vdevice.converter.change import Change, Origin
from vdevice.converter.conditions import holds
from vdevice.converter.rules import Converter

TARGETS = "".join(f'[targets.{n}]\nmethod = "get"\nurl = "http://x/"\ndescription = "t{n}"\n' for n in range(1, 10))
POINTS = """
[[points]]
name = "temp"
space = "holding"
address = 0
type = "float32"
[[points]]
name = "count"
space = "holding"
address = 2
type = "uint16"
[[points]]
name = "words"
space = "holding"
address = 10
type = "string"
length = 10
[[points]]
name = "lamp"
space = "coil"
address = 0
type = "bool"
[[points]]
name = "small"
space = "holding"
address = 30
type = "int16"
"""


def rule(settings: str) -> str:
    return f"[[rules]]\n{settings}\n"


class Bench:
    """A converter, written to by point."""

    def __init__(self, rules: str) -> None:
        numbers = itertools.count(1)
        self.config = parse(TARGETS + POINTS + rules, FOLDER)
        self.converter = Converter(self.config, explain=True, new_id=lambda _now: f"id{next(numbers)}")
        self.clock = 0.0

    def origin(self) -> Origin:
        return Origin("10.0.0.5", "boiler-plc", 1_750_000_000.0 + self.clock, self.clock)

    def temp(self, value: float) -> Change:
        return self.write("holding", 0, struct.pack(">f", value))

    def count(self, value: int) -> Change:
        return self.write("holding", 2, struct.pack(">H", value))

    def lamp(self, on: bool) -> Change:  # noqa: FBT001
        return self.write("coil", 0, bytes([on]))

    def write(self, space: str, address: int, data: bytes) -> Change:
        change = self.converter.write(space, address, data, self.origin())
        assert change is not None
        if change.events:
            self.converter.open(change)
        else:
            self.converter.keep(change)
        return change


def sent(change: Change) -> list[tuple[int, str]]:
    return [(event.target, event.value) for event in change.events]


@pytest.mark.parametrize(
    ("settings", "values", "fired"),
    [
        ('trigger = "write"', [0, 5, 5, 0], ["0.0", "5.0", "5.0", "0.0"]),
        ('trigger = "change"', [0, 5, 5, 6, 0], ["5.0", "6.0", "0.0"]),
        ('trigger = "rising"', [0, 5, 6, -1, 7], ["5.0", "7.0"]),
        ('trigger = "falling"', [0, 5, 6, -1, 7, 0], ["-1.0", "0.0"]),
        ("when = { above = 80 }", [79, 80, 81, 90, 70], ["81.0", "90.0"]),
        ("when = { below = 10 }", [10, 9, 11], ["9.0"]),
        ("when = { above = 10, below = 20 }", [5, 15, 20, 12], ["15.0", "12.0"]),
        ("when = { equals = 3 }", [2, 3, 3, 4], ["3.0", "3.0"]),
        ("when = { not_equals = 3 }", [2, 3, 4], ["2.0", "4.0"]),
        ('trigger = "change"\nwhen = { above = 80 }', [81, 81, 82, 70, 82], ["81.0", "82.0", "82.0"]),
        ('trigger = "rising"\nwhen = { above = 80 }', [79, 81, 90, 79, 81], ["81.0", "81.0"]),
        ('trigger = "rising"\nwhen = { above = 80, hysteresis = 5 }', [81, 79, 81, 75, 81], ["81.0", "81.0"]),
        ('trigger = "falling"\nwhen = { above = 80, hysteresis = 5 }', [70, 81, 76, 75, 74], ["75.0"]),
        ('trigger = "rising"\nwhen = { below = 10, hysteresis = 2 }', [5, 11, 9, 12, 9], ["5.0", "9.0"]),
        ('trigger = "rising"\nwhen = { below = 10 }', [5], ["5.0"]),
    ],
)
def test_triggers_and_conditions(settings: str, values: list[float], fired: list[str]) -> None:
    bench = Bench(rule(f'source = "temp"\n{settings}\ndestinations = ["target/1"]'))
    assert [text for value in values for _, text in sent(bench.temp(value))] == fired


def test_one_source_has_many_destinations_in_order() -> None:
    bench = Bench(rule('source = "temp"\ndestinations = ["target/3", "count", "words", "target/1", "lamp"]'))
    change = bench.temp(21.7)
    assert sent(change) == [(3, "21.7"), (1, "21.7")]
    image = bench.converter.image
    assert image.read("holding", 2, 1) == b"\0\x15"
    assert image.read("holding", 10, 3) == b"21.7\0\0"
    assert image.read("coil", 0, 1) == b"\1"


def test_a_value_that_cannot_be_converted_skips_that_destination() -> None:
    bench = Bench(rule('source = "temp"\ndestinations = ["count", "target/1"]'))
    change = bench.temp(70000)
    assert sent(change) == [(1, "70000.0")]
    (skipped,) = change.skipped()
    assert (skipped.destination, skipped.reason) == ("count", "70000 does not fit uint16")
    assert bench.converter.image.read("holding", 2, 1) == b"\0\0"
    assert sent(bench.temp(float("nan"))) == []


def test_map_and_template() -> None:
    bench = Bench(
        rule('source = "count"\nmap = { "0" = "off", "1" = "on" }\ndestinations = ["target/1"]')
        + rule(
            'description = "Pump of $DEVICE"\nsource = "count"\nmap = { "1" = "on" }\ndestinations = ["target/2", "words"]\n'
            "template = '''$DESCRIPTION: $VALUE ($SOURCEVALUE) by $SOURCECONNECTION $SOURCEPARAMETER to $PARAMETER $EVENTID'''"
        )
    )
    change = bench.count(1)
    assert sent(change) == [(1, "on"), (2, "Pump of vdevice: on (1) by boiler-plc count to target/2 id2")]
    event = change.events[1]
    assert (event.source_connection, event.source_parameter, event.source_value) == ("boiler-plc", "count", "1")
    assert event.description == "Pump of $DEVICE"
    assert change.skipped()[0].destination == "words"
    assert sent(bench.count(2))[0] == (1, "2")


def test_a_rule_that_writes_a_point_triggers_its_rules_before_the_next_destination() -> None:
    bench = Bench(
        rule('source = "temp"\ntrigger = "rising"\nwhen = { above = 80 }\ndestinations = ["lamp", "target/1"]')
        + rule('source = "lamp"\ntrigger = "rising"\ndestinations = ["target/2", "count"]')
        + rule('source = "count"\ndestinations = ["target/3"]')
        + rule('source = "temp"\ndestinations = ["target/4"]')
    )
    assert sent(bench.temp(81)) == [(2, "true"), (3, "1"), (1, "81.0"), (4, "81.0")]
    assert sent(bench.temp(82)) == [(4, "82.0")]


def test_delay_of_a_target_is_in_its_event_and_of_a_point_in_memory() -> None:
    bench = Bench(
        rule('source = "temp"\ndelay = 5\ndestinations = ["target/1", "lamp"]')
        + rule('source = "lamp"\ndestinations = ["target/2"]')
    )
    change = bench.temp(1)
    assert [(e.target, e.due_at - e.accepted_at) for e in change.events] == [(1, 5.0)]
    assert bench.converter.next_due() is None, "not before what it caused is stored"
    bench.converter.keep(change)
    assert bench.converter.next_due() == 5.0
    assert list(bench.converter.due(0, 4.9)) == []
    (late,) = bench.converter.due(1_750_000_005.0, 5.0)
    assert sent(late) == [(2, "true")]
    assert bench.converter.next_due() is None


def test_min_interval_is_silence_after_it_fired() -> None:
    bench = Bench(rule('source = "temp"\nmin_interval = 10\ndestinations = ["target/1"]'))
    fired = []
    for bench.clock in (0, 3, 9.9, 10, 19, 20):
        fired += [bench.clock] * len(bench.temp(bench.clock).events)
    assert fired == [0, 10, 20]


def test_memory_survives_a_reload_that_keeps_point_and_condition() -> None:
    text = 'source = "temp"\ntrigger = "rising"\nwhen = { above = 80, hysteresis = 5 }\ndestinations = ["target/1"]'
    bench = Bench(rule(text))
    assert len(bench.temp(81).events) == 1
    bench.converter.apply(parse(TARGETS + POINTS + rule(text + '\ndescription = "new words"'), FOLDER))
    assert bench.temp(82).events == []
    bench.converter.apply(parse(TARGETS + POINTS + rule(text.replace("80", "81")), FOLDER))
    assert bench.temp(83).events == []
    bench.temp(70)
    assert len(bench.temp(83).events) == 1
    changed = rule('source = "temp"\ntrigger = "change"\ndestinations = ["target/1"]')
    bench.converter.apply(parse(TARGETS + POINTS + changed, FOLDER))
    assert bench.temp(83).events == []


@pytest.mark.parametrize("trigger", ["write", "change", "rising", "falling"])
def test_what_could_not_be_stored_fires_again(trigger: str) -> None:
    bench = Bench(
        rule(f'source = "lamp"\ntrigger = "{trigger}"\nmin_interval = 60\ndestinations = ["target/1", "count"]')
        + rule('source = "count"\ntrigger = "change"\ndestinations = ["target/2"]')
    )
    on = trigger != "falling"
    if not on:
        bench.lamp(True)
        bench.clock = 100.0
    change = bench.lamp(on)
    assert change.events
    before = sent(change)
    bench.converter.take_back(change)
    assert bench.converter.image.read("coil", 0, 1) == bytes([not on])
    assert sent(bench.lamp(on)) == before


def test_a_change_that_two_clients_could_not_store_is_a_change_still() -> None:
    bench = Bench(rule('source = "count"\ntrigger = "change"\ndestinations = ["target/1"]'))
    first, second = bench.count(1), bench.count(2)
    bench.converter.take_back(first)
    bench.converter.take_back(second)
    assert sent(bench.count(1)) == [(1, "1")]


def test_a_second_half_that_could_not_be_stored_can_be_written_again() -> None:
    bench = Bench(rule('source = "temp"\ndestinations = ["target/1"]'))
    data = struct.pack(">f", 81)
    assert bench.converter.write("holding", 0, data[:2], bench.origin()) is None
    bench.converter.take_back(bench.write("holding", 1, data[2:]))
    assert sent(bench.write("holding", 1, data[2:])) == [(1, "81.0")]


def test_a_later_change_that_is_stored_stays_when_an_earlier_one_is_taken_back() -> None:
    bench = Bench(rule('source = "count"\ntrigger = "change"\ndestinations = ["target/1"]'))
    first, second = bench.count(1), bench.count(2)
    bench.converter.keep(second)
    bench.converter.take_back(first)
    assert bench.converter.image.read("holding", 2, 1) == b"\0\2"
    assert bench.count(2).events == []


def test_what_could_not_be_stored_is_taken_back_over_a_reload() -> None:
    text = rule('source = "count"\ntrigger = "change"\ndestinations = ["target/1"]')
    bench = Bench(text)
    change = bench.count(1)
    bench.converter.apply(parse(TARGETS + POINTS + text, FOLDER))
    bench.converter.take_back(change)
    assert sent(bench.count(1)) == [(1, "1")]


def test_a_rule_without_a_description_is_called_by_its_place() -> None:
    bench = Bench(rule('description = "named"\nsource = "temp"\ndestinations = ["target/1"]')
                  + rule('source = "temp"\ndestinations = ["count"]'))  # fmt: skip
    (skipped,) = bench.temp(70000).skipped()
    assert skipped.name == "rules[1]"


def test_a_chain_of_rules_is_followed_to_its_end() -> None:
    count = 900
    toml = "".join(f'[[points]]\nname = "p{n}"\nspace = "coil"\naddress = {n}\ntype = "bool"\n' for n in range(count))
    toml += "".join(rule(f'source = "p{n}"\ndestinations = ["p{n + 1}"]') for n in range(count - 1))
    config = parse(TARGETS + toml + rule(f'source = "p{count - 1}"\ndestinations = ["target/1"]'), FOLDER)
    change = Converter(config).write("coil", 0, b"\1", Origin("a", "a", 0.0, 0.0))
    assert change is not None
    assert sent(change) == [(1, "true")]
    assert [step.destination for step in change.steps] == [*(f"p{n}" for n in range(1, count)), "target/1"]


def test_half_a_point_triggers_nothing() -> None:
    bench = Bench(rule('source = "temp"\ntrigger = "change"\ndestinations = ["target/1"]'))
    high, low = struct.pack(">f", 81)[:2], struct.pack(">f", 81)[2:]
    assert bench.converter.write("holding", 0, high, bench.origin()) is None
    assert sent(bench.write("holding", 1, low)) == [(1, "81.0")]


def test_a_write_that_no_rule_watches_costs_no_change() -> None:
    bench = Bench(rule('source = "temp"\ndestinations = ["target/1"]'))
    assert bench.converter.write("holding", 2, b"\0\1", bench.origin()) is None


trees = st.recursive(
    st.tuples(st.just("rule"), st.booleans()),
    lambda inner: st.tuples(st.just("folder"), st.booleans(), st.lists(inner, min_size=1, max_size=4)),
    max_leaves=15,
)


@given(st.lists(trees, min_size=1, max_size=5))
def test_rules_fire_from_top_to_bottom_depth_first(forest: list) -> None:  # type: ignore[type-arg]
    names, wanted, numbers = "rules", [], itertools.count()

    def write(tree: tuple, path: str, on: bool) -> str:  # type: ignore[type-arg]  # noqa: FBT001
        on = on and tree[1]
        head = f"[[{path}]]\nenabled = {str(tree[1]).lower()}\n"
        if tree[0] == "folder":
            return head + 'folder = "f"\n' + "".join(write(inner, f"{path}.rules", on) for inner in tree[2])
        name = f"rule {next(numbers)}"
        if on:
            wanted.append(name)
        return head + f'source = "temp"\ntemplate = "{name}"\ndestinations = ["target/1"]\n'

    bench = Bench("".join(write(tree, names, True) for tree in forest))
    change = bench.converter.write("holding", 0, struct.pack(">f", 1), bench.origin())
    assert [event.value for event in (change.events if change else [])] == wanted


@given(st.lists(st.floats(-100, 100), max_size=40), st.floats(-50, 50), st.floats(0, 20))
def test_hysteresis_is_a_band_that_is_passed_whole(values: list[float], limit: float, band: float) -> None:
    held = False
    for value in values:
        now = holds(When(above=limit, hysteresis=band), value, held=held)
        assert now or value <= limit
        assert not now or value > limit - band
        if now != held:
            assert value > limit if now else value <= limit - band
        held = now
