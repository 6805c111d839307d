"""Whatever a server sends, an attempt has exactly one outcome, soon, in little memory, and a 2xx is never sent again."""

import asyncio
import contextlib
import itertools
import random
import re
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.responses import draw
from tests.seeds import lots
from tests.support import event_of, target_of
from vdevice.config.schema import Delivery
from vdevice.dispatch.content_coding import decoded
from vdevice.dispatch.http1 import FINAL, MOST_BODY, MOST_HEAD, Response, ResponseError, ResponseReader
from vdevice.dispatch.sender import Sender, judged
from vdevice.model import Outcome, Verdict
from vdevice.webhooks import http

_CONFIG, TARGET = target_of("")
# What is behind interim responses is left out: an independent look at the beginning only.
_ACCEPTED = re.compile(rb"HTTP/1\.[01] 2[0-9][0-9][ \r\n]")


def read(pieces: list[bytes]) -> Response | None:
    """Return what is read of a stream in these pieces that ends behind them; None where nothing was there."""
    reader = ResponseReader()
    for piece in pieces:
        if response := reader.feed(piece):
            return response
    return reader.end()


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(stream) + 1) for place in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def result(pieces: list[bytes]) -> tuple[int, bytes] | str:
    """Return status and body, or that there was no response."""
    try:
        response = read(pieces)
    except ResponseError:
        return "none"
    if response is None:
        return "none"
    assert response.status in FINAL
    assert len(response.body) <= MOST_BODY
    str(response.headers).encode()
    outcome = judged(TARGET, response)
    outcome.text.encode()
    if 200 <= response.status < 300:
        assert outcome.verdict is Verdict.DELIVERED
    return response.status, response.body


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64), st.lists(st.integers(0, 2**20), max_size=6))
def test_any_split_of_any_response_gives_the_same(seed: int, cuts: list[int]) -> None:
    stream = draw(random.Random(seed))
    whole = result([stream])
    split = result(cut(stream, cuts))
    if len(stream) < MOST_HEAD:
        assert (split == "none") == (whole == "none")
        if whole != "none":
            assert split[0] == whole[0]
    if _ACCEPTED.match(stream):
        assert split != "none"


def clean(chance: random.Random) -> bytes:
    """Return a response as it should be, now and then with something behind it."""
    body = chance.randbytes(chance.randrange(50))
    if chance.random() < 0.5:
        stream = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    else:
        chunk = b"%x\r\n" % len(body) + body + b"\r\n" if body else b""
        stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
    return stream + chance.choice([b"", b"", b"\r\n", stream, b"x"])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64), st.booleans())
def test_only_a_response_that_ends_with_the_last_byte_leaves_its_connection_usable(seed: int, drawn: bool) -> None:  # noqa: FBT001
    chance = random.Random(seed)
    stream = draw(chance) if drawn else clean(chance)
    with contextlib.suppress(ResponseError):
        response = ResponseReader().feed(stream)
        if response and response.reusable:
            assert not response.note
            before = ResponseReader().feed(stream[:-1])
            # Line breaks behind it are left out before the next one, and harm nothing.
            assert before is None or not before.reusable or stream.endswith((b"\r", b"\n"))
            more = ResponseReader().feed(stream + b"x")
            assert more is not None
            assert not more.reusable


@pytest.mark.parametrize(
    "tail", [b"", b" OK\r\n", b" OK\r\nContent-Length: 1\r\n\r\nx", b"\n\n", b" OK\r\nbad\r\n\r\n"]
)
def test_every_status_is_final_interim_or_none(tail: bytes) -> None:
    for status in range(1000):
        found = result([b"HTTP/1.1 %03d" % status + tail])
        assert found == "none" if status not in FINAL else found[0] == status, status


def test_a_response_that_closes_at_any_byte_counts_from_its_status_on() -> None:
    for stream in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nTransfer-Encoding : chunked\n\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ):
        known = stream.index(b"200") + 3
        for end in range(len(stream) + 1):
            found = result([stream[:end]])
            assert found == "none" if end < known else found[0] == 200, stream[:end]


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\n\n"]))
def test_noise_is_a_response_or_none(noise: bytes, prefix: bytes) -> None:
    found = result([prefix + noise])
    if prefix.startswith(b"HTTP/1.1 200"):
        assert found[0] == 200


@settings(deadline=None)
@given(st.binary(max_size=2_000), st.text(max_size=20) | st.sampled_from(["gzip", "deflate", "gzip, gzip", "br"]))
def test_any_coding_of_any_bytes_is_bounded(body: bytes, coding: str) -> None:
    assert len(decoded(body, coding, 100)[0]) <= max(100, len(body))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\n"] + [b"x"] * 200_000,
        [b"HTTP/1.1 200 OK\n"] + [b"\n "] * 100_000,
        [b"HTTP/1.1 200 OK\r\nbad\r\n"] + [b"x"] * 200_000,
        [b"HTTP/1.1 200 OK\r\nbad\r\n"] + [b"x\n"] * 100_000,
        [b"\n"] * 200_000,
        [b"HTTP/1.1 100 C\n\n"] * 20_000,
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] + [b"1\r\nx\r\n"] * 100_000,
        [b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"] + [b"1\r\nx\r\n"] * 100_000,
    ],
    ids=[
        "head",
        "blank lines",
        "line behind a bad one",
        "bad lines",
        "nothing",
        "interim",
        "chunks",
        "repaired chunks",
    ],
)
def test_what_trickles_without_end_costs_a_bounded_amount(pieces: list[bytes]) -> None:
    tracemalloc.start()
    started = time.process_time()
    result(pieces)
    # A reader that looks at all it has for each byte takes minutes.
    assert time.process_time() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


async def test_each_drawn_response_is_one_outcome_and_no_exception() -> None:
    """Over real sockets: a connection is used again after a clean response only, and then it carries the next one's."""
    chance = lots("hostile responses")
    served: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\non")
            served.append(draw(chance))
            for piece in cut(served[-1], [chance.randrange(2**20) for _ in range(chance.randrange(3))]):
                writer.write(piece)
                await writer.drain()
        writer.close()

    outcomes: list[Outcome] = []
    server = await asyncio.start_server(client, "127.0.0.1", 0)
    async with server, Sender(Delivery()) as sender:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/p"
        config, target = target_of(
            f'url = "{url}"\npayload = "on"\ntimeout = 5\nfollow_redirects = true\nsuccess = ["2xx"]'
        )
        for _ in range(300):
            before = len(served)
            outcome = await sender.send(target, http.build(config, target, event_of("x"), 0))
            outcomes.append(outcome)
            outcome.text.encode()
            if len(served) == before + 1 and _ACCEPTED.match(served[-1]) and len(served[-1]) < MOST_HEAD:
                assert outcome.verdict is Verdict.DELIVERED, served[-1][:300]
            assert len(served) <= before + 6
    assert {outcome.verdict for outcome in outcomes} == set(Verdict)


@pytest.mark.parametrize(
    ("headers", "body", "note"),
    [({"content-encoding": "br"}, b"\x0b\x00\x80ok\x03", ""), ({}, b"o", "the response broke off")],
    ids=["in a coding that is not known", "broken off"],
)
def test_what_cannot_be_read_of_a_services_success_is_a_note(headers: dict[str, str], body: bytes, note: str) -> None:
    _config, slack = target_of('method = "slack"\nurl = "https://hooks.slack.com/services/T/B/x"\npayload = "$VALUE"')
    outcome = judged(slack, Response(200, headers, body, reusable=False, note=note))
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.text
