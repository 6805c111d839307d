r"""Finds a secret in bytes however it is written there: percent-encoded, as HTML, JSON, a form, base64, hex, or one in another.

A service repeats what it was sent in the encoding that suits it, in capital or small hex digits, whole or in part. So what is
looked at is decoded, and the places are those of the bytes as they came.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from html.entities import html5

LEVELS = 4
"""How deep encodings lie in each other at most: JSON in a form in JSON."""

LEAST_BASE64 = 8
"""Characters of base64, or of hex digits, below which it is like words."""

_ENCODED = re.compile(
    rb"%([0-9A-Fa-f]{2})"
    rb"|&#([0-9]{1,7});?|&#[xX]([0-9A-Fa-f]{1,6});?|&([A-Za-z]{2,8});"
    rb"|\\u([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})"
    rb"|\\([\"'\\/nr])"
    # Base64 is written in lines of 64 or 76 digits.
    rb"|(?<=[A-Za-z0-9+/_-]{16})\r?\n(?=[A-Za-z0-9+/_-])"
)
_HINT = re.compile(rb"[%&\\\n]")
_LINES = {b"n": b"\n", b"r": b"\r"}


def needles(secret: str) -> set[bytes]:
    """Return what to look for: a secret in UTF-8 and Latin-1, with + for blanks, in hex, and what its base64 always holds."""
    plain = {secret.encode("utf-8", "surrogatepass"), secret.encode("latin-1", "replace")}
    found = plain | {one.replace(b" ", b"+") for one in plain}
    # A secret that looks encoded itself is decoded together with what it is encoded in.
    for one in tuple(found):
        for _ in range(LEVELS):
            one = _decoded(one, range(len(one) + 1))[0]  # noqa: PLW2901 (one level more)
            found.add(one)
    for one in plain:
        if len(one.hex()) >= LEAST_BASE64:
            found |= {one.hex().encode(), one.hex().upper().encode()}
        for before in range(3):
            # Where it begins in a larger whole shifts its digits: those that hold other bits, too, are left out.
            coded = base64.b64encode(bytes(before) + one).rstrip(b"=")
            inner = coded[(0, 2, 3)[before] : (before + len(one)) * 8 // 6]
            if len(inner) >= LEAST_BASE64:
                found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found - {b""}


def replaced(content: bytes, wanted: Sequence[bytes], mask: bytes) -> bytes:
    """Return the bytes with all that is one of the needles, in whatever encoding, replaced."""
    places = _places(content, wanted)
    if places and _is_text(content):
        # A secret in Latin-1 is there by chance where it would split a character of UTF-8.
        places = [(first, last) for first, last in places if not (_splits(content, first) or _splits(content, last))]
    if not places:
        return content
    out, end = [], 0
    for first, last in _merged(places):
        out += [content[end:first], mask]
        end = last
    return b"".join([*out, content[end:]])


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _splits(content: bytes, at: int) -> bool:
    """Tell whether a place is within a character of UTF-8."""
    return at < len(content) and content[at] & 0xC0 == 0x80


def _places(content: bytes, wanted: Sequence[bytes]) -> list[tuple[int, int]]:
    found = []
    # origins[i] is where byte i of `decoded` began in what came; one more for the end.
    decoded: bytes = content
    origins: Sequence[int] = range(len(content) + 1)
    for level in range(LEVELS + 1):
        for needle in wanted:
            at = decoded.find(needle)
            while at >= 0:
                found.append((origins[at], origins[at + len(needle)]))
                at = decoded.find(needle, at + len(needle))
        if level == LEVELS or not _HINT.search(decoded):
            break
        decoded, origins = _decoded(decoded, origins)
    return found


def _decoded(content: bytes, origins: Sequence[int]) -> tuple[bytes, Sequence[int]]:
    out, end = bytearray(), 0
    places: list[int] = []
    for token in _ENCODED.finditer(content):
        meant = _meant(token)
        if meant is None:
            continue
        first, last = token.span()
        out += content[end:first] + meant
        places += origins[end:first]
        # All bytes of one character stand where its encoding begins, and what follows begins behind it.
        places += [origins[first]] * len(meant)
        end = last
    out += content[end:]
    places += origins[end:]
    return bytes(out), places


def _meant(token: re.Match[bytes]) -> bytes | None:
    percent, decimal, hexadecimal, name, high, low, unit, byte, plain = token.groups()
    if percent or byte:
        return bytes.fromhex((percent or byte).decode())
    if plain:
        return _LINES.get(plain, plain)
    if name:
        character = html5.get(f"{name.decode()};")
        return character.encode() if character else None
    if high:
        return bytes.fromhex((high + low).decode()).decode("utf-16-be").encode()
    if not (decimal or hexadecimal or unit):
        return b""
    number = int(decimal) if decimal else int(hexadecimal or unit, 16)
    return chr(number).encode("utf-8", "surrogatepass") if number < 0x110000 else None


def _merged(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(places):
        if merged and first <= merged[-1][1] and (first < merged[-1][1] or first == last):
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
