"""Connections of the page: what comes too slowly, or is not read, ends; who asks at once gets in all the same."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support import device, until
from vdevice.app import App
from vdevice.web import connections

WEB = '[web]\nlisten = "127.0.0.1:0"\n'
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected(app: App, first: bytes = b"") -> AsyncIterator[Streams]:
    host, _, port = app.page_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    writer.write(first)
    try:
        yield reader, writer
    finally:
        writer.close()


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection ends."""
    got = b""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                got += data
    return got


@pytest.mark.parametrize("first", [b"", b"GET", HEAD, HEAD + b"X: " + b"y" * 3000])
async def test_half_a_request_ends_its_connection(
    first: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    async with device(WEB, tmp_path) as app, connected(app, first) as (reader, _):
        assert await end_of(reader) == b""
    assert "a request did not arrive within" in capfd.readouterr().out


async def test_half_of_a_later_request_ends_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    async with device(WEB, tmp_path) as app, connected(app, HEAD + b"\r\n") as (reader, writer):
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        writer.write(HEAD)
        assert await end_of(reader) == b""


async def test_a_connection_without_a_next_request_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
    async with device(WEB, tmp_path) as app, connected(app, HEAD + b"\r\n") as (reader, _):
        assert (await end_of(reader)).endswith(b"ok\n")


async def test_half_a_body_is_answered_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.1)
    head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
    async with device(WEB, tmp_path) as app, connected(app, head) as (reader, _):
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")


async def test_a_client_that_leaves_within_its_body_is_no_error_of_ours(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
    async with device(WEB, tmp_path) as app:
        for _ in range(5):
            async with connected(app, head) as (_, writer):
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.transport.abort()
        async with aiohttp.ClientSession() as client, client.get(f"http://{app.page_address}/healthz") as found:
            assert found.status == 200
    assert "Traceback" not in capfd.readouterr().out


async def test_a_response_that_nobody_reads_ends_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    said = ""

    def told() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return "a response was not read" in said

    async with device(WEB, tmp_path) as app, connected(app) as (_, writer):
        # More than the buffers of both sides hold.
        for _ in range(300):
            writer.write(request)
        await until(told, 20)


async def test_a_full_house_gives_the_place_of_who_waits_longest_to_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_OF_ONE_ADDRESS", 5)
    async with device(WEB, tmp_path) as app, contextlib.AsyncExitStack() as stack:
        live = await stack.enter_async_context(connected(app, HEAD.replace(b"/healthz", b"/api/v1/live") + b"\r\n"))
        await live[0].readuntil(b"state")
        held = [await stack.enter_async_context(connected(app, HEAD)) for _ in range(4)]
        for _ in range(20):
            async with connected(app, HEAD + b"Connection: close\r\n\r\n") as (reader, _):
                assert (await end_of(reader)).startswith(b"HTTP/1.1 200")
        assert await end_of(held[0][0]) == b"", "it has waited longest"
        # The page that watches is served, and stays.
        await live[0].readuntil(b"state")


async def test_half_bodies_take_no_place_from_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_OF_ONE_ADDRESS", 3)
    head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n"
    async with device(WEB, tmp_path) as app, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            reader, _writer = await stack.enter_async_context(connected(app, head + b"Expect: 100-continue\r\n\r\n{"))
            # It is served now, but for its body.
            assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        for _ in range(5):
            reader, _writer = await stack.enter_async_context(connected(app, HEAD + b"Connection: close\r\n\r\n"))
            assert (await end_of(reader)).startswith(b"HTTP/1.1 200")


async def test_where_all_are_served_nobody_else_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_OF_ONE_ADDRESS", 2)
    async with device(WEB, tmp_path) as app, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            live = HEAD.replace(b"/healthz", b"/api/v1/live") + b"\r\n"
            reader, _ = await stack.enter_async_context(connected(app, live))
            await reader.readuntil(b"state")
        async with connected(app, HEAD + b"\r\n") as (reader, _):
            assert await end_of(reader) == b""
