"""Targets behind an HTTP proxy: real proxies that forward, make tunnels, refuse, and break."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
import uvloop

from tests.dispatch.test_sender import BROKEN, EMBEDDED, asking, send, sender, speaks
from tests.support import Recorder, answer, until
from vdevice.model import ErrorCode, Verdict

DELIVERED, RETRY, GIVE_UP = Verdict.DELIVERED, Verdict.RETRY, Verdict.GIVE_UP


class Tunnels:
    """A proxy that makes tunnels, whatever host is asked for, to the port that is asked for on this machine."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.heads: list[bytes] = []
        self.open = 0
        self.url = ""

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.response)
            await writer.drain()
            found = re.match(rb"CONNECT \S+:(\d+) ", self.heads[-1])
            if not found or b" 200" not in self.response.upper():
                return
            back, forth = await asyncio.open_connection("127.0.0.1", int(found[1]))
            await asyncio.gather(pump(reader, forth), pump(back, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def tunnels(response: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> AsyncIterator[Tunnels]:
    proxy = Tunnels(response)
    server = await asyncio.start_server(proxy.client, "127.0.0.1", 0)
    async with server:
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy
        await until(lambda: proxy.open == 0)


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """TLS of a server that is called relay.example, and the CA that makes it trusted."""
    ca, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("relay.example").configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return context, tmp_path


def through(proxy: str, settings: str = "") -> str:
    return f'proxy = "{proxy}"\n{settings}'


async def test_the_request_line_has_the_whole_url(recorder: Recorder) -> None:
    user_and_password = recorder.url.replace("//", "//user:p%40ss@")
    await send("http://device.example:8080/p?q=%2f", through(user_and_password, 'headers = { X-A = "b" }'))
    head = recorder.requests[0].partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"POST http://device.example:8080/p?q=%2f HTTP/1.1"
    assert b"Host: device.example:8080" in head
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz" in head
    assert b"Connection: close" in head
    assert b"X-A: b" in head


@pytest.mark.parametrize("response", [*EMBEDDED.values(), *BROKEN.values()], ids=[*EMBEDDED, *BROKEN])
async def test_a_response_through_a_proxy_is_taken_for_what_it_is(response: bytes) -> None:
    async with speaks(response) as url:
        proxied = await send("http://device.example/p", through(url.removesuffix("/p")))
    async with speaks(response) as url:
        assert proxied == await send(url)
    assert (proxied.verdict, proxied.http_status) == (DELIVERED, 200)


async def _over_tls(trusted: tuple[ssl.SSLContext, Path], proxy: Tunnels, recorder: Recorder) -> None:
    context, folder = trusted
    async with recorder.serve(context):
        port = recorder.hostport.rpartition(":")[2]
        outcome = await send(f"https://relay.example:{port}/p", through(proxy.url, 'tls_ca = "ca.pem"'), folder=folder)
    assert (outcome.verdict, outcome.text) == (DELIVERED, "")
    assert proxy.heads == [f"CONNECT relay.example:{port} HTTP/1.1\r\nHost: relay.example:{port}\r\n\r\n".encode()]
    assert recorder.requests[0].startswith(b"POST /p HTTP/1.1\r\n")


async def test_tls_goes_through_a_tunnel(trusted: tuple[ssl.SSLContext, Path]) -> None:
    async with tunnels() as proxy:
        await _over_tls(trusted, proxy, Recorder())


def test_tls_goes_through_a_tunnel_on_uvloop(trusted: tuple[ssl.SSLContext, Path]) -> None:
    async def main() -> None:
        async with tunnels() as proxy:
            await _over_tls(trusted, proxy, Recorder())

    uvloop.run(main())


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.0 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX : y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_a_tunnel_is_made_by_untidy_proxies_too(response: bytes, trusted: tuple[ssl.SSLContext, Path]) -> None:
    async with tunnels(response) as proxy:
        await _over_tls(trusted, proxy, Recorder())


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (answer(407), "the proxy answers HTTP 407"),
        (answer(502, "secret words"), "the proxy answers HTTP 502"),
        (b"HTTP/1.1 503 No\r\nX: ", "the proxy answers HTTP 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the proxy does not speak HTTP"),
        (b"", "the proxy closed the connection before a response"),
        (b"HTTP/1.1 503 No\r\nX: " + b"x" * 200_000, "the proxy answers HTTP 503"),
    ],
    ids=["407", "502", "cut", "SSH", "nothing", "endless head"],
)
async def test_a_tunnel_that_is_not_made_is_said_in_plain_words(response: bytes, words: str) -> None:
    async with tunnels(response) as proxy:
        outcome = await send("https://relay.example/p", through(proxy.url))
    assert (outcome.verdict, outcome.error, outcome.text) == (RETRY, ErrorCode.CONNECT, words)


async def test_a_proxy_that_says_nothing_is_a_timeout(recorder: Recorder) -> None:
    recorder.delay = 5
    async with sender() as running:
        for url in ("https://relay.example/p", "http://relay.example/p"):
            outcome = await running.send(*asking(url, through(recorder.url, "timeout = 0.2")))
            assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.TIMEOUT)
    await until(lambda: len(recorder.requests) == 2)


async def test_a_server_behind_a_tunnel_is_not_trusted_without_its_ca(trusted: tuple[ssl.SSLContext, Path]) -> None:
    recorder = Recorder()
    async with tunnels() as proxy, recorder.serve(trusted[0]):
        port = recorder.hostport.rpartition(":")[2]
        outcome = await send(f"https://relay.example:{port}/p", through(proxy.url))
    assert (outcome.verdict, outcome.error) == (RETRY, ErrorCode.TLS)
    assert "certificate" in outcome.text
    assert recorder.requests == []
