"""Bodies of post-raw and put, read back by parsers that are not ours: a value changes nothing but its own place."""

import csv
import io
import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import event_of, target_of
from vdevice.errors import BuildError
from vdevice.webhooks import http

ATTACKS = (
    *(
        '"',
        "'",
        '"}',
        '", "admin": "1',
        "', admin: '1",
        "\\",
        '\\"',
        "\\u0022",
        "*/",
        "//",
        "\n",
        "\r\n",
        "\x1e",
        "\u2028",
    ),
    *("&role=admin", "=", "+", "%", ";", ",", "\t", "|", '";"', '""', "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)"),
    *(
        "<script>alert(1)</script>",
        "</b>",
        "<!--",
        "-->",
        "--!>",
        "]]>",
        "]",
        ">",
        "<![CDATA[",
        "&amp;",
        "&#0;",
        "?>",
        "--",
    ),
    *("\0", "\x01", "\x0b", "\x1f", "\x7f", "\x85", "\ufffe", "\ufeff", "😀", "€", "ü", "$VALUE", "${EVENTID}", "$$"),
)
values = st.lists(st.sampled_from(ATTACKS) | st.text(max_size=6), max_size=5).map("".join)


def body(content_type: str, payload: str, value: str, more: str = "") -> bytes:
    quoted = json.dumps(payload).replace("\x7f", "\\u007f")
    config, target = target_of(f'method = "put"\ncontent_type = "{content_type}"\npayload = {quoted}\n{more}')
    return http.build(config, target, event_of(value), 0).body


