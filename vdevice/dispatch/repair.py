"""The head of a response as embedded devices send it, written anew as RFC 9112 wants it. Pure.

Taken are lines that end in LF only, blanks before the colon, folded lines, lines without a colon, several or wrong lengths.
A connection whose response needed this carries no further request.
"""

import re

_STATUS_LINE = re.compile(rb"HTTP/[0-9](?:\.[0-9])?[ \t]+([0-9]{3})(?![0-9])", re.IGNORECASE)
_HEAD_END = re.compile(rb"\n[ \t]*\r?\n")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_BEGIN = b"HTTP/"

MOST_BEFORE_STATUS = 32
"""Bytes within which the status must have come."""

MOST_DIGITS = 18
"""Digits of a length that are taken: 18 fit into 64 bits."""


class HeadRepair:
    """Takes the bytes of a stream and returns them with heads repaired, once each is whole; interim responses are left out."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._searched = 0
        self._in_body = False
        self.status = 0
        """Status of the last head that has begun, 0 where its status line has not come."""

    @classmethod
    def of(cls, seen: bytes) -> "HeadRepair":
        """Return one that has taken these bytes."""
        repair = cls()
        repair.feed(seen)
        return repair

    def feed(self, data: bytes) -> bytes:
        """Return what goes on to the parser: nothing until the head is whole, all where it is none of HTTP."""
        if self._in_body:
            return data
        self._head += data
        # What was searched is not searched again: the head may come byte by byte.
        while self._begins() and (end := _HEAD_END.search(self._head, self._searched)):
            status, head, rest = self.status, bytes(self._head[: end.start()]), bytes(self._head[end.end() :])
            if status == 101 or not 100 <= status < 200:
                return self._pass_on(repaired(status, head) + rest)
            self._head, self._searched, self.status = bytearray(rest), 0, 0
        self._searched = max(self._searched, self._head.rfind(b"\n", self._searched))
        return b"" if self.status or self._may_begin() else self._pass_on(bytes(self._head))

    def _begins(self) -> bool:
        """Tell whether the status line has come."""
        if not self.status:
            self._head = self._head.lstrip()
            found = _STATUS_LINE.match(self._head)
            self.status = int(found[1]) if found else 0
        return self.status > 0

    def _may_begin(self) -> bool:
        begun = bytes(self._head[: len(_BEGIN)]).upper()
        return _BEGIN.startswith(begun) and len(self._head) < MOST_BEFORE_STATUS and b"\n" not in self._head

    def _pass_on(self, data: bytes) -> bytes:
        self._in_body = True
        self._head.clear()
        return data


def repaired(status: int, head: bytes) -> bytes:
    """Return a head that a strict parser takes, from the lines of one that has this status."""
    fields: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\n")[1:]:
        if line[:1] in {b" ", b"\t"}:
            if fields:
                fields[-1] = (fields[-1][0], fields[-1][1] + b" " + line.strip())
            continue
        name, colon, value = line.partition(b":")
        if colon and _NAME.fullmatch(name.strip()):
            fields.append((name.strip(), value))
    lines = [b"HTTP/1.1 %d X" % status, *_framing(fields)]
    lines += [name + b": " + value.translate(None, b"\r").strip() for name, value in fields if not _frames(name)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _frames(name: bytes) -> bool:
    return name.lower() in {b"content-length", b"transfer-encoding", b"connection", b"upgrade"}


def _framing(fields: list[tuple[bytes, bytes]]) -> list[bytes]:
    """Return how the body is framed: in chunks, else by the shortest of the lengths, else by the end of the connection."""
    if any(name.lower() == b"transfer-encoding" and b"chunked" in value.lower() for name, value in fields):
        return [b"Connection: close", b"Transfer-Encoding: chunked"]
    lengths = [
        int(length)
        for name, value in fields
        if name.lower() == b"content-length"
        for length in value.replace(b"\r", b"").replace(b" ", b"").split(b",")
        if length.isdigit() and len(length) <= MOST_DIGITS
    ]
    return [b"Connection: close", *([b"Content-Length: %d" % min(lengths)] if lengths else [])]
