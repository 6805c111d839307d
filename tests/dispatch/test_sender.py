"""One attempt against real servers: what each response, closed connection and redirect means."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import trustme

from tests.support import OK, Recorder, answer, event_of, target_of, until
from vdevice.config import Target
from vdevice.config.load import parse
from vdevice.dispatch import connection
from vdevice.dispatch.sender import Sender
from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import http
from vdevice.webhooks.request import Request

DELIVERED, RETRY, GIVE_UP = Verdict.DELIVERED, Verdict.RETRY, Verdict.GIVE_UP


def asking(url: str, settings: str = "", folder: Path = Path()) -> tuple[Target, Request]:
    config, target = target_of(f'url = "{url}"\n{settings}', folder)
    return target, http.build(config, target, event_of("on"), 0)


@contextlib.asynccontextmanager
async def sender(settings: str = "") -> AsyncIterator[Sender]:
    async with Sender(parse(f"[delivery]\n{settings}", Path()).delivery) as running:
        yield running


async def send(url: str, settings: str = "", delivery: str = "", folder: Path = Path()) -> Outcome:
    async with sender(delivery) as running:
        return await running.send(*asking(url, settings, folder))


@contextlib.asynccontextmanager
async def speaks(response: bytes, *, first: bool = False) -> AsyncIterator[str]:
    """Serve these bytes to each connection, then close it; `first`: before anything was asked."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if not first:
                await reader.readuntil(b"\r\n\r\n")
            writer.write(response)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/p"


EMBEDDED = {
    "LF line ends": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "LF line ends, until closed": b"HTTP/1.0 200 OK\nServer: relay\n\nok",
    "CR LF, then two LF (Axis)": b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\nok",
    "blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "folded below the status line": b"HTTP/1.1 200 OK\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 2\r\n\r\nok",
    "no name": b"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok",
    "name in UTF-8": "HTTP/1.1 200 OK\r\nX-Größe: 1\r\nContent-Length: 2\r\n\r\nok".encode(),
    "controls in a value": b"HTTP/1.1 200 OK\r\nX: a\0b\x1b\r\nContent-Length: 2\r\n\r\nok",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nok",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked and length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "blank behind a chunk's size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n",
    "no length at all": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "two blanks before the status": b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
    "interim with LF": b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "interim responses": b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 H\r\nLink: x\r\n\r\n" + OK,
    "gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"ok"),
}


@pytest.mark.parametrize("response", EMBEDDED.values(), ids=EMBEDDED.keys())
async def test_what_embedded_devices_send_is_a_response(response: bytes) -> None:
    async with speaks(response) as url:
        outcome = await send(url)
    assert (outcome.verdict, outcome.http_status, outcome.answer) == (DELIVERED, 200, b"ok")
    assert outcome.text == ""


BROKEN = {
    "chunks with LF": b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n",
    "shorter than its length": b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nha",
    "chunked, broken off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
    "chunks are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nha",
    "head broken off": b"HTTP/1.1 200 OK\r\nContent-Le",
    "nothing behind the status": b"HTTP/1.1 200",
    "a head without an end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    "line ends of CR": b"HTTP/1.1 200 OK\rContent-Length: 2\r\rha",
    "a gzip that is none": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nha",
    "a coding that nobody knows": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nha",
}


@pytest.mark.parametrize("response", BROKEN.values(), ids=BROKEN.keys())
async def test_after_a_final_status_line_a_broken_rest_is_a_note(response: bytes) -> None:
    async with speaks(response) as url:
        outcome = await send(url)
        assert (outcome.verdict, outcome.http_status) == (DELIVERED, 200)
        assert outcome.text
    async with speaks(response.replace(b"200", b"503")) as url:
        outcome = await send(url)
        assert (outcome.verdict, outcome.error, outcome.http_status) == (RETRY, ErrorCode.HTTP, 503)
        assert outcome.text.startswith("HTTP 503")


async def test_a_body_that_never_ends_is_delivered_when_the_time_is_over(recorder: Recorder) -> None:
    recorder.reply = lambda _n: b"HTTP/1.1 200 OK\r\n\r\nha"
    outcome = await send(recorder.url, "timeout = 0.2")
    assert (outcome.verdict, outcome.http_status, outcome.answer) == (DELIVERED, 200, b"ha")
    assert "in time" in outcome.text


