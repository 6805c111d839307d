"""How clearly a text reads: what tells the right setting from a wrong one, in any language.

Pure, and careful: a hint that is wrong costs more than one that is missing. Two things are measured. Penalties count what
no writer means: control characters, characters that nobody assigned, two bytes of UTF-8 shown as two letters, bytes that a
reading leaves out. Votes tell a text from the same text with the bytes of each register swapped, which holds the same
characters: pairs of letters that are common one way round and rare the other (nd, ch), capitals inside of words, a blank
before a comma.
"""

import itertools
import re
import unicodedata

LOOKED_AT = 250
"""Characters of a text that are looked at; more cost time and change nothing."""

_PLAIN = frozenset("\t\r\n")
_COMMON_SIGNS = frozenset("+<>=±\N{MULTIPLICATION SIGN}÷°€$£¥µ²³½¼¾§©®™%‰_|")
_RARE_ASCII = frozenset("`^~{}\\")
_UNMEANT = frozenset({"Cc", "Cn", "Co", "Cs"})
"""Control characters, and code points that are unassigned, private, or halves of others."""

_COMMON_SCRIPTS = ("LATIN ", "GREEK ", "CYRILLIC ", "FEMININE", "MASCULINE", "MICRO")
_PACKED = re.compile(rb"[A-Za-z0-9 .,:!?-]")
_MOSTLY = 0.85
_PACKED_FROM = 12
"""Bytes from which on UTF-16 that consists of nothing but ASCII letters was no UTF-16."""

_PAIRS = "nd ch ng nt st qu ck sc pr br fr bl pl fl mp mb ld lt ft rs rm ct pt xt wh ph sh"
ONE_WAY = frozenset(_PAIRS.split())
"""Pairs of letters that many languages have, and whose reverse few have."""

_UPPER_AFTER_LOWER = re.compile(r"[^\W\d_](?<=[a-zß-öø-ÿ])[A-ZÀ-ÖØ-Þ]")
_WORD = re.compile(r"(?<![^\W_])[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]")
_PUNCTUATED = re.compile(r"\w[,.:;!?] (?=\w)")
_BLANK_BEFORE = re.compile(r" [,.:;!?%)](?=\w)")
_DEGREES = re.compile(r"°[CF](?!\w)")
_DEGREES_REVERSED = re.compile(r"[CF]°")


def penalty(text: str, encoded: bytes, charset: str, unread: int) -> float:
    """Return what speaks against a text, for each byte of it: 0 for nothing, above 0.3 for a text that nobody wrote.

    `encoded` are the bytes that were read as `text`; `unread` is how many behind them, neither NUL nor blank, were left out.
    """
    looked_at = text[:LOOKED_AT]
    total = sum(_penalty_of(one) for one in looked_at) * len(text) / max(len(looked_at), 1)
    total += 0.05 * (len(text) - len(text.rstrip(" ")))
    if charset in {"latin-1", "cp1252"}:
        total += len(encoded) * _is_utf8(encoded)
    if charset.startswith("utf-16") and len(encoded) >= _PACKED_FROM:
        total += len(encoded) * (len(_PACKED.findall(encoded)) >= _MOSTLY * len(encoded))
    return (total + unread) / max(len(encoded) + unread, 1)


def is_meant(text: str) -> bool:
    """Tell whether a text holds nothing but characters that somebody means; what stands behind a NUL is nobody's."""
    return all(one in _PLAIN or unicodedata.category(one) not in _UNMEANT for one in text[:LOOKED_AT])


def foreign_share(text: str) -> float:
    """Return the share of letters that are not ASCII."""
    letters = [one for one in text[:LOOKED_AT] if one.isalpha()]
    return sum(not one.isascii() for one in letters) / max(len(letters), 1)


def votes(text: str) -> int:
    """Return how many signs say that the characters are in order, less those that say that they are swapped."""
    text = text[:LOOKED_AT].rstrip()
    lower = text.lower()
    pairs = [lower[place : place + 2] for place in range(len(lower) - 1)]
    in_order = sum(pair in ONE_WAY for pair in pairs) - sum(pair[::-1] in ONE_WAY for pair in pairs)
    if text.isalnum() and len(text) >= 4:
        # What people write to try it out: abcd, 1234.
        steps = [ord(after) - ord(before) for before, after in itertools.pairwise(text)]
        in_order += steps.count(1) if 2 * steps.count(1) >= len(steps) else 0
    return (
        in_order
        + len(_WORD.findall(text))
        + len(_PUNCTUATED.findall(text))
        + len(_DEGREES.findall(text))
        - len(_UPPER_AFTER_LOWER.findall(text))
        - len(_BLANK_BEFORE.findall(text))
        - len(_DEGREES_REVERSED.findall(text))
        - text.startswith(" ")
    )


def _penalty_of(one: str) -> float:
    if (one.isascii() and one.isalnum()) or one in _PLAIN or one in _COMMON_SIGNS:
        return 0
    category = unicodedata.category(one)
    if category in _UNMEANT:
        return 2
    if category[0] == "S" or one in _RARE_ASCII:
        return 0.5
    if category[0] == "L" and not unicodedata.name(one, "").startswith(_COMMON_SCRIPTS):
        # Right for who writes it, and what ASCII often looks like where it is read as UTF-16.
        return 0.3
    return 0


def _is_utf8(encoded: bytes) -> bool:
    """Tell whether bytes that were read as one letter each are UTF-8; in no language do its pairs of letters follow."""
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError:
        return False
    others = [one for one in text if not one.isascii()]
    return len(others) > 2 or any("\xa1" <= one <= "\xff" or "\u2000" <= one <= "\u20ff" for one in others)
