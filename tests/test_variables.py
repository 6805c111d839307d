import json
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import event_of, target_of
from vdevice import variables
from vdevice.variables import substitute, substitute_json
from vdevice.webhooks import raw_body

VALUES = {"VALUE": "v", "SOURCEVALUE": "s", "DEVICE": "d"}
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
hostile = anything | st.sampled_from(
    [
        '"',
        '\\"',
        '","x":"',
        "</a>",
        "]]>",
        "&amp;",
        "$VALUE",
        "${VALUE}",
        "$$",
        "\\",
        "\n",
        "\0",
        "/../",
        "?a=b",
        "#",
        "@h",
    ]
)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$VALUE", "v"),
        ("${VALUE}x", "vx"),
        ("$VALUES", "vS"),
        ("$SOURCEVALUE", "s"),
        ("$$VALUE", "$VALUE"),
        ("$$$VALUE", "$v"),
        ("$UNKNOWN", "$UNKNOWN"),
        ("${UNKNOWN}", "${UNKNOWN}"),
        ("$value", "$value"),
        ("${VALUE", "${VALUE"),
        ("100 $", "100 $"),
        ("$DEVICEID", "dID"),
    ],
)
def test_substitution(template: str, filled: str) -> None:
    assert substitute(template, VALUES) == filled


@given(hostile)
def test_a_value_is_never_substituted_again(value: str) -> None:
    assert substitute("a$VALUE$DEVICE", {"VALUE": value, "DEVICE": "d"}) == f"a{value}d"


@given(hostile, hostile)
def test_no_value_breaks_out_of_its_json_string(value: str, other: str) -> None:
    document = '{"a": "x$VALUE", "$DEVICE!": [1.50, "plain", "\\u0024VALUE"], "n": 12345678901234567890}'
    filled = substitute_json(document, {"VALUE": value, "DEVICE": other})
    assert json.loads(filled) == {"a": "x" + value, other + "!": [1.5, "plain", value], "n": 12345678901234567890}


def test_json_is_left_as_written_but_for_its_variables() -> None:
    document = '{ "n" : 1.50,\n "e":"\\u00e9", "v":"$VALUE" }'
    assert substitute_json(document, {"VALUE": '"'}) == '{ "n" : 1.50,\n "e":"\\u00e9", "v":"\\"" }'


@given(hostile)
def test_no_value_breaks_out_of_its_xml_element_or_attribute(value: str) -> None:
    filled = substitute('<a b="$VALUE">$VALUE</a>', {"VALUE": value}, raw_body.xml_escape)
    element = ET.fromstring(filled)
    assert len(element) == 0
    kept = raw_body._NOT_XML.sub("\ufffd", value)
    # An XML parser folds line ends, and in attributes white space.
    assert (element.text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")
    assert list(element.attrib) == ["b"]


@given(hostile)
def test_percent_encoding_leaves_nothing_that_ends_a_path_or_query_part(value: str) -> None:
    encoded = variables.percent_encode(value)
    assert not set(encoded) & set("/?#&=+@:;\\ \r\n")
    assert encoded.isascii()
    assert unquote(encoded) == value


def test_description_may_hold_variables_one_level_deep() -> None:
    config, target = target_of('description = "$VALUE at $DESCRIPTION"')
    values = variables.values_of(config, event_of("$PARAMETER"), target.name, target.description)
    assert values["DESCRIPTION"] == "$PARAMETER at $DESCRIPTION"
    assert substitute("<$DESCRIPTION>", values) == "<$PARAMETER at $DESCRIPTION>"


def test_all_variables_have_their_values() -> None:
    config, target = target_of('description = "Boiler"')
    event = event_of("42", at=1_750_000_000.25)
    values = variables.values_of(config, event, target.name, target.description)
    assert set(values) == set(variables.NAMES)
    assert values["TIMESTAMP"] == "20250615T15:06:40"
    assert values["ISOTIME"] == "2025-06-15T15:06:40+00:00"
    assert values["PARAMETER"] == values["SOURCEPARAMETER"] == "target/7"
    assert values["SOURCECONNECTION"] == "10.0.0.5"
    assert values["EVENTID"] == event.id


def test_unknown_names_are_found() -> None:
    assert list(variables.unknown("$VALUE $$X ${FOO} $BAR 5$")) == ["${FOO}", "$BAR"]