@pytest.mark.parametrize("status", ["000", "099", "600", "999"])
async def test_a_status_that_is_none_is_no_response(status: str) -> None:
    async with speaks(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as url:
        outcome = await send(url)
    assert (outcome.verdict, outcome.error, outcome.http_status) == (RETRY, ErrorCode.CONNECT, 0)
    assert str(int(status)) in outcome.text


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff", "HTTP/2"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "https://"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "101"),
        (b"", "closed before a response"),
    ],
    ids=["HTTP/2", "TLS", "SSH", "101", "nothing"],
)
@pytest.mark.parametrize("first", [False, True])
async def test_what_is_no_response_is_said_in_plain_words(response: bytes, words: str, first: bool) -> None:  # noqa: FBT001
    async with speaks(response, first=first) as url:
        started = asyncio.get_running_loop().time()
        outcome = await send(url)
        assert asyncio.get_running_loop().time() - started < 5, "noticed at the deadline only"
    assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.CONNECT)
    if not (first and words.startswith(("101", "closed"))):
        assert words in outcome.text


async def test_a_zip_bomb_is_unpacked_as_far_as_is_kept() -> None:
    bomb = gzip.compress(gzip.compress(b"a" * 50_000_000))
    async with speaks(b"HTTP/1.1 500 No\r\nContent-Encoding: gzip, gzip\r\n\r\n" + bomb) as url:
        outcome = await send(url)
    assert outcome.answer == b"a" * 500


async def test_what_was_sent_on_a_kept_connection_is_never_sent_again_by_itself(recorder: Recorder) -> None:
    recorder.reply = lambda n: OK if n == 0 else b""
    async with sender() as running:
        assert (await running.send(*asking(recorder.url))).verdict is DELIVERED
        outcome = await running.send(*asking(recorder.url, "attempts = 1"))
    assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.CONNECT)
    assert len(recorder.requests) == 2


async def test_through_a_proxy_nothing_is_sent_again_by_itself_either(recorder: Recorder) -> None:
    recorder.reply = lambda n: OK if n == 0 else b""
    settings = f'method = "put"\npayload = "on"\nproxy = "{recorder.url}"'
    async with sender() as running:
        assert (await running.send(*asking("http://device.example/p", settings))).verdict is DELIVERED
        outcome = await running.send(*asking("http://device.example/p", settings))
    assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.CONNECT)
    assert len(recorder.requests) == 2


async def test_through_a_proxy_a_broken_rest_is_a_note_too() -> None:
    async with speaks(BROKEN["shorter than its length"]) as url:
        outcome = await send("http://device.example/p", f'proxy = "{url.removesuffix("/p")}"')
    assert (outcome.verdict, outcome.http_status, outcome.answer) == (DELIVERED, 200, b"ha")
    assert outcome.text


async def test_a_connection_that_its_server_has_closed_is_not_used(recorder: Recorder) -> None:
    async with sender() as running:
        assert (await running.send(*asking(recorder.url))).verdict is DELIVERED
        for writer in recorder._writers:
            # The end of the stream is in the kernel; the loop has not seen it yet.
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        outcome = await running.send(*asking(recorder.url))
    assert outcome.verdict is DELIVERED
    assert len(recorder.requests) == 2


async def test_a_late_second_response_is_not_taken_for_the_next_ones(recorder: Recorder) -> None:
    recorder.reply = lambda n: answer(200) if n == 0 else answer(503)
    async with sender() as running:
        assert (await running.send(*asking(recorder.url))).http_status == 200
        for writer in recorder._writers:
            writer.write(answer(202, "late"))
        outcome = await running.send(*asking(recorder.url))
    assert outcome.http_status == 503
    assert len(recorder.requests) == 2


async def test_a_server_that_responds_twice_gets_a_connection_for_each_request(recorder: Recorder) -> None:
    recorder.reply = lambda n: answer(200) if n < 2 else answer(503)
    async with sender() as running:
        await running.send(*asking(recorder.url))
        for writer in recorder._writers:
            writer.write(answer(200, "late"))
        await until(lambda: not recorder._writers)
        await running.send(*asking(recorder.url))
        await until(lambda: not recorder._writers)
        # Now it would come too late to be seen: behind the next request.
        assert (await running.send(*asking(recorder.url))).http_status == 503
    assert len(recorder.requests) == 3


