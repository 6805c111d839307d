"""Responses as no server should send them, drawn anew each time: what a device must take without harm.

`draw` returns the bytes that a receiver writes before it closes the connection. Most begin like HTTP, so that a reader
gets far enough to be hurt; some are clean, some are none at all.
"""

import functools
import gzip
import json
import sys
import unicodedata
import zlib
from collections.abc import Callable
from random import Random

LONGEST = 400_000
"""Bytes of a drawn response at most; what it promises may be far more."""

LINE_ENDS = (b"\r\n", b"\n", b"\r", b"\r\n\n", b"\n\r")
RETRY_AFTER = (
    "1",
    "0.5",
    "-1",
    "9" * 400,
    "1e400",
    "nan",
    "Wed, 99 Foo 2026 99:99:99 GMT",
    "Thu, 01 Jan 1970",
    "٣",
    "",
)
LOCATIONS = (
    "/a b",
    "/again",
    "//[::1",
    "http://[",
    "/\x00\x1b]0;x\x07",
    "/ä/\u202e\ud800",
    "http://169.254.169.254/latest",
    "http://user:secret@127.0.0.1/",
    "javascript:alert(1)",
    "/x\r\nX-Smuggled: 1",
    "?" + "q" * 9000,
    "http://127.0.0.1:99999/",
    "",
)
SERVICE_BODIES = (
    '{"message":"\\ud800"}',
    '{"ok":false,"error":"\\udfff channel_not_found"}',
    '{"id":"\\ud83d","message":null,"detailed_error":[{}]}',
    '{"error":{"message":"Message\\u0000Size\\u001bExceeded"}}',
    '{"title":1e400,"detail":NaN}',
    "[" * 20_000,
    '{"message":' * 5_000,
    '"' + "\\ud800" * 2_000 + '"',
    "ok",
    '{"ok":true}',
    "1",
    "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429",
)
NOT_HTTP = (
    b"",
    b"\r\n" * 1_000,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"220 mail.example ESMTP\r\n",
    b"<html>HTTP/0.9 has no head</html>",
    b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00",  # HTTP/2: SETTINGS
    b"\x15\x03\x01\x00\x02\x02\x46",  # TLS: an alert
    b"HTTP/",
    b"HTTP/1.1",
    b"HTTP/1.1 ",
    b"HTTP/1.1 2",
    b"HTTP/1.1 200",
    b"HTTP/3 200\r\n\r\n",
    b"http/1.1 200 ok\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"RTSP/1.0 200 OK\r\n\r\n",
)


@functools.cache
def samples() -> dict[str, list[str]]:
    """Return some characters of each Unicode category, surrogates and what is not assigned among them."""
    found: dict[str, list[str]] = {}
    for code in (*range(0x3000), *range(0x3000, sys.maxunicode + 1, 97), *range(0xD800, 0xE000, 64)):
        kept = found.setdefault(unicodedata.category(chr(code)), [])
        if len(kept) < 200:
            kept.append(chr(code))
    return found


def characters(random: Random, most: int = 200) -> str:
    """Return characters of every category, surrogates among them."""
    by_category = samples()
    return "".join(
        random.choice(by_category[random.choice(sorted(by_category))]) for _ in range(random.randrange(most))
    )


def text(random: Random, most: int = 200) -> bytes:
    """Return characters of every category in some encoding, which may hold them wrongly."""
    encoding = random.choice(["utf-8", "utf-8", "utf-8", "latin-1", "utf-16", "utf-16-le", "utf-7", "cp1252"])
    errors = "surrogatepass" if encoding.startswith(("utf-8", "utf-16")) else "replace"
    return characters(random, most).encode(encoding, errors)


def draw(random: Random) -> bytes:
    """Return one response, whole or cut anywhere, with whatever follows it."""
    if random.random() < 0.08:
        return random.choice([*NOT_HTTP, random.randbytes(random.randrange(2_000))])
    response = b"".join(_interim(random) for _ in range(random.choice([0, 0, 0, 0, 1, 3, 40])))
    response += _response(random)
    if random.random() < 0.08:
        response += random.choice([_response(random), b"\r\n", b"\x00", random.randbytes(50)])
    if random.random() < 0.15:
        response = response[: random.randrange(len(response) + 1)]
    if random.random() < 0.1:
        response = _damaged(response, random)
    return response[:LONGEST]


def _interim(random: Random) -> bytes:
    return b"HTTP/1.1 %d X\r\n%b\r\n" % (random.choice([100, 102, 103] * 9 + [101, 199]), _fields(random, b"\r\n", 2))


def _response(random: Random) -> bytes:
    end = b"\r\n" if random.random() < 0.7 else random.choice(LINE_ENDS)
    framing, body = random.choice(BODIES)(random)
    fields = [_fields(random, end, random.choice([0, 0, 0, 1, 3, 30])), _special(random, end)]
    fields += [field + end for field in framing]
    random.shuffle(fields)
    head = _status_line(random) + end + b"".join(fields)
    return head + (random.choice(LINE_ENDS) if random.random() < 0.05 else end) + body


