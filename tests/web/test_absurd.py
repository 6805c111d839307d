"""Absurd settings through the API: a problem with its path, or saved; never an internal error, never half applied."""

from pathlib import Path

import aiohttp

from tests import seeds
from tests.config.absurd import LONG, TEXTS
from tests.support import device
from tests.web.conftest import WEB
from vdevice.config.load import MOST_BYTES, load

SETTINGS = (
    "url",
    "payload",
    "content_type",
    "description",
    "tls_ca",
    "tls_cert",
    "proxy",
    "bearer_token",
    "signing_secret",
)
TRIES = 30


async def test_an_absurd_target_is_refused_or_saved_and_the_file_stays_a_config(tmp_path: Path) -> None:
    lots = seeds.lots("absurd targets")
    plain = {"method": "post-raw", "url": "http://127.0.0.1:9/", "payload": "$VALUE"}
    known = [(key, value) for key in ("url", "tls_ca") for value in ("http://[::1", "http://a℀b/", "a" * LONG)]
    drawn = [(lots.choice(SETTINGS), lots.choice(TEXTS)) for _ in range(TRIES)]
    # All of them are more than a file may have.
    large = [("description", "x" * (MOST_BYTES // 9))] * 10
    async with device(WEB, tmp_path) as app, aiohttp.ClientSession() as session:
        assert app.path
        for number, (key, value) in [*((7, one) for one in [*known, *drawn]), *enumerate(large, 8)]:
            url = f"http://{app.page_address}/api/v1/targets/{number}"
            before = app.config
            async with session.get(url) as response:
                tag = (await response.json())["tag"]
            async with session.put(url, json={"tag": tag, "settings": {**plain, key: value}}) as response:
                said = await response.text()
                assert response.status in {200, 422}, (key, value[:99], said[:500])
            if response.status == 200:
                assert number in app.config.targets, (key, value[:99])
            else:
                assert app.config is before
            found = load(app.path)
            assert found.targets == app.config.targets, (key, value[:99])
