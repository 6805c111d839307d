"""One HTTP/1.1 response out of a stream of bytes (RFC 9112), parsed by httptools, which is Node's llhttp.

Pure: whatever pieces the bytes come in, the same response. Only the beginning of a body is kept.

The parser is strict first, and only what it takes without a complaint leaves its connection usable. What it does not
take is read once more with the head repaired, as embedded devices need it: the response counts, its connection ends with
it, so that no byte of it can be taken for the next one's. Where that fails too, the status still counts: the server acted
on the request, and asking again would make it act twice.
"""

import httptools
import msgspec

from vdevice.dispatch.repair import HeadRepair

MOST_BODY = 65_536
"""Bytes of a body that are read so that its connection can be used again; a longer one ends the response there."""

MOST_HEAD = 65_536
"""Bytes of status line, headers and trailers that are read at most."""

FINAL = range(200, 600)
"""Statuses that end a request (RFC 9110, 15); those below 200 are interim, others are none."""

BROKE_OFF = "the response broke off"
TOO_LATE = "the response did not end in time"

_FRAME_TYPES = {4: "SETTINGS", 7: "GOAWAY"}


class ResponseError(Exception):
    """Bytes that are no HTTP response; the text says in plain words what they are."""


class Response(msgspec.Struct, frozen=True):
    """A response; header names are in lower case, `reusable` tells whether its connection can carry another request.

    `note` says what was wrong with a response that counts all the same; empty for nearly all.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    reusable: bool
    note: str = ""


class ResponseReader:
    """Takes the bytes of a response; `feed`, `end` and `cut` return it once it is whole. All raise ResponseError.

    `begin` prepares it for the next response of the same connection, where the last one was `reusable`.
    """

    def __init__(self) -> None:
        self._repair: HeadRepair | None = None
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Forget the response before."""
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._response: Response | None = None
        self._extra = False
        self.is_twice = False
        """Whether a second final response, which nobody asked for, came with the first."""
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> Response | None:
        """Take bytes as they came."""
        body_size = self._size
        try:
            self._parser.feed_data(data if self._repair is None else self._repair.feed(data))
        except httptools.HttpParserUpgrade:
            self._extra = True
        except httptools.HttpParserError as error:
            # After a whole response it is bytes that nobody asked for: the response counts, its connection does not.
            if self._response is None and self._repair is None:
                return self._again(data)
            if self._response is None:
                self._pieces.append(data)
                return self._broken(f"the response is not HTTP ({error})")
            self._extra = True
        if self._response is not None:
            response = self._response if 200 <= self._response.status < 600 else checked(self._response)
            return msgspec.structs.replace(response, reusable=False) if self._extra else response
        self._pieces.append(data)
        self._head_size += len(data) - (self._size - body_size)
        if self._size >= MOST_BODY:
            return checked(self._whole(reusable=False))
        if self._head_size > MOST_HEAD + self._size:
            return self._broken("the head of the response is too long")
        return None

    def end(self) -> Response | None:
        """Take the end of the stream: it ends a body without a length; None where not one byte had come."""
        chunked = "chunked" in self._headers.get("transfer-encoding", "").lower()
        if self._status and not chunked and "content-length" not in self._headers:
            return checked(self._whole(reusable=False))
        return self._broken(BROKE_OFF) if self._pieces else None

    def cut(self) -> Response | None:
        """End a response whose time is over; None where not even its status has come."""
        try:
            return self._broken(TOO_LATE)
        except ResponseError:
            return None

    def _again(self, data: bytes) -> Response | None:
        """Read all that came once more, leniently."""
        seen = b"".join([*self._pieces, data])
        self.begin()
        self._repair = HeadRepair()
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_data_after_close=True,
            lenient_optional_cr_before_lf=True,
            lenient_optional_crlf_after_chunk=True,
            lenient_spaces_after_chunk_size=True,
        )
        return self.feed(seen)

    def _broken(self, why: str) -> Response:
        """Return what counts of a response that does not go on: its status. Raises ResponseError where there is none."""
        seen = b"".join(self._pieces)
        status = self._status or (self._repair or HeadRepair.of(seen)).status
        if status in FINAL:
            return Response(status, self._headers, b"".join(self._body)[:MOST_BODY], reusable=False, note=why)
        raise ResponseError(what_it_is(seen) or why)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Begin a response, or one behind another that nobody asked for."""
        self._extra = self._response is not None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; of a repeated one the first, and none that comes behind the body."""
        if not self._status:
            try:
                text = value.decode()
            except UnicodeDecodeError:
                text = value.decode("latin-1")
            self._headers.setdefault(name.decode("ascii", "replace").lower(), text)

    def on_headers_complete(self) -> None:
        """Note the status; an interim response (1xx) is forgotten when it is complete."""
        if self._response is None:
            self._status = self._parser.get_status_code()
        elif self._parser.get_status_code() in FINAL:
            self.is_twice = True

    def on_body(self, part: bytes) -> None:
        """Keep the beginning of the body."""
        if self._size < MOST_BODY and self._response is None:
            self._body.append(part)
        self._size += len(part)

    def on_message_complete(self) -> None:
        """End the response."""
        if self._response is not None:
            return
        if 100 <= self._status < 200 and self._status != 101:
            self._status = 0
            self._headers.clear()
            return
        self._response = self._whole(reusable=self._repair is None and self._parser.should_keep_alive())

    def _whole(self, *, reusable: bool) -> Response:
        return Response(self._status, self._headers, b"".join(self._body)[:MOST_BODY], reusable)


def checked(response: Response) -> Response:
    """Return a response whose status is one. Raises ResponseError."""
    if response.status in FINAL:
        return response
    if response.status == 101:
        raise ResponseError("the response changes the protocol (status 101), which nobody asked for")
    raise ResponseError(f"{response.status} is no HTTP status: they go from 100 to 599")


def what_it_is(seen: bytes) -> str:
    """Return in words what else a server speaks that does not speak HTTP/1.1; empty where that is not known."""
    # RFC 9113, 4.1: length, type, flags, stream 0.
    if len(seen) >= 9 and seen[3] in _FRAME_TYPES and seen[5:9] == bytes(4):
        return "the server speaks HTTP/2 only, which vdevice does not: let it speak HTTP/1.1 as well"
    # RFC 8446, 5.1: an alert, or a handshake, of TLS.
    if seen[:2] in {b"\x15\x03", b"\x16\x03"}:
        return "the server speaks TLS on this port: write https:// in the URL"
    return ""
