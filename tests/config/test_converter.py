import pytest

from tests.config.test_load import FOLDER, problems
from vdevice.config.converter import enabled
from vdevice.config.load import parse

TARGET = '[targets.7]\nmethod = "get"\nurl = "http://x/"\n'


def point(name: str, settings: str) -> str:
    return f'[[points]]\nname = "{name}"\n{settings}\n'


INT = point("level", 'space = "holding"\naddress = 10\ntype = "int32"')
BOOL = point("lamp", 'space = "coil"\naddress = 3\ntype = "bool"')
TEXT = point("words", 'space = "holding"\naddress = 20\ntype = "string"\nlength = 5')


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ('space = "coil"\naddress = 1\ntype = "int16"', "type", "a coil is a bool"),
        ('space = "holding"\naddress = 1\ntype = "bool"', "bit", "which bit"),
        ('space = "coil"\naddress = 1\ntype = "bool"\nbit = 3', "bit", "remove it"),
        ('space = "holding"\naddress = 1\ntype = "bool"\nbit = 16', "bit", "<= 15"),
        ('space = "holding"\naddress = 1\ntype = "string"', "length", "how many registers"),
        ('space = "holding"\naddress = 1\ntype = "int16"\nlength = 2', "length", "for strings only"),
        ('space = "coil"\naddress = 1\ntype = "bool"\nscale = 0.1', "scale", "for numbers only"),
        ('space = "holding"\naddress = 1\ntype = "int16"\nscale = 0', "scale", "is 0"),
        ('space = "holding"\naddress = 1\ntype = "int16"\nword_order = "little"', "word_order", "two or four"),
        ('space = "holding"\naddress = 1\ntype = "bool"\nbit = 1\nbyte_order = "little"', "byte_order", "not used"),
        ('space = "holding"\naddress = 899\ntype = "float32"', "address", "beyond 899"),
        ('space = "holding"\naddress = 900\ntype = "int16"', "address", "<= 899"),
        ('space = "input"\naddress = 9\ntype = "int16"', "space", "write one of holding, coil"),
        ('space = "holding"\naddress = 9\ntype = "uint64"', "type", "write one of bool"),
    ],
)
def test_a_point_that_cannot_be_is_refused(settings: str, key: str, words: str) -> None:
    assert words in problems(point("p", settings))[f"points[0].{key}"]


@pytest.mark.parametrize(
    ("address", "kind", "refused"),
    [
        (9, "int16", False),
        (9, "int32", True),
        (10, "int16", True),
        (11, "float64", True),
        (12, "int16", False),
        (8, "float64", True),
    ],
)
def test_overlapping_and_straddling_points_are_refused(address: int, kind: str, refused: bool) -> None:  # noqa: FBT001
    toml = INT + point("other", f'space = "holding"\naddress = {address}\ntype = "{kind}"')
    if refused:
        assert "lies in 'level'" in problems(toml)["points[1].address"]
    else:
        assert len(parse(toml, FOLDER).points) == 2


def test_bits_of_one_register_are_apart() -> None:
    bits = "".join(point(f"b{n}", f'space = "holding"\naddress = 1\ntype = "bool"\nbit = {n}') for n in range(16))
    assert len(parse(bits, FOLDER).points) == 16
    again = point("again", 'space = "holding"\naddress = 1\ntype = "bool"\nbit = 3')
    assert "lies in 'b3'" in problems(bits + again)["points[16].address"]
    whole = point("whole", 'space = "holding"\naddress = 1\ntype = "int16"')
    assert "lies in 'b0'" in problems(bits + whole)["points[16].address"]
    parse(BOOL + point("r", 'space = "holding"\naddress = 3\ntype = "int16"'), FOLDER)