@pytest.mark.parametrize("behind", [answer(200, "late") + answer(503), b"\0" + answer(503)], ids=["a response", "junk"])
async def test_what_came_behind_a_response_and_with_the_next_one_is_seen_too(recorder: Recorder, behind: bytes) -> None:
    recorder.reply = lambda n: behind if n == 1 else answer(200)
    async with sender() as running:
        for _ in range(2):
            # The second one gets what came late behind the first: nobody can tell.
            await running.send(*asking(recorder.url))
        await until(lambda: not recorder._writers)
        for _ in range(2):
            assert (await running.send(*asking(recorder.url))).http_status == 200
            await until(lambda: not recorder._writers)
    assert len(recorder.requests) == 4


async def test_a_server_that_ends_an_idle_connection_with_a_408_is_trusted(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LATE", 0)
    async with sender() as running:
        await running.send(*asking(recorder.url))
        for writer in recorder._writers:
            writer.write(answer(408, Connection="close"))
        await until(lambda: not recorder._writers)
        for _ in range(2):
            assert (await running.send(*asking(recorder.url))).http_status == 200
        assert len(recorder._writers) == 1


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_header_bytes_that_are_no_text_are_text_behind(recorder: Recorder, through_proxy: bool) -> None:  # noqa: FBT001
    recorder.reply = lambda _n: (
        b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nX: \xff\xed\xa0\x80\r\nLocation: /\xff\xed\xa0\x80\r\n\r\n"
    )
    proxy = f'proxy = "{recorder.url}"' if through_proxy else ""
    async with sender() as running:
        headers, outcome = await running.answer(*asking(f"{recorder.url}/p", proxy))
    assert outcome.verdict is GIVE_UP
    f"{headers} {outcome.text}".encode()


async def test_a_host_name_that_no_name_server_can_be_asked_for_is_a_dns_error() -> None:
    target, request = asking("http://a.example/")
    async with sender() as running:
        outcome = await running.send(target, msgspec.structs.replace(request, url=f"http://{'a' * 70}.example/"))
    assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.DNS)


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_a_request_that_cannot_be_written_gives_up(recorder: Recorder, through_proxy: bool) -> None:  # noqa: FBT001
    target, request = asking(recorder.url, f'proxy = "{recorder.url}"' if through_proxy else "")
    async with sender() as running:
        outcome = await running.send(target, Request("POST", request.url, [("Host", "x"), ("X", "\ud800")], b""))
    assert (outcome.verdict, outcome.error) == (GIVE_UP, ErrorCode.BUILD)
    assert recorder.requests == []


async def test_a_connection_is_given_up_before_its_server_does(recorder: Recorder) -> None:
    recorder.reply = lambda _n: answer(200, Keep_Alive="timeout=0")
    async with sender() as running:
        for _ in range(2):
            await running.send(*asking(recorder.url))
            await until(lambda: not recorder._writers)
    assert len(recorder.requests) == 2


@pytest.mark.parametrize("content", [None, b"-----BEGIN CERTIFICATE-----\nhalf a file"])
async def test_a_certificate_file_that_vanished_or_is_half_written_is_tried_again(
    tmp_path: Path, content: bytes | None
) -> None:
    ca = trustme.CA()
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    async with tls_server(ca) as (server, _), sender() as running:
        target, request = asking(server.url.replace("127.0.0.1", "localhost"), f'tls_ca = "{file}"', tmp_path)
        file.unlink()
        if content:
            file.write_bytes(content)
        outcome = await running.send(target, request)
        assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.TLS)
        assert "tls_ca" in outcome.text
        file.unlink(missing_ok=True)
        ca.cert_pem.write_to_path(str(file))
        assert (await running.send(target, request)).verdict is DELIVERED


# Redirects.


def at(recorder: Recorder, places: dict[str, bytes]) -> None:
    """Let the recorder respond by path."""
    recorder.reply = lambda n: places.get(recorder.requests[n].split(b" ")[1].decode(), answer(200, "end"))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("method", ["post-raw", "put", "delete"])
async def test_a_redirect_repeats_method_and_body(recorder: Recorder, status: int, method: str) -> None:
    at(recorder, {"/p": answer(status, Location="/end?a=%2f")})
    payload = 'payload = "$VALUE"\n' if method != "delete" else ""
    outcome = await send(f"{recorder.url}/p", f'method = "{method}"\n{payload}follow_redirects = true')
    assert (outcome.verdict, outcome.http_status) == (DELIVERED, 200)
    first, second = recorder.requests
    assert second == first.replace(b" /p ", b" /end?a=%2f ")