class Tags(HTMLParser):
    """What an independent parser finds in a page: tags with their attributes' names, comments, and texts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[Any] = []
        self.texts = ""
        self.attributes: list[str | None] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))
        self.attributes += [value for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(tag)

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.tags.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.tags.append("instruction")

    def handle_data(self, data: str) -> None:
        self.texts += data


def kept_in_xml(value: str) -> str:
    """Return what XML keeps of a value: no forbidden characters, and one kind of line end."""
    legal = "".join(one if one in "\t\n\r" or (one >= " " and one not in "\ufffe\uffff") else "\ufffd" for one in value)
    return legal.replace("\r\n", "\n").replace("\r", "\n")


def is_noncharacter(character: str) -> bool:
    return "\ufdd0" <= character <= "\ufdef" or ord(character) & 0xFFFE == 0xFFFE


JSON_DOCUMENT = '{"k$VALUE": ["a $VALUE", {"n": "$VALUE"}], "$VALUE": 1.50}'


def read_json(value: str) -> Any:
    return {"k" + value: ["a " + value, {"n": value}], value: 1.5}


JSON_TYPES = ("application/json", "text/json", "application/vnd.api+json", "application/json; charset=iso-8859-1")


@pytest.mark.parametrize(
    "content_type", [*JSON_TYPES, "text/json; charset=utf-16", "application/x-json; charset=ascii"]
)
@given(values)
def test_json(content_type: str, value: str) -> None:
    charset = content_type.partition("charset=")[2] or "utf-8"
    assert json.loads(body(content_type, JSON_DOCUMENT, value).decode(charset)) == read_json(value)


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/jsonl", "text/x-ndjson"])
@given(values)
def test_json_lines(content_type: str, value: str) -> None:
    lines = body(content_type, f'{{"index": {{}}}}\n{JSON_DOCUMENT}\n', value).split(b"\n")
    assert [json.loads(line) for line in lines if line] == [{"index": {}}, read_json(value)]


@given(values)
def test_json_sequences(value: str) -> None:
    records = body("application/json-seq", f"\x1e{JSON_DOCUMENT}\n\x1e[]\n", value).split(b"\x1e")
    assert [json.loads(record) for record in records if record] == [read_json(value), []]


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "ascii", "utf-16"])
@given(values)
@example("]]>")
@example("--")
@example("😀\x01")
def test_xml(charset: str, value: str) -> None:
    payload = (
        f'<?xml version="1.0" encoding="{charset}"?><!-- ü $VALUE -->'
        '<r a="$VALUE"><t>$VALUE</t><c><![CDATA[x]$VALUE]]></c><d><![CDATA[$VALUE$VALUE>]]></d></r>'
    )
    found = [ET.fromstring(body("text/xml", payload, value))]
    found.append(ET.fromstring(body(f"application/soap+xml; charset={charset}", payload, value)))
    for root in found:
        kept = kept_in_xml(value)
        assert [child.tag for child in root] == ["t", "c", "d"]
        assert list(root.attrib) == ["a"]
        assert root.findtext("t") == kept
        assert root.findtext("c") == "x]" + kept
        # Two values that touch may make one line end of two.
        assert root.findtext("d") == kept_in_xml(value + value) + ">"


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
@given(values)
def test_html(charset: str, value: str) -> None:
    payload = "<html><body title=\"$VALUE\" class='$VALUE'><!-- $VALUE --><b>$VALUE</b></body></html>"
    found = Tags(body(f"text/html; charset={charset}", payload, value).decode(charset))
    harmless = Tags(payload.replace("$VALUE", "x"))
    assert found.tags == harmless.tags
    kept = "".join("\ufffd" if one == "\0" or is_noncharacter(one) else one for one in value)
    assert found.texts == kept
    assert found.attributes == [kept] * 2


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
@given(values)
def test_forms(charset: str, value: str) -> None:
    content_type = f"application/x-www-form-urlencoded; charset={charset}"
    read = parse_qsl(
        body(content_type, "a=$VALUE&k$VALUE=1&z=end", value).decode("ascii"),
        keep_blank_values=True, strict_parsing=True, encoding=charset,
    )  # fmt: skip
    held = value.encode(charset, "xmlcharrefreplace").decode(charset)
    assert read == [("a", held), ("k" + held, "1"), ("z", "end")]


def rows(text: str, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@given(values)
def test_csv(delimiter: str, value: str) -> None:
    payload = (
        delimiter.join(["name", "text", "12.5"]) + "\r\n" + delimiter.join(['"a ""b"" $VALUE"', "T: $VALUE", "$VALUE"])
    )
    found = rows(body("text/csv", payload, value).decode(), delimiter)
    assert found[0] == ["name", "text", "12.5"]
    assert found[1][:2] == [f'a "b" {value}', f"T: {value}"]
    assert found[1][2] in {value, "'" + value}
    assert not found[1][2].startswith(("=", "@", "\t", "\r"))
    assert len(found) == 2


@pytest.mark.parametrize(
    ("value", "field"),
    [("=1+1", "'=1+1"), ("-5", "-5"), ("-5,3", '"-5,3"'), ("+49 170", "'+49 170"), ("-2+3", "'-2+3"), ("x=1", "x=1")],
)
def test_no_value_is_a_formula_of_a_spreadsheet(value: str, field: str) -> None:
    assert body("text/csv", "$VALUE;x", value).decode() == f"{field};x"
    assert body("text/tab-separated-values", "a\t$VALUE", value).decode() == f"a\t{field.strip(chr(34))}"


@given(values)
def test_tab_separated_values(value: str) -> None:
    lines = body("text/tab-separated-values", "n\tt\nT $VALUE\t$VALUE", value).decode().splitlines()
    assert [len(line.split("\t")) for line in lines] == [2, 2]


@pytest.mark.parametrize("content_type", ["application/yaml", "application/javascript", "text/plain", "x/unknown"])
@given(values)
def test_what_has_no_rule_is_filled_in_as_it_is(content_type: str, value: str) -> None:
    assert body(content_type, "a: $VALUE", value).decode() == f"a: {value}"


GRAMMARS: list[tuple[str, str]] = [
    ("application/json", '{"a": "$VALUE"}'),
    ("application/x-ndjson", '{"a": "$VALUE"}'),
    ("application/json5", "{a: '$VALUE'}"),
    ("text/xml", "<a>$VALUE</a>"),
    ("text/html", "<b>$VALUE</b>"),
    ("application/x-www-form-urlencoded", "a=$VALUE"),
    ("text/csv", "$VALUE,1"),
    ("text/tab-separated-values", "$VALUE\t1"),
]


@pytest.mark.parametrize(("content_type", "payload"), GRAMMARS)
def test_raw_variables_turn_escaping_off(content_type: str, payload: str) -> None:
    value = "=\"<'&\t,"
    raw = body(content_type, payload, value, "raw_variables = true").decode()
    assert raw == payload.replace("$VALUE", value)
    assert body(content_type, payload, value).decode() != raw


@given(values)
def test_a_text_that_its_charset_cannot_hold_is_a_dead_letter_with_a_reason(value: str) -> None:
    if all(ord(one) < 256 for one in value):
        assert body("text/plain; charset=iso-8859-1", "$VALUE", value) == value.encode("iso-8859-1")
        return
    with pytest.raises(BuildError, match="iso-8859-1 cannot hold"):
        body("text/plain; charset=iso-8859-1", "$VALUE", value)


@given(values)
def test_json5_strings_in_both_quotes(value: str) -> None:
    # Without what JSON5 has beyond JavaScript's JSON, a reader of JSON reads it as well.
    written = body("application/json5", '{"a": "x$VALUE", "b": ["\\\\$VALUE", "\\$VALUE"]}', value).decode()
    assert json.loads(written) == {"a": "x" + value, "b": ["\\" + value, "\\" + value]}
    single = body("application/json5", "'$VALUE'", value).decode()
    assert single[0] == single[-1] == "'"
    assert "'" not in single[1:-1]
    assert json.loads(f'"{single[1:-1]}"') == value


def test_json5_comments_and_names_stay_as_they_are() -> None:
    payload = "{ // it's $VALUE\n /* \"$VALUE */ $VALUE: '$VALUE' }"
    assert body("application/json5", payload, "v").decode() == payload.replace("'$VALUE'", "'v'")
