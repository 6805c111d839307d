"""A config file that somebody else writes while the page is open: what reads it says so, and none is an error of ours."""

from pathlib import Path

import aiohttp
import pytest

from tests.support import device
from tests.web.conftest import WEB
from tests.web.test_every_route import API, operations

TARGET = '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\nenabled = false\n'
FILES = {
    "no table of targets": b"targets = 5\n",
    "a list of targets": b"targets = [1, 2]\n",
    "a target that is no table": b"[targets]\n7 = 5\n",
    "headers that are no table": b"[targets.7]\nheaders = 5\n",
    "headers in a list": b'[targets.7]\nheaders = [["a", "b"]]\n',
    "a secret that is a list": b'[targets.7]\nurl = ["http://a/?b=c"]\nbearer_token = [1]\n',
    "rules that are no list": b"rules = 5\npoints = true\n",
    "rules in rules that are no list": b"[[rules]]\nrules = 5\n[[points]]\nname = 5\n",
    "nested deeply": b"a = " + b"[" * 5000 + b"]" * 5000,
    "tables nested deeply": b"[" + b".".join([b"a"] * 300) + b"]\n",
    "tables nested more deeply than Python counts": b"[" + b".".join([b"a"] * 5000) + b"]\n",
    "headers nested deeply": b"[targets.7.headers." + b".".join([b"a"] * 2000) + b"]\n",
    "rules nested deeply": b"".join(b"[[rules" + b".rules" * depth + b"]]\n" for depth in range(300)),
    "a number of many digits": b"[targets." + b"9" * 5000 + b"]\nmethod = 1\n",
    "a long number": b"a = " + b"9" * 5000,
    "a date that is none": b"a = 2024-13-99\n",
    "no UTF-8": b"\xff\xfe\x00",
    "a byte order mark": b"\xef\xbb\xbf[targets.7]\n",
    "empty": b"",
    "half of a line": b'[targets.7]\nurl = "http',
    "NUL": b"\0" * 100,
    "keys by the thousand": b"".join(b"key%d = 1\n" % number for number in range(1000)),
    "the same key twice": b"a = 1\na = 2\n",
    "other types everywhere": b"modbus = 1\nweb = []\noutbox = 'x'\ndevice = 1.5\ndelivery = true\nfiles = 1979-05-27\n",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
async def test_no_file_makes_an_internal_error(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async with device(WEB + TARGET, tmp_path) as app, aiohttp.ClientSession() as http:
        page = f"http://{app.page_address}"
        async with http.get(f"{page}{API}/openapi.json") as answer:
            asked = operations(await answer.json())
        async with http.get(f"{page}{API}/targets/7") as answer:
            settings = await answer.json()
        (tmp_path / "vdevice.toml").write_bytes(content)
        async with http.get(f"{page}{API}/config") as answer:
            tag = (await answer.json()).get("tag", settings["tag"])
        bodies: dict[str, object] = {
            f"{API}/targets/7": {**settings, "tag": tag},
            f"{API}/targets/7/copy": {"to": [8, 9], "tag": tag},
            f"{API}/rules": {"tag": tag, "place": [0], "settings": {}},
            f"{API}/rules/move": {"tag": tag, "place": [0], "by": 1},
            f"{API}/rules/switch": {"tag": tag, "place": [0], "enabled": False},
        }
        wrong = []
        for method, path, _ in asked:
            body = bodies.get(path, {}) if method in {"POST", "PUT"} else None
            query = {"tag": tag} if method == "DELETE" else {}
            sent = {"X-Vdevice": "1"} if body is None else {}
            async with http.request(method, page + path, json=body, headers=sent, params=query) as answer:
                if answer.status >= 500:
                    wrong.append((method, path, await answer.text()))
    assert wrong == []
    assert "internal error" not in capsys.readouterr().out
