"""Renders the payload of post-raw and put: each value is written so that it stays data in the grammar of the content type.

A grammar that we do not know (YAML, JavaScript) is filled in as it stands, and `vdevice check` warns.
"""

import codecs
import functools
import html
import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus

from vdevice.config.media import charset_of, grammar_of
from vdevice.errors import BuildError
from vdevice.variables import substitute, substitute_json

Values = Mapping[str, str]

JSON5_PIECE = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|//[^\n\r]*|/\*.*?\*/""", re.DOTALL)
"""A string or a comment of JSON5."""

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NONCHARACTERS = "".join(chr(plane + end) for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF))
_NOT_HTML = re.compile(f"[\0\ufdd0-\ufdef{_NONCHARACTERS}]")
"""NUL and noncharacters, which HTML drops or refuses where they are written as references."""
_XML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})
_TSV_SEPARATOR = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the start of a formula, in full width too (OWASP, CSV Injection)."""


def render(payload: str, content_type: str, values: Values, *, raw: bool) -> bytes:
    """Return the body in the charset of its content type; `raw` fills in the values as they are. Raises BuildError."""
    charset = charset_of(content_type, payload)
    grammar = grammar_of(content_type)
    text = substitute(payload, values) if raw or grammar not in _FILLED else _FILLED[grammar](payload, values, charset)
    try:
        return text.encode(charset, _WRITTEN_OTHERWISE.get(grammar, "strict"))
    except UnicodeEncodeError as error:
        raise BuildError(f"the payload holds {text[error.start]!r}, which {charset} cannot hold") from None


def _json(payload: str, values: Values, _charset: str) -> str:
    return substitute_json(payload, values)


def json5(payload: str, values: Values, _charset: str = "") -> str:
    """Return a JSON5 document with the variables inside its strings replaced; comments and all else stay as written."""

    def filled(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith("/") else substitute(found[0], values, _json5_escape)

    return JSON5_PIECE.sub(filled, payload)


def _json5_escape(value: str, before: str, _after: str) -> str:
    escaped = json.dumps(value)[1:-1].replace("'", r"\u0027")
    # After a backslash of the template the value's first character would be taken for an escape.
    hanging = (len(before) - len(before.rstrip("\\"))) % 2
    return "\\" * hanging + escaped


def _xml(payload: str, values: Values, charset: str) -> str:
    return substitute(payload, values, functools.partial(xml_escape, charset=charset))


def xml_escape(value: str, before: str, _after: str, charset: str = "utf-8") -> str:
    """Escape a value for XML content and attributes, CDATA sections and comments.

    Characters that XML 1.0 cannot hold at all, not even as a reference, become U+FFFD.
    """
    characters = _NOT_XML.sub("\ufffd", value)
    if before.rfind("<![CDATA[") > before.rfind("]]>"):
        return ("]]><![CDATA[" if before.endswith("]") else "") + _xml_section(characters, charset)
    if before.rfind("<!--") > before.rfind("-->"):
        characters = characters.replace("-", "\u2010")
    return characters.translate(_XML)


def _xml_section(characters: str, charset: str) -> str:
    """Write characters inside a CDATA section, where nothing can be escaped: what needs it stands between two sections.

    After each bracket a new one begins, so that no two brackets can end one with a `>`.
    """

    def referred(found: re.Match[str]) -> str:
        reference = found[0].encode(charset, "xmlcharrefreplace").decode(charset)
        return f"]]>{reference}<![CDATA[" if reference.startswith("&#") else reference

    return re.sub(r"[^\x00-\x7f]", referred, characters.replace("]", "]]]><![CDATA["))


def _html(payload: str, values: Values, _charset: str) -> str:
    return substitute(payload, values, lambda value, _before, _after: html.escape(_NOT_HTML.sub("\ufffd", value)))


def _form(payload: str, values: Values, charset: str) -> str:
    # What the charset cannot hold is written as browsers do (WHATWG URL, 5.2).
    return substitute(
        payload, values, lambda value, _before, _after: quote_plus(value.encode(charset, "xmlcharrefreplace"))
    )


def _csv(payload: str, values: Values, _charset: str) -> str:
    """Fill in the fields of RFC 4180; one that holds a separator, a quote or a line break then is quoted as a whole."""
    # Separators of the lines that are filled in; a comma is one only where nothing else is: 12,5;$VALUE
    lines = "".join(line for line in re.sub(r'"(?:[^"]|"")*"', "", payload).splitlines() if "$" in line)
    separator = next((one for one in "\t;|" if one in lines), ",")

    def filled(found: re.Match[str]) -> str:
        quoted = found[0].startswith('"') and found[0].endswith('"') and len(found[0]) > 1
        template = found[0][1:-1].replace('""', '"') if quoted else found[0]
        field = _no_formula(substitute(template, values), template)
        if quoted or re.search(r"""[,;\t|"\n\v\f\r\x1c-\x1e\x85\u2028\u2029]|^\s|\s$""", field):
            return '"' + field.replace('"', '""') + '"'
        return field

    return re.sub(rf'"(?:[^"]|"")*"|[^{separator}\r\n]+', filled, payload)


def _tsv(payload: str, values: Values, _charset: str) -> str:
    """Fill in tab-separated values, which know no quotes: a tab or line break of a value becomes a blank."""

    def filled(found: re.Match[str]) -> str:
        return _no_formula(
            substitute(found[0], values, lambda value, _before, _after: _TSV_SEPARATOR.sub(" ", value)), found[0]
        )

    return re.sub(r"[^\t\r\n]+", filled, payload)


def _no_formula(field: str, template: str) -> str:
    """Put an apostrophe before a field that a value begins as a formula; numbers stay numbers."""
    if template.startswith("$") and field.startswith(_FORMULA) and not _NUMBER.fullmatch(field):
        return "'" + field
    return field


def _json_characters(error: UnicodeError) -> tuple[str, int]:
    """Write what the charset of a JSON body cannot hold as an escape of its code unit; it can only stand in strings."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error("vdevice.json", _json_characters)

_FILLED: dict[str, Callable[[str, Values, str], str]] = {
    "json": _json,
    "json lines": _json,
    "json sequence": _json,
    "json5": json5,
    "xml": _xml,
    "html": _html,
    "form": _form,
    "csv": _csv,
    "tsv": _tsv,
}
_WRITTEN_OTHERWISE = {
    **dict.fromkeys(("json", "json lines", "json sequence", "json5"), "vdevice.json"),
    **dict.fromkeys(("xml", "html"), "xmlcharrefreplace"),
}
"""How a grammar writes a character that the charset does not have."""
