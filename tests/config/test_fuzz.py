"""Whatever stands in vdevice.toml, it is a config or a list of problems; and a config that is right can be worked with."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import event_of
from vdevice import sheets
from vdevice.board import Board
from vdevice.config import Config
from vdevice.config.example import EXAMPLE
from vdevice.config.load import SECTIONS, outbox_of, parse
from vdevice.config.redact import without_secrets
from vdevice.config.schema import Client, Permits, Point, Rule, Target, Tls, When
from vdevice.errors import BuildError, ConfigError, VdeviceError
from vdevice.modbus.unit import Unit
from vdevice.outbox.sqlite import SqliteOutbox
from vdevice.webhooks import http, warnings

words = st.sampled_from(
    [
        *("big", "little", "holding", "coil", "bool", "int16", "float64", "string", "get", "slack", "put", "post-raw"),
        *("write", "change", "rising", "utf-8", "target/7", "target/65", "p", "q", "127.0.0.1", "10.0.0.0/8", "::1"),
        *("http://h/$VALUE", "https://[::1]:8/", "nats://h:4222", "tls://", "sqlite:///x.db", "file:a", "$VALUE", "{}"),
        *(
            "application/json",
            "text/xml",
            '"a"',
            "s7-string",
            "content",
            "idle",
            "2xx",
            "whsec_MTIz",
            "UTC",
            "Europe/Berlin",
        ),
        *("../x", ".", "/", "0", "\x00", "\r\n", "post-multipart", "post-urlencoded", "mattermost", "teams"),
    ]
)
texts = words | st.text(max_size=12)
numbers = st.integers(-(2**70), 2**70) | st.integers(0, 1000) | st.floats()
leaves = st.booleans() | numbers | texts | st.datetimes() | st.just({"env": "NOT_SET"}) | st.just({"file": "nothing"})
anything: st.SearchStrategy[Any] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


def table(*kinds: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Return tables with keys of these structs, each with any value at all, and sometimes with a key of no one."""
    keys = sorted({field.name for kind in kinds for field in msgspec.structs.fields(kind)})
    return st.dictionaries(st.sampled_from(keys) | texts, anything, max_size=6)


sections = {name: table(kind) for name, kind in SECTIONS.items()}
clients = st.dictionaries(texts, table(Client), max_size=2)
sections["modbus"] = st.builds(
    lambda own, clients, tls: {**own, "clients": clients, **({"tls": tls} if tls else {})},
    sections["modbus"],
    clients,
    st.none() | table(Tls, Permits),
)
configs = st.fixed_dictionaries(
    {},
    optional={
        **{name: kind | anything for name, kind in sections.items()},
        "targets": st.dictionaries(st.sampled_from(["1", "7", "07", "65", "x"]), table(Target), max_size=3) | anything,
        "points": st.lists(table(Point), max_size=3) | anything,
        "rules": st.lists(table(Rule, When), max_size=3) | anything,
        "web": anything,
        "nonsense": anything,
    },
)


def toml(value: Any) -> str:
    """Return a value as inline TOML; a string of JSON is one of TOML but for DEL."""
    match value:
        case bool():
            return str(value).lower()
        case float() if not math.isfinite(value):
            return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(item)}' for key, item in value.items())}}}"
    return str(value.isoformat())


def check(text: str, folder: Path) -> Config | None:
    found: Config | None = None
    for work in (outbox_of, parse):
        problems = []
        try:
            found = work(text, folder)
        except ConfigError as error:
            found, problems = None, error.problems
        assert found or (problems and all(problem.message for problem in problems))
    return found


def work_with(config: Config, text: str, folder: Path) -> None:
    """Do what a device and the command line would do with a config that is right."""
    warnings.find(config)
    for make in sheets.FORMATS.values():
        make(config)
    for target in config.targets.values():
        with contextlib.suppress(BuildError):
            http.build(config, target, event_of("Grüße"), 1_750_000_000)
    unit = Unit(config, SqliteOutbox(folder / "o.db", Board(), 10), Board())
    unit.client("127.0.0.1", "operator")
    with contextlib.suppress(VdeviceError):
        without_secrets(text)


@settings(max_examples=400, deadline=None)
@given(configs)
def test_any_toml_is_a_config_or_a_list_of_problems(
    tmp_path_factory: pytest.TempPathFactory, raw: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in raw.items())
    config = check(text, folder)
    if config:
        work_with(config, text, folder)


RIGHT = """
[device]
id = "press 4"
[modbus]
listen = "127.0.0.1:0"
clients.plc.address = "10.0.0.0/8"
clients.plc.points = ["p"]
[targets.7]
method = "post-raw"
url = "https://u.example/$VALUE"
content_type = "application/json"
payload = '{"text": "$VALUE"}'
headers = { X-Line = "4" }
[targets.8]
method = "post-multipart"
url = "http://u.example/"
parameters = [["text", "$VALUE"], ["report", "file:report.pdf"]]
[[points]]
name = "p"
space = "holding"
address = 10
type = "float32"
[[rules]]
source = "p"
when = { above = 1.5, hysteresis = 0.5 }
template = "hot: $VALUE"
destinations = ["target/7"]
"""


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_config_that_somebody_edits_is_a_config_or_a_list_of_problems(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = data.draw(st.sampled_from([RIGHT, EXAMPLE]))
    for _ in range(data.draw(st.integers(1, 3))):
        lines = text.split("\n")
        place = data.draw(st.integers(0, len(lines) - 1))
        edit = data.draw(st.sampled_from(["cut", "double", "value", "character"]))
        if edit == "cut":
            del lines[place]
        elif edit == "double":
            lines.insert(data.draw(st.integers(0, len(lines))), lines[place])
        elif edit == "value":
            lines[place] = f"{lines[place].partition('=')[0]}= {toml(data.draw(anything))}"
        else:
            at = data.draw(st.integers(0, len(lines[place])))
            lines[place] = (
                lines[place][:at] + data.draw(st.characters(exclude_categories=["Cs"])) + lines[place][at + 1 :]
            )
        text = "\n".join(lines)
    config = check(text, folder)
    if config:
        work_with(config, text, folder)


@given(st.text())
def test_any_text_is_a_config_or_a_list_of_problems(text: str) -> None:
    check(text, Path())


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "{a = " * 5000, "a" + ".a" * 5000 + " = 1"])
def test_depth_is_a_problem_and_no_traceback(text: str) -> None:
    assert check(text, Path()) is None
