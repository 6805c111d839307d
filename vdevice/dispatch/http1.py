"""One HTTP/1.1 answer out of a stream of bytes (RFC 9112), parsed by httptools, which is Node's llhttp.

Pure: whatever pieces the bytes come in, the same answer. Only the beginning of a body is kept.
"""

import httptools
import msgspec

MOST_BODY = 65_536
"""Bytes of a body that are read so that its connection can be used again; a longer one ends the answer there."""

MOST_HEAD = 65_536
"""Bytes of status line, headers and trailers that are read at most."""


class AnswerError(Exception):
    """Bytes that are no HTTP answer."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer; header names are in lower case, `reusable` tells whether its connection can carry another request."""

    status: int
    headers: dict[str, str]
    body: bytes
    reusable: bool


class AnswerReader:
    """Takes the bytes of an answer; `feed` and `end` return it once it is whole. Both raise AnswerError.

    `begin` prepares it for the next answer of the same connection, where the last one was `reusable`.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Forget the answer before."""
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._answer: Answer | None = None
        self._extra = False

    def feed(self, data: bytes) -> Answer | None:
        """Take bytes as they came."""
        body_size = self._size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise AnswerError("the answer changes the protocol") from None
        except httptools.HttpParserError as error:
            # After a whole answer it is bytes that nobody asked for: the answer counts, its connection does not.
            if self._answer is None:
                raise AnswerError(f"the answer is not HTTP ({error})") from None
            self._extra = True
        if self._answer is None:
            self._head_size += len(data) - (self._size - body_size)
            if self._size >= MOST_BODY:
                return self._whole(reusable=False)
            if self._head_size > MOST_HEAD + self._size:
                raise AnswerError("the head of the answer is too long")
            return None
        return msgspec.structs.replace(self._answer, reusable=False) if self._extra else self._answer

    def end(self) -> Answer | None:
        """Take the end of the stream: it ends a body without a length; None where not one byte had come."""
        chunked = "chunked" in self._headers.get("transfer-encoding", "").lower()
        if self._status and not chunked and "content-length" not in self._headers:
            return self._whole(reusable=False)
        if self._status or self._head_size:
            raise AnswerError("the answer broke off")
        return None

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Begin an answer, or one behind another that nobody asked for."""
        self._extra = self._answer is not None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; of a repeated one the first."""
        self._headers.setdefault(name.decode("ascii", "replace").lower(), value.decode("utf-8", "replace"))

    def on_headers_complete(self) -> None:
        """Note the status; an interim answer (1xx) is forgotten when it is complete."""
        if self._answer is None:
            self._status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        """Keep the beginning of the body."""
        if self._size < MOST_BODY and self._answer is None:
            self._body.append(part)
        self._size += len(part)

    def on_message_complete(self) -> None:
        """End the answer."""
        if self._answer is not None:
            return
        if 100 <= self._status < 200:
            self._status = 0
            self._headers.clear()
            return
        self._answer = self._whole(reusable=self._parser.should_keep_alive())

    def _whole(self, *, reusable: bool) -> Answer:
        return Answer(self._status, self._headers, b"".join(self._body)[:MOST_BODY], reusable)
