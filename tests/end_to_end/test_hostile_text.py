"""Text from outside that cannot be encoded, wherever it enters a running device."""

import struct
from pathlib import Path

import aiohttp
import pytest

from tests.support import Recorder, answer, device, fc16, peer, until

pytestmark = pytest.mark.usefixtures("outbox")


@pytest.mark.parametrize("method", ["post-raw", "slack", "teams", "mattermost"])
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_no_response_stops_the_outbox(recorder: Recorder, tmp_path: Path, method: str, status: int) -> None:
    recorder.reply = lambda n: answer(status, r'{"message":"\ud800","error":"\udcff"}') if n == 0 else answer(200, "ok")
    target = f'method = "{method}"\npayload = "$VALUE"\nattempts = 1'
    toml = f'[targets.7]\n{target}\nurl = "{recorder.url}/7"\n[targets.8]\n{target}\nurl = "{recorder.url}/8"\n'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "first")))[0] == 16
        await until(lambda: app.board.targets[7].failed + app.board.targets[7].delivered == 1)
        for block in (7000, 8000):
            assert (await plc.ask(fc16(block, "next")))[0] == 16
        await until(lambda: len(recorder.requests) == 3)
        await until(lambda: app.board.waiting == 0)
        status_words = bytes(byte for word in await plc.inputs(7016, 32) for byte in divmod(word, 256))
        assert status_words.isascii()


HOSTILE = [
    b"HTTP/1.1 301 \xff\r\nLocation: http://\xff\xed\xa0\x80/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 X\r\nRetry-After: \xff\r\nX-\xc3: \xed\xa0\x80\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 400 X\r\nContent-Type: text/plain; charset=\xff\r\nContent-Length: 3\r\n\r\n\xed\xa0\x80",
    b"HTTP/1.1 400 X\r\nContent-Type: text/html; charset=utf-7\r\nContent-Length: 12\r\n\r\n<title>\xff+2AA-",
    b"\xff\xff\xff\r\n\r\n",
]


@pytest.mark.parametrize("through", ["", "proxy", "redirects"])
async def test_no_bytes_of_a_response_stop_the_outbox(recorder: Recorder, tmp_path: Path, through: str) -> None:
    recorder.reply = lambda n: HOSTILE[n] if n < len(HOSTILE) else answer(200, "ok")
    more = {"": "", "proxy": f'proxy = "{recorder.url}"', "redirects": "follow_redirects = true"}[through]
    toml = f'[targets.7]\nmethod = "post-raw"\npayload = "$VALUE"\nattempts = 1\nurl = "{recorder.url}/7"\n{more}\n'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        for number in range(len(HOSTILE)):
            assert (await plc.ask(fc16(7000, "x")))[0] == 16
            await until(lambda: app.board.targets[7].failed == number + 1)  # noqa: B023 (it is awaited here)
            app.board.targets[7].error_text.encode("utf-8")
        assert (await plc.ask(fc16(7000, "x")))[0] == 16
        await until(lambda: app.board.targets[7].delivered == 1)


@pytest.mark.parametrize("proxied", [False, True])
async def test_the_page_shows_what_any_response_says(recorder: Recorder, tmp_path: Path, proxied: bool) -> None:  # noqa: FBT001
    recorder.reply = lambda n: HOSTILE[n]
    toml = f'[web]\nlisten = "127.0.0.1:0"\n[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}/7"\n'
    settings = {"method": "post-raw", "url": f"{recorder.url}/7"} | ({"proxy": recorder.url} if proxied else {})
    async with device(toml, tmp_path) as app, aiohttp.ClientSession() as session:
        for _ in HOSTILE:
            url = f"http://{app.page_address}/api/v1/targets/7/test"
            async with session.post(url, json={"settings": settings, "value": "x"}) as response:
                assert response.status == 200, await response.text()
                assert (await response.json())["delivered"] is False


@pytest.mark.parametrize(
    ("settings", "registers"),
    [
        ('encoding = "utf-16-be"', [0xD800, 0x0041]),
        ('encoding = "utf-16-le"', [0x00DC, 0x4100]),
        ('format = "s7-wstring"', [10, 2, 0xDFFF, 0xD800]),
        ("", [0xEDA0, 0x8000]),
        ('encoding = "ascii"', [0x41FF]),
    ],
)
async def test_a_text_of_a_plc_that_does_not_decode_is_03(
    recorder: Recorder, tmp_path: Path, settings: str, registers: list[int]
) -> None:
    toml = f'[targets.7]\nmethod = "post-raw"\npayload = "$VALUE"\nurl = "{recorder.url}/7"\n{settings}\n'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        data = struct.pack(f">{len(registers)}H", *registers)
        assert await plc.ask(struct.pack(">BHHB", 16, 7000, len(registers), len(data)) + data) == b"\x90\x03"
        assert app.board.waiting == 0
