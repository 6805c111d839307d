"""The body of a response without its Content-Encoding (RFC 9110, 8.4). Pure; what comes out is bounded.

Requests do not ask for a coding, but some servers and proxies compress all the same, and the words of an error are in there.
"""

import zlib

MOST_CODINGS = 4
"""Codings that are undone at most, one after the other."""

_GZIP = zlib.MAX_WBITS | 16
_ZLIB = zlib.MAX_WBITS


def decoded(body: bytes, codings: str, most: int) -> tuple[bytes, str]:
    """Return the first `most` bytes of a body without its codings, and a note on what could not be undone, mostly empty."""
    names = [name for name in codings.lower().replace(" ", "").split(",") if name not in {"", "identity"}]
    if not body:
        return body, ""
    if len(names) > MOST_CODINGS:
        return body, f"the response has {len(names)} codings"
    for name in reversed(names):
        if name in {"gzip", "x-gzip"}:
            window = _GZIP
        elif name == "deflate":
            # RFC 9110 means zlib's format; some servers send the bare stream.
            window = _ZLIB if _is_zlib(body) else -_ZLIB
        else:
            # The name is the server's: it may be anything.
            return body, "the response has a coding that vdevice does not know"
        try:
            body = zlib.decompressobj(window).decompress(body, most)
        except zlib.error:
            return body, f"the response is not {name}, as it says"
    return body, ""


def _is_zlib(body: bytes) -> bool:
    # RFC 1950, 2.2: method 8 in the low half of the first byte, and the two bytes are a multiple of 31.
    return body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