def _status_line(random: Random) -> bytes:
    """Return a status line, of any status from 0 to 999, most often of one that counts."""
    version = random.choice([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1 "])
    status = b"%03d" % random.choice(
        [200, 200, 200, 202, 204, 301, 303, 307, 400, 404, 429, 500, random.randrange(1000)]
    )
    if random.random() < 0.05:
        status = random.choice([b"20", b"2000", b"+200", b"0200", b"2 00", b"\xb2\xb0\xb0", b""])
    return (
        version + b" " + status + random.choice([b" OK", b"", b" ", b" " + text(random, 30).translate(None, b"\r\n")])
    )


def _fields(random: Random, end: bytes, most: int) -> bytes:
    return b"".join(_field(random) + end for _ in range(random.randrange(most + 1)))


def _field(random: Random) -> bytes:
    value = text(random, 30)
    return random.choice(
        [
            b"X-Test: plain",
            b"Server: " + value,
            b"X-Test : blank before the colon",
            b"X-Test: folded\r\n and\r\n\tfolded again",
            b"a line without a colon",
            b": no name",
            b"X-\xc3\xa4: no token",
            b"X-Nul: a\x00b",
            value,
            value + b": " + value,
            b"Connection: " + random.choice([b"close", b"keep-alive", b"upgrade", value]),
            b"Keep-Alive: timeout=" + random.choice([b"5", b"0", b"-1", b"1e9", b"x", b"9" * 400]),
            b"Upgrade: h2c",
            b"Content-Type: " + random.choice([b"application/json", b"text/plain; charset=rot13", value]),
        ]
    )


def _special(random: Random, end: bytes) -> bytes:
    """Return a field that means something to whoever sent the request."""
    chance = random.random()
    if chance < 0.2:
        name, value = b"Retry-After", random.choice(RETRY_AFTER)
    elif chance < 0.25:
        name, value = b"X-RateLimit-Reset", random.choice(RETRY_AFTER)
    elif chance < 0.5:
        name, value = b"Location", random.choice(LOCATIONS)
    elif chance < 0.53:
        name, value = b"X-Huge", "h" * random.choice([8_000, 60_000, 70_000, 300_000])
    else:
        return b""
    return name + b": " + value.encode("utf-8", "surrogatepass") + end


def _content(random: Random) -> bytes:
    match random.randrange(9):
        case 0:
            return b""
        case 1 | 2:
            return b"ok"
        case 3:
            return random.choice(SERVICE_BODIES).encode()
        case 4:
            return text(random)
        case 5:
            return json.dumps({"message": characters(random)}).encode()
        case 6:
            return random.randbytes(random.randrange(3_000))
        case 7:
            return random.randbytes(100_000)
        case _:
            return b"x" * 65_536


def _plain(random: Random) -> tuple[list[bytes], bytes]:
    body = _content(random)
    return [b"Content-Length: %d" % len(body)], body


def _wrong_length(random: Random) -> tuple[list[bytes], bytes]:
    body = _content(random)
    right = b"%d" % len(body)
    lengths = [b"%d" % (len(body) + 10), b"1", b"-1", b"", b"0x10", b"9" * 30, b"10737418240", right + b", " + right]
    return [b"Content-Length: " + random.choice(lengths)], body


def _two_lengths(random: Random) -> tuple[list[bytes], bytes]:
    body = _content(random)
    other = len(body) + random.choice([0, 0, 1, -1])
    return [b"Content-Length: %d" % len(body), b"Content-Length: %d" % other], body


def _chunked(random: Random) -> tuple[list[bytes], bytes]:
    size = random.choice([b"%x", b"%X", b"%x;a=b", b"%x ", b"000%x"])
    parts = [_content(random)[:5_000] for _ in range(random.randrange(4))]
    body = b"".join(size % len(part) + b"\r\n" + part + b"\r\n" for part in parts if part)
    trailers = random.choice([b"", b"", b"X-Trailer: 1\r\n", b"Content-Length: 5\r\n", b"t" * 70_000])
    framing = [
        b"Transfer-Encoding: " + random.choice([b"chunked", b"chunked", b"Chunked", b"gzip, chunked", b"chunked, x"])
    ]
    if random.random() < 0.2:
        framing.append(b"Content-Length: %d" % len(body))
    return framing, body + random.choice(
        [b"0\r\n", b"0\r\n", b"0\r\n", b"", b"zz\r\n", b"fffffffffffffffff\r\n"]
    ) + trailers + b"\r\n"


def _compressed(random: Random) -> tuple[list[bytes], bytes]:
    body, coding = random.choice(
        [
            (gzip.compress(_content(random)), b"gzip"),
            (gzip.compress(gzip.compress(_content(random))), b"gzip, gzip"),
            (zlib.compress(_content(random)), b"deflate"),
            (zlib.compress(_content(random))[2:-4], b"deflate"),
            (_bomb(), b"gzip"),
            (gzip.compress(_bomb()), b"gzip, gzip"),
            (_content(random), random.choice([b"gzip", b"br", b"zstd", b"deflate", b"nonsense", b"gzip," * 500])),
            (gzip.compress(_content(random))[:-6], b"x-gzip"),
        ]
    )
    return [b"Content-Encoding: " + coding, b"Content-Length: %d" % len(body)], body


@functools.cache
def _bomb() -> bytes:
    """Return 100 MB of blanks in 100 KB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(b" " * 2**20) for _ in range(100)), packer.flush()])


def _until_the_end(random: Random) -> tuple[list[bytes], bytes]:
    return [], _content(random)


def _endless(_random: Random) -> tuple[list[bytes], bytes]:
    return [b"Content-Length: 10737418240"], b"x" * 200_000


BODIES: tuple[Callable[[Random], tuple[list[bytes], bytes]], ...] = (
    _plain,
    _plain,
    _plain,
    _wrong_length,
    _two_lengths,
    _chunked,
    _chunked,
    _compressed,
    _until_the_end,
    _endless,
)
"""Each returns the header fields that frame a body, and the body as it goes on the wire."""


def _damaged(response: bytes, random: Random) -> bytes:
    """Return it with some bytes changed, left out or doubled, most of them in its head."""
    damaged = bytearray(response)
    for _ in range(random.randrange(1, 5)):
        place = random.randrange(min(len(damaged), random.choice([30, 300, 100_000])) + 1)
        damaged[place : place + random.randrange(2)] = random.randbytes(random.randrange(3))
    return bytes(damaged)
