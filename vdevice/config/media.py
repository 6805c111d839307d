"""What a content type says: which grammar the body follows, and in which charset it is written."""

import codecs
import functools
import re
from email.message import Message
from typing import Literal

Grammar = Literal["json", "json lines", "json sequence", "json5", "xml", "html", "form", "csv", "tsv", "text", "other"]
"""What a body is made of. `text` has no grammar that a value could break; of `other` we do not know."""

_GRAMMARS: dict[str, Grammar] = {
    **dict.fromkeys(("application/json", "text/json", "application/x-json", "text/x-json"), "json"),
    "application/csp-report": "json",
    **dict.fromkeys(
        [
            f"{top}/{name}"
            for top in ("application", "text")
            for name in (
                "ndjson",
                "x-ndjson",
                "jsonl",
                "x-jsonl",
                "jsonlines",
                "x-jsonlines",
                "json-lines",
                "x-json-stream",
            )
        ],
        "json lines",
    ),
    "application/json-seq": "json sequence",
    **dict.fromkeys(("application/json5", "text/json5", "application/jsonc", "text/jsonc"), "json5"),
    **dict.fromkeys(("application/xml", "text/xml", "application/xml-external-parsed-entity"), "xml"),
    "text/html": "html",
    "application/x-www-form-urlencoded": "form",
    **dict.fromkeys(("text/csv", "application/csv", "text/x-csv", "text/comma-separated-values"), "csv"),
    **dict.fromkeys(("text/tab-separated-values", "text/tsv"), "tsv"),
    **dict.fromkeys(("text/plain", "application/octet-stream"), "text"),
}
_SUFFIXES: dict[str, Grammar] = {"+json": "json", "+json-seq": "json sequence", "+xml": "xml"}
"""Structured syntax suffixes of RFC 6839 and RFC 8091."""

_NO_CHARSETS = frozenset(
    ["idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "charmap", "mbcs", "oem"]
)
"""Python's own encodings of text that no receiver knows as a charset."""

_DECLARATION = re.compile(r"""\ufeff?<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][\w.\-]*)""")


@functools.lru_cache
def parameter(content_type: str, name: str) -> str | None:
    """Return a parameter of a media type, like the `charset` of `text/plain; charset=utf-8`."""
    message = Message()
    message["Content-Type"] = content_type
    value = message.get_param(name)
    return value if isinstance(value, str) else None


@functools.lru_cache
def grammar_of(content_type: str) -> Grammar:
    """Return the grammar of the bodies of a media type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _GRAMMARS:
        return _GRAMMARS[kind]
    return next((grammar for suffix, grammar in _SUFFIXES.items() if kind.endswith(suffix)), "other")


@functools.lru_cache
def charset_of(content_type: str, payload: str) -> str:
    """Return the charset in which a body is written: that of the content type, that of an XML declaration, else UTF-8."""
    named = parameter(content_type, "charset")
    if named is None and grammar_of(content_type) == "xml":
        declared = _DECLARATION.match(payload)
        named = declared[1] if declared else None
    return named or "utf-8"


def is_charset(name: str) -> bool:
    """Tell whether this is a charset of text: Python's codecs know others as well, like rot13 and base64."""
    try:
        found = codecs.lookup(name).name.replace("-", "_")
        "".encode(name)
    except (LookupError, UnicodeError, ValueError, TypeError):
        return False
    return found not in _NO_CHARSETS