async def test_after_303_the_result_is_fetched_without_the_body(recorder: Recorder) -> None:
    at(recorder, {"/p": answer(303, Location="/result")})
    outcome = await send(f"{recorder.url}/p", "follow_redirects = true")
    assert (outcome.verdict, outcome.answer) == (DELIVERED, b"end")
    assert recorder.requests[1].startswith(b"GET /result ")
    assert recorder.requests[1].endswith(b"\r\n\r\n")
    assert b"Content-" not in recorder.requests[1]


@pytest.mark.parametrize("result", [answer(500), answer(404), b"", b"nonsense\r\n\r\n"])
async def test_after_303_nothing_is_sent_a_second_time(recorder: Recorder, result: bytes) -> None:
    at(recorder, {"/p": answer(303, Location="/result"), "/result": result})
    outcome = await send(f"{recorder.url}/p", "follow_redirects = true")
    assert outcome.verdict is GIVE_UP
    assert "303" in outcome.text
    assert "accepted" in outcome.text


@pytest.mark.parametrize("follow", ["true", "false"])
async def test_the_reason_says_where_a_redirect_leads(recorder: Recorder, follow: str) -> None:
    at(recorder, {"/p": answer(302, Location="https://elsewhere.example:8443/login?secret=1#x")})
    outcome = await send(f"{recorder.url}/p", f'follow_redirects = {follow}\nbearer_token = "b-1"')
    assert (outcome.verdict, outcome.error, outcome.http_status) == (GIVE_UP, ErrorCode.HTTP, 302)
    assert "https://elsewhere.example:8443/login" in outcome.text
    assert "secret" not in outcome.text


async def test_where_a_redirect_leads_is_masked(recorder: Recorder) -> None:
    at(recorder, {"/p": answer(302, Location="/t0ken/x")})
    outcome = await send(f"{recorder.url}/p", 'bearer_token = "t0ken"')
    assert "***" in outcome.text
    assert "t0ken" not in outcome.text


async def test_a_redirect_to_the_same_path_does_not_say_it(recorder: Recorder) -> None:
    at(recorder, {"/hook/key-4711": answer(301, Location="https://a.example/hook/key-4711/")})
    outcome = await send(f"{recorder.url}/hook/key-4711")
    assert "https://a.example/***" in outcome.text
    assert "4711" not in outcome.text


CREDENTIALS = [
    'auth_user = "a"\nauth_password = "b"',
    'bearer_token = "t"',
    'headers = { X-Key = "k" }',
    'signing_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"',
]


@pytest.mark.parametrize("credentials", CREDENTIALS)
async def test_no_credentials_go_to_another_host(recorder: Recorder, credentials: str) -> None:
    async with Recorder().serve() as other:
        at(recorder, {"/p": answer(307, Location=f"{other.url}/steal")})
        outcome = await send(f"{recorder.url}/p", f"follow_redirects = true\n{credentials}")
        assert (outcome.verdict, outcome.http_status) == (GIVE_UP, 307)
        assert "credentials" in outcome.text
        assert other.requests == []


async def test_without_credentials_another_host_is_asked(recorder: Recorder) -> None:
    async with Recorder().serve() as other:
        at(recorder, {"/p": answer(307, Location=f"{other.url}/end")})
        assert (await send(f"{recorder.url}/p", "follow_redirects = true")).verdict is DELIVERED
        assert f"\r\nHost: {other.hostport}\r\n".encode() in other.requests[0]
        assert recorder.hostport.encode() not in other.requests[0]


