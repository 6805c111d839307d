r"""Makes text from outside such that it can be encoded: responses, errors of libraries, the environment, JSON bodies.

A Python string may hold lone surrogates (JSON's `\ud800`, undecodable bytes of the environment or of a file name), and no
UTF-8, database, log or page can hold those. Whoever lets such text in cleans it there, once; nobody behind asks again.
"""

import functools
import re
import unicodedata

REPLACEMENT = "\ufffd"
"""What stands for a character that no encoding can hold (Unicode's REPLACEMENT CHARACTER)."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
_ASCII = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
    | {"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "€": "EUR", "→": "->"}
    | dict.fromkeys("\u2018\u2019\u201a\u2039\u203a\u2032", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u2033", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2022\u2212", "-")
)
"""Letters, quotes and dashes that Unicode's decompositions leave alone, or spell worse than a German would."""


def clean(text: str) -> str:
    """Return the text with each lone surrogate replaced by U+FFFD: what comes out encodes to UTF-8 without an error."""
    return text if text.isascii() else _SURROGATE.sub(REPLACEMENT, text)


def one_line(text: str) -> str:
    """Return a clean text as one line for a log or a table: line breaks and controls, also of writing direction, are blanks."""
    return " ".join(_CONTROL.sub(" ", clean(text)).split())


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of a text, cut between two words where the last word is not most of it."""
    if len(text) <= limit:
        return text
    cut = text[:limit]
    if not text[limit].isspace():
        head = cut.rpartition(" ")[0].rstrip()
        cut = head if len(head) >= limit // 2 else cut
    return cut.rstrip()


@functools.lru_cache(maxsize=128)
def to_ascii(text: str, limit: int) -> str:
    """Return at most `limit` ASCII characters that read like the text, for registers: ü is ue, é is e, what is left is `?`."""
    if not text.isascii():
        spelled = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).translate(_ASCII))
        text = "".join(one for one in spelled if not unicodedata.combining(one)).encode("ascii", "replace").decode()
    return shorten(one_line(text), limit)
