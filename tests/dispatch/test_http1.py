import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.dispatch.http1 import MOST_BODY, Response, ResponseError, ResponseReader

ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a b \r\n\r\nok", 200, b"ok", True),
    "empty": (b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", 202, b"", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
        200,
        b"abcde",
        True,
    ),
    "extra bytes": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxmore", 200, b"x", False),
    "a second answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx" * 2, 200, b"x", False),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", True),
}


def read(pieces: list[bytes]) -> Response | None:
    reader = ResponseReader()
    for piece in pieces:
        answer = reader.feed(piece)
        if answer:
            return answer
    return None


@pytest.mark.parametrize(("stream", "status", "body", "reusable"), ANSWERS.values(), ids=ANSWERS.keys())
def test_any_split_gives_the_same_answer(stream: bytes, status: int, body: bytes, reusable: bool) -> None:  # noqa: FBT001
    whole = read([stream])
    assert whole is not None
    assert (whole.status, whole.body, whole.reusable) == (status, body, reusable)
    bytewise = read([stream[index : index + 1] for index in range(len(stream))])
    assert bytewise is not None
    assert (bytewise.status, bytewise.body) == (status, body)
    for cut in range(len(stream)):
        split = read([stream[:cut], stream[cut:]])
        assert split is not None
        assert (split.status, split.body) == (status, body)
        if reusable:
            assert split.reusable
            assert read([stream[:cut]]) is None


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.lists(st.integers(1, 40), max_size=30))
def test_chunked_bodies_come_back_whole(chunks: list[bytes], cuts: list[int]) -> None:
    stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    pieces, place = [], 0
    for cut in [*cuts, len(stream)]:
        pieces.append(stream[place : place + cut])
        place += cut
    answer = read(pieces)
    assert answer is not None
    assert answer.body == b"".join(chunks)
    assert answer.reusable


@given(st.binary(max_size=300))
def test_noise_is_an_answer_or_an_error_and_nothing_else(noise: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        reader = ResponseReader()
        try:
            if not reader.feed(prefix + noise):
                reader.end()
        except ResponseError:
            pass


@pytest.mark.parametrize("header", [b"", b"Transfer-Encoding: gzip\r\n"])
def test_a_body_without_a_length_ends_with_the_stream(header: bytes) -> None:
    reader = ResponseReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n" + header + b"\r\nabc") is None
    answer = reader.end()
    assert answer is not None
    assert (answer.body, answer.reusable) == (b"abc", False)


def test_an_endless_body_ends_where_enough_was_read() -> None:
    for head in (b"", b"Content-Length: 10000000000\r\n", b"Transfer-Encoding: chunked\r\n"):
        reader = ResponseReader()
        answer = reader.feed(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + (b"fffffff\r\n" if b"chunked" in head else b""))
        for _ in range(100):
            answer = answer or reader.feed(b"x" * 1000)
        assert answer is not None
        assert len(answer.body) == MOST_BODY
        assert not answer.reusable


@pytest.mark.parametrize(
    "stream",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000,
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_an_error(stream: bytes) -> None:
    with pytest.raises(ResponseError):
        ResponseReader().feed(stream)


def test_nothing_at_all_is_a_closed_connection_and_half_an_answer_an_error() -> None:
    assert ResponseReader().end() is None
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 2")
    with pytest.raises(ResponseError):
        reader.end()
