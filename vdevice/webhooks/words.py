"""Finds what a response says in its own words: the message of a JSON error, the title of an HTML page, else its first line."""

import codecs
import html
import json
import re
from collections.abc import Iterator

from vdevice.clean import clean, one_line
from vdevice.config.media import is_charset, parameter

KEYS = (
    "message",
    "error_description",
    "error",
    "detail",
    "title",
    "description",
    "errors",
    "reason",
    "msg",
    "code",
    "id",
)
"""Keys of a JSON error that hold words, the most telling one first; `detail` and `title` are those of RFC 9457."""

LOOKED_AT = 16_384
"""Characters of a page that are searched for words."""

_DEEPEST = 4
_TITLE = re.compile(r"<title\b[^>]{0,200}>([^<]{1,500})", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]*>?")


def words_of(response: bytes, content_type: str = "") -> str:
    """Return what a response's body says as plain text, which may have several lines; empty where it says nothing."""
    text = text_of(response, content_type)
    document = as_json(text)
    if document is not None:
        return words_in(document)
    text = text[:LOOKED_AT]
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = html.unescape(title[1] if title else _TAG.sub("\n", _UNSEEN.sub("", text)))
    return next((line for line in clean(text).splitlines() if one_line(line)), "")


def text_of(response: bytes, content_type: str = "") -> str:
    """Return a body as clean text, in the charset of its content type where that is one, else UTF-8."""
    charset = parameter(clean(content_type), "charset") or "utf-8"
    if response.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        charset = "utf-16"
    try:
        text = response.decode(charset if is_charset(charset) else "utf-8", "replace")
    except ValueError:
        # Some codecs raise all the same.
        text = response.decode("utf-8", "replace")
    return clean(text.removeprefix("\ufeff"))


def as_json(text: str) -> object:
    """Return the JSON document that a text is; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def words_in(document: object) -> str:
    """Return what a JSON document, or a value of one, says in words; empty where it says nothing."""
    return next(_said(document, _DEEPEST), "")


def _said(document: object, depth: int) -> Iterator[str]:
    """Yield the words of a JSON error, those that are told first at first: in {"error": {"message": …}} the message."""
    match document:
        case str():
            if document.strip():
                yield clean(document)
        case dict() if depth:
            for key in KEYS:
                yield from _said(document.get(key), depth - 1)
        case list() if depth:
            for item in document[:5]:
                yield from _said(item, depth - 1)