def test_a_name_is_given_once_and_is_no_target() -> None:
    assert (
        "points[0] too"
        in problems(INT + point("level", 'space = "coil"\naddress = 9\ntype = "bool"'))["points[1].name"]
    )
    assert "regex" in problems(point("target/7", 'space = "coil"\naddress = 9\ntype = "bool"'))["points[0].name"]


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ('source = "lvl"\ndestinations = ["target/7"]', "source", "points are lamp, level, words"),
        ('destinations = ["target/7"]', "source", "is missing"),
        ('source = "level"', "destinations", "is missing"),
        ('source = "level"\ndestinations = ["target/8"]', "destinations[0]", "add [targets.8]"),
        ('source = "level"\ndestinations = ["target/7", "x"]', "destinations[1]", "neither"),
        ('source = "level"\ndestinations = ["target/65"]', "destinations[0]", "neither"),
        ('folder = "f"\nsource = "level"', "source", "not used by a folder"),
        ('folder = "f"\ndelay = 3', "delay", "not used by a folder"),
        ('source = "level"\nrules = [{ source = "level", destinations = ["target/7"] }]', "folder", "is missing"),
        ('source = "words"\ntrigger = "rising"\ndestinations = ["target/7"]', "trigger", "needs a condition"),
        ('source = "level"\nwhen = {}\ndestinations = ["target/7"]', "when", "no condition"),
        ('source = "lamp"\nwhen = { above = 3 }\ndestinations = ["target/7"]', "when.above", "use equals"),
        (
            'source = "level"\nwhen = { equals = "x" }\ndestinations = ["target/7"]',
            "when.equals",
            "cannot be the value",
        ),
        ('source = "lamp"\nwhen = { equals = 1 }\ndestinations = ["target/7"]', "when.equals", "cannot be the value"),
        (
            'source = "level"\nwhen = { equals = true }\ndestinations = ["target/7"]',
            "when.equals",
            "cannot be the value",
        ),
        ('source = "words"\nwhen = { not_equals = 4 }\ndestinations = ["target/7"]', "when.not_equals", "cannot be"),
        (
            'source = "level"\nwhen = { equals = 1, hysteresis = 2 }\ndestinations = ["target/7"]',
            "when.hysteresis",
            "goes with",
        ),
        ('source = "level"\nwhen = { above = 5, below = 5 }\ndestinations = ["target/7"]', "when.below", "not higher"),
        ('source = "level"\nwhen = { abov = 5 }\ndestinations = ["target/7"]', "when.abov", "did you mean above"),
        ('source = "level"\ntrigger = "edge"\ndestinations = ["target/7"]', "trigger", "write one of write, change"),
        ('source = "level"\ndelay = -1\ndestinations = ["target/7"]', "delay", ">= 0"),
        ('source = "level"\ndelay = 1e308\ndestinations = ["target/7"]', "delay", "<= 1000000000"),
        ('source = "level"\ndelay = inf\ndestinations = ["target/7"]', "delay", "<= 1000000000"),
        ('source = "level"\nwhen = { above = nan }\ndestinations = ["target/7"]', "when.above", "write a number"),
        ('source = "level"\nwhen = { below = -inf }\ndestinations = ["target/7"]', "when.below", "write a number"),
        ('source = "level"\nwhen = { equals = nan }\ndestinations = ["target/7"]', "when.equals", "write a number"),
        (
            'source = "level"\nwhen = { above = 1, hysteresis = inf }\ndestinations = ["target/7"]',
            "when.hysteresis",
            "write a number",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused(settings: str, key: str, words: str) -> None:
    found = problems(f"{TARGET}{INT}{BOOL}{TEXT}[[rules]]\n{settings}\n")
    assert words in found[f"rules[0].{key}"]


def test_a_problem_in_a_folder_has_its_path() -> None:
    nested = '[[rules]]\nfolder = "a"\n[[rules.rules]]\nfolder = "b"\n[[rules.rules.rules]]\nsource = "x"\n'
    assert set(problems(nested)) == {"rules[0].rules[0].rules[0].source", "rules[0].rules[0].rules[0].destinations"}


def chain(*pairs: tuple[str, str], off: int | None = None) -> str:
    names = sorted({name for pair in pairs for name in pair})
    toml = "".join(point(n, f'space = "coil"\naddress = {a}\ntype = "bool"') for a, n in enumerate(names))
    for index, (source, destination) in enumerate(pairs):
        toml += (
            f'[[rules]]\nsource = "{source}"\ndestinations = ["{destination}"]\nenabled = {str(index != off).lower()}\n'
        )
    return toml


def test_a_cycle_is_named_with_its_points() -> None:
    found = problems(chain(("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")))
    assert list(found.values()) == ["goes round in a circle: a → b → c → a; take one rule out"]
    assert "a → a" in problems(chain(("a", "a")))["rules[0].destinations"]
    assert len(parse(chain(("a", "b"), ("b", "c"), ("a", "c"), ("c", "a"), off=3), FOLDER).rules) == 4


def test_a_disabled_folder_disables_all_below_it() -> None:
    toml = f"""{TARGET}{INT}
    [[rules]]
    description = "1"
    source = "level"
    destinations = ["target/7"]
    [[rules]]
    folder = "off"
    enabled = false
    [[rules.rules]]
    description = "2"
    source = "level"
    destinations = ["target/7"]
    [[rules]]
    folder = "on"
    [[rules.rules]]
    folder = "deeper"
    [[rules.rules.rules]]
    description = "3"
    source = "level"
    destinations = ["target/7"]
    [[rules.rules]]
    description = "4"
    source = "level"
    destinations = ["target/7"]
    [[rules]]
    description = "5"
    source = "level"
    destinations = ["target/7"]
    """
    found = {path: rule.description for path, rule in enabled(parse(toml, FOLDER).rules)}
    assert list(found.values()) == ["1", "3", "4", "5"]
    assert [path for path, _ in enabled(parse(toml, FOLDER).rules)] == list(found)
    assert found["rules[2].rules[0].rules[0]"] == "3"


@pytest.mark.parametrize("text", ["points = 3", "rules = [3]", "[points]\nname = 'x'"])
def test_what_is_no_array_of_tables_is_refused(text: str) -> None:
    assert any("is not an array of tables" in words for words in problems(text).values())


def point_of(number: int) -> str:
    """Return a bool among the 14,400 bits of the device block."""
    return f'[[points]]\nname = "p{number}"\nspace = "holding"\naddress = {number // 16}\ntype = "bool"\nbit = {number % 16}\n'


def step(source: int, *written: int) -> str:
    return f'[[rules]]\nsource = "p{source}"\ndestinations = {[f"p{number}" for number in written]}\n'


def test_a_chain_may_be_as_long_as_there_are_points_and_no_circle() -> None:
    count = 2000
    toml = "".join(point_of(number) for number in range(count))
    toml += "".join(step(number, number + 1) for number in range(count - 1))
    assert len(parse(toml, FOLDER).rules) == count - 1
    circle = problems(toml + step(count - 1, 1000))
    assert list(circle) == [f"rules[{count - 1}].destinations"]
    assert "p1000 → p1001" in circle[f"rules[{count - 1}].destinations"]


def test_a_write_that_would_cause_thousands_of_others_is_refused() -> None:
    # Each step is written twice: 2 to the power of 30 destinations.
    toml = "".join(point_of(number) for number in range(31))
    toml += "".join(step(number, number + 1, number + 1) for number in range(30))
    (words,) = problems(toml).values()
    assert "causes more than 10000 others" in words


@pytest.mark.parametrize(("key", "value"), [("scale", "nan"), ("scale", "inf"), ("offset", "-inf"), ("offset", "nan")])
def test_a_scale_that_is_no_number_is_refused(key: str, value: str) -> None:
    toml = f'[[points]]\nname = "x"\nspace = "holding"\naddress = 0\ntype = "int16"\n{key} = {value}\n'
    assert list(problems(toml)) == [f"points[0].{key}"]
