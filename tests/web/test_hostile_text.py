"""Bytes in a request to the page or API that are no text: it says what is wrong with them, and never "internal error"."""

import asyncio
from pathlib import Path

import pytest

from tests.support import device
from tests.web.conftest import WEB
from vdevice.web.auth import Access

TARGET = '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'
NO_TEXT = [b"\xff", b"\xed\xa0\x80", b"a\xc3", b"[", b"::", b"\xe2\x82\xac"]


async def ask(address: str, head: bytes, body: bytes = b"") -> bytes:
    """Send a request line and header lines as they are; return the whole answer."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    if b"Host:" not in head:
        head += b"\r\nHost: " + address.encode()
    writer.write(head + b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("password", [False, True], ids=["open", "with a password"])
async def test_no_header_makes_an_internal_error(tmp_path: Path, password: bool) -> None:  # noqa: FBT001
    if password:
        Access(tmp_path).set_password("admin", "correct horse", "admin")
    async with device(WEB + TARGET, tmp_path) as app:
        for text in NO_TEXT:
            for header in (b"Host", b"Origin", b"Authorization", b"Cookie", b"Content-Type", b"Accept", b"User-Agent"):
                value = {b"Authorization": b"Bearer ", b"Cookie": b"vdevice=", b"Origin": b"http://"}.get(header, b"")
                for line in (b"GET /api/v1/targets", b"PUT /api/v1/targets/7"):
                    head = line + b" HTTP/1.1\r\n" + header + b": " + value + text
                    answer = await ask(app.page_address, head)
                    assert answer.startswith(b"HTTP/1."), (head, answer)
                    assert int(answer.split()[1]) < 500, (head, answer)
                    answer.partition(b"\r\n\r\n")[2].decode("utf-8")


async def test_a_body_that_is_nested_deeply_makes_no_internal_error(tmp_path: Path) -> None:
    async with device(WEB + TARGET, tmp_path) as app:
        for depth in (500, 900, 1100, 100_000):
            deep = b"[" * depth + b"]" * depth
            tables = b'{"a":' * depth + b"1" + b"}" * depth
            for settings in (deep, tables):
                for body in (settings, b'{"tag": "x", "settings": {"a": %s}, "value": "x"}' % settings):
                    for line in (b"POST /api/v1/login", b"PUT /api/v1/targets/7", b"POST /api/v1/targets/7/render"):
                        head = line + b" HTTP/1.1\r\nContent-Type: application/json"
                        answer = await ask(app.page_address, head, body)
                        assert int(answer.split()[1]) < 500, (line, depth, answer)


async def test_no_body_or_query_makes_an_internal_error(tmp_path: Path) -> None:
    bodies = [b'{"text": "%s"}' % text for text in (*NO_TEXT, rb"\ud800", rb"\udcff\ud800", b"\xf0\x9f")]
    bodies += [b'{"name": "%s", "password": "%s"}' % (text, text) for text in NO_TEXT]
    paths = [b"/api/v1/" + path for path in (b"login", b"targets/7", b"targets/7/write", b"strings/discard", b"tokens")]
    async with device(WEB + TARGET, tmp_path) as app:
        for body in bodies:
            for path in paths:
                for method in (b"POST ", b"PUT "):
                    head = method + path + b" HTTP/1.1\r\nContent-Type: application/json"
                    answer = await ask(app.page_address, head, body)
                    assert int(answer.split()[1]) < 500, (path, body, answer)
        for query in ("%FF", "%ED%A0%80", "%00", "%C3"):
            for prefix in ("strings?text=", "strings/", "targets/", "map/"):
                answer = await ask(app.page_address, f"GET /api/v1/{prefix}{query} HTTP/1.1".encode())
                assert int(answer.split()[1]) < 500, (prefix, query, answer)