@pytest.mark.parametrize(
    ("delivery", "words"),
    [('allow_hosts = ["127.0.0.1"]', "allow_hosts"), ('deny_networks = ["127.0.0.2"]', "deny_networks")],
)
async def test_each_hop_is_held_against_where_requests_may_go(recorder: Recorder, delivery: str, words: str) -> None:
    port = recorder.hostport.rpartition(":")[2]
    at(recorder, {"/p": answer(307, Location=f"http://127.0.0.2:{port}/end")})
    outcome = await send(f"{recorder.url}/p", "follow_redirects = true", delivery)
    assert outcome.verdict is GIVE_UP
    assert words in outcome.text


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ("/a b", b"POST /a%20b HTTP/1.1"),
        (" /ab\t", b"POST /ab HTTP/1.1"),
        ("/ä?ö=%E4", b"POST /%C3%A4?%C3%B6=%E4 HTTP/1.1"),
        ("/x#part", b"POST /x HTTP/1.1"),
        ("?q=1", b"POST /p?q=1 HTTP/1.1"),
        ("/[x]|{y}", b"POST /[x]%7C%7By%7D HTTP/1.1"),
    ],
)
async def test_a_location_is_made_fit_for_a_request_line(recorder: Recorder, location: str, line: bytes) -> None:
    at(recorder, {"/p": answer(307, Location=location)})
    assert (await send(f"{recorder.url}/p", "follow_redirects = true")).verdict is DELIVERED
    assert recorder.requests[1].partition(b"\r\n")[0] == line


@pytest.mark.parametrize(
    "location",
    [
        "/a\x01b",
        "/a\x7f",
        "http://[::1",
        "//[x",
        "http://h:99999/",
        "ftp://127.0.0.1/",
        "javascript:alert(1)",
        "http://u:p@127.0.0.1/",
        "http://" + "a" * 70 + ".example/",
        "/" + "x" * 20_000,
        "http://a\u2100b/",
    ],
)
async def test_a_location_that_cannot_be_followed_gives_up(recorder: Recorder, location: str) -> None:
    at(recorder, {"/p": answer(307, Location=location)})
    outcome = await send(f"{recorder.url}/p", "follow_redirects = true")
    assert (outcome.verdict, outcome.http_status) == (GIVE_UP, 307)
    assert len(recorder.requests) == 1
    assert outcome.text.isprintable()


async def test_http_may_lead_to_https_on_the_same_host(tmp_path: Path) -> None:
    # Ports 80 and 443 are not ours to listen on, so this one is judged by what would be sent.
    from vdevice.dispatch.redirects import redirected  # noqa: PLC0415

    target, request = asking("http://gw.local/p", 'bearer_token = "t"')
    following = redirected(target, request, 301, "https://gw.local/p", ())
    assert following.url == "https://gw.local/p"
    assert following.body == request.body
    assert following.headers == request.headers


# TLS.


@contextlib.asynccontextmanager
async def tls_server(ca: trustme.CA, name: str = "localhost") -> AsyncIterator[tuple[Recorder, ssl.SSLContext]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    async with Recorder().serve(context) as recorder:
        yield recorder, context


async def test_tls_errors_are_said_in_plain_words(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trusted = f'tls_ca = "{tmp_path}/ca.pem"'

    async def said(url: str, settings: str = trusted) -> str:
        outcome = await send(url, settings, folder=tmp_path)
        assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.TLS), outcome
        return outcome.text

    async with speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n", first=True) as url:
        assert "plain HTTP" in await said(url.replace("http:", "https:"))
    async with tls_server(ca) as (server, context):
        url = server.url.replace("127.0.0.1", "localhost")
        assert (await send(url, trusted, folder=tmp_path)).verdict is DELIVERED
        assert "tls_ca" in await said(url, "")
        assert "another host" in await said(server.url)
        context.verify_mode = ssl.CERT_REQUIRED
        outcome = await send(url, trusted, folder=tmp_path)
        assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.CONNECT)
        assert "tls_cert" in outcome.text
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert "during the handshake" in await said(url)
    for how, words in HANDSHAKES.items():
        with alerting(ca, how) as url:
            assert words in await said(url), how


HANDSHAKES = {"client certificate": "tls_cert", "old": "version", "HTTP/2": "HTTP/2 only"}


@contextlib.contextmanager
def alerting(ca: trustme.CA, how: str) -> Iterator[str]:
    """Serve TLS that refuses, from OpenSSL itself in a thread: asyncio's server closes without an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    if how == "client certificate":
        context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2
    elif how == "old":
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    # Python's ssl takes a request without a common protocol, as OpenSSL's callback may; the alert is sent as it is.
    alert = b"\x15\x03\x03\x00\x02\x02\x78"

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            if how == "HTTP/2":
                connection.recv(4096)
                connection.sendall(alert)
            else:
                context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/"
        thread.join()
