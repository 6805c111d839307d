"""The API against its own document: generated requests, and what the document says of each operation."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import aiohttp

from tests.support import Recorder, answer, device, fc16, peer, until
from tests.web.conftest import WEB
from vdevice.outbox.sqlite import SqliteOutbox
from vdevice.registers.layout import MAP_VERSION
from vdevice.web.routes import ROUTES
from vdevice.web.server import STATIC

TARGET = '[targets.7]\nmethod = "post-raw"\nurl = "http://127.0.0.1:9/"\npayload = "$VALUE"\n'
POINT = '[[points]]\nname = "lamp"\nspace = "coil"\naddress = 1\ntype = "bool"\n'


async def test_generated_requests_get_what_the_document_says(tmp_path: Path) -> None:
    targets = "".join(TARGET.replace(".7]", f".{number}]") for number in range(1, 65))
    async with device(WEB + targets + POINT, tmp_path) as app:
        url = f"http://{app.page_address}/api/v1"
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        command = Path(sys.executable).with_name("schemathesis")
        process = await asyncio.create_subprocess_exec(
            *(command, "run", f"{url}/openapi.json", "--url", url, "--seed", "1", "--max-examples", "20"),
            *("--exclude-path-regex", "/backup", "--no-color", "--checks", checks),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(300):
            said = (await process.communicate())[0].decode()
        assert process.returncode == 0, said[-6000:]
        found = re.search(r"(\d+) generated, (\d+) passed", said)
        assert found, said[-2000:]
        assert found[1] == found[2]
        assert int(found[1]) > 500
        # Still there, and well.
        async with peer(app.address) as plc:
            assert await plc.inputs(0, 1) == [MAP_VERSION]


async def test_the_document_has_each_route_and_nothing_else(tmp_path: Path) -> None:
    async with (
        device(WEB + TARGET, tmp_path) as app,
        aiohttp.ClientSession() as session,
        session.get(f"http://{app.page_address}/api/v1/openapi.json") as response,
    ):
        document = await response.json()
    listed = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert listed == {(route.method, route.path) for route in ROUTES} | {("POST", "/login")}


async def test_a_write_is_what_a_modbus_write_is(recorder: Recorder, tmp_path: Path) -> None:
    toml = TARGET.replace("http://127.0.0.1:9", recorder.url)
    off = '[targets.8]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\nenabled = false\n'
    narrow = '[targets.9]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\nencoding = "ascii"\n'
    async with device(WEB + toml + off + narrow, tmp_path) as app, aiohttp.ClientSession() as session:

        async def write(target: int, value: str) -> int:
            url = f"http://{app.page_address}/api/v1/targets/{target}/write"
            async with session.post(url, json={"value": value}) as response:
                return response.status

        assert await write(7, "Grüße") == 200
        assert [await write(8, "x"), await write(10, "x"), await write(9, "ä"), await write(65, "x")] == [
            409,
            404,
            422,
            404,
        ]
        await recorder.wait(1)
        assert recorder.bodies() == ["Grüße".encode()]
        assert app.board.targets[7].accepted == 1


async def test_a_write_that_the_outbox_does_not_answer_is_503_in_time(tmp_path: Path) -> None:
    toml = f'[modbus]\nlisten = "127.0.0.1:0"\nanswer_timeout = 0.3\n{WEB}{TARGET}'
    async with device(toml, tmp_path) as app, aiohttp.ClientSession() as session:
        assert isinstance(app.outbox, SqliteOutbox)
        os.kill(app.outbox.writer_pid or 0, signal.SIGSTOP)
        url = f"http://{app.page_address}/api/v1/targets/7/write"
        async with asyncio.timeout(5), session.post(url, json={"value": "x"}) as response:
            assert response.status == 503
            assert response.content_type == "application/problem+json"
        async with session.get(f"http://{app.page_address}/readyz") as response:
            assert response.status == 503


NUMBERS = ["9" * 400, "9" * 5000, "1e400", "nan", "-inf", "0." + "1" * 500, "\ud800", "-1e39", "1e308"]


async def test_what_if_takes_any_text_for_a_value(tmp_path: Path) -> None:
    points = "".join(
        f'[[points]]\nname = "{kind}"\nspace = "holding"\naddress = {10 * row}\ntype = "{kind}"\n{more}\n'
        f'[[rules]]\nsource = "{kind}"\ndestinations = ["target/7"]\n'
        for row, (kind, more) in enumerate(
            [("int16", ""), ("int64", "scale = 1e-300"), ("float64", "scale = 5e-324"), ("string", "length = 5")]
        )
    )
    async with device(WEB + TARGET + points, tmp_path) as app, aiohttp.ClientSession() as session:
        for kind in ("int16", "int64", "float64", "string"):
            for value in NUMBERS:
                url = f"http://{app.page_address}/api/v1/points/{kind}/what-if"
                async with session.post(url, json={"value": value}) as response:
                    wanted = {400} if value == "\ud800" else {200, 422}
                    assert response.status in wanted, (kind, value, await response.text())


async def test_metrics_and_readiness_follow_the_device(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(404)
    toml = TARGET.replace("http://127.0.0.1:9", recorder.url)
    async with device(WEB + toml, tmp_path) as app, aiohttp.ClientSession() as session, peer(app.address) as plc:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://{app.page_address}/{path}") as response:
                return response.status, await response.text()

        await plc.ask(fc16(7000, "x"))
        await until(lambda: app.board.targets[7].failed == 1)
        _, text = await get("metrics")
        assert 'vdevice_failed_total{target="7"} 1.0' in text
        assert (await get("readyz"))[0] == (await get("healthz"))[0] == 200
        app.board.targets[7].full, app.board.targets[7].refused = True, 3
        _, text = await get("metrics")
        assert 'vdevice_full{target="7"} 1.0' in text
        assert 'vdevice_refused_total{target="7"} 3.0' in text
        assert "vdevice_outbox_full 0.0" in text
        row = json.loads((await get("api/v1/state"))[1])["targets"][6]
        assert (row["full"], row["refused"]) == (True, 3)
        assert (await get("readyz"))[0] == 200, "one full target stops no other one"
        app.board.delivering = False
        assert (await get("readyz"))[0] == 503
        app.board.delivering = True


async def test_the_live_stream_sends_what_changed_and_ends_with_the_device(tmp_path: Path) -> None:
    session = aiohttp.ClientSession()
    try:
        async with device(WEB + TARGET, tmp_path) as app, peer(app.address) as plc:
            response = await session.get(f"http://{app.page_address}/api/v1/live")
            first = await response.content.readuntil(b"\r\n\r\n")
            assert first.count(b'"number"') == 64
            await plc.ask(fc16(7000, "x"))
            async with asyncio.timeout(5):
                while b'"number":7' not in (later := await response.content.readuntil(b"\r\n\r\n")):
                    pass
            assert later.count(b'"number"') == 1
        async with asyncio.timeout(5):
            await response.content.read()
    finally:
        await session.close()


def test_each_module_of_the_page_is_preloaded() -> None:
    index = (STATIC / "index.html").read_text()
    for module in (*STATIC.glob("**/*.js"), *STATIC.glob("vendor/**/*.mjs")):
        assert index.count(f'"static/{module.relative_to(STATIC)}"') == 1, module


async def test_a_file_that_is_broken_meanwhile_is_a_problem_and_no_internal_error(tmp_path: Path) -> None:
    async with device(WEB + TARGET, tmp_path) as app, aiohttp.ClientSession() as session:
        (tmp_path / "vdevice.toml").write_text("[targets")
        for method, path, body in (
            ("GET", "config", None),
            ("GET", "targets/7", None),
            ("GET", "converter", None),
            ("PUT", "targets/7", {"tag": "x", "settings": None}),
            ("POST", "targets/7/render", {"settings": {}}),
            ("GET", "backup", None),
        ):
            async with session.request(method, f"http://{app.page_address}/api/v1/{path}", json=body) as response:
                assert response.status in {409, 422}, path
                assert response.content_type == "application/problem+json"
        assert app.board.healthy


async def test_what_was_discarded_is_sent_no_more(recorder: Recorder, tmp_path: Path) -> None:
    recorder.delay = 0.1
    target = TARGET.replace("http://127.0.0.1:9/", recorder.url)
    async with device(WEB + target, tmp_path) as app, aiohttp.ClientSession() as session, peer(app.address) as plc:
        api = f"http://{app.page_address}/api/v1/strings"
        for number in range(8):
            # The second one waits in memory behind the first, which is under way.
            await plc.ask(fc16(7000, f"a{number}"))
            await plc.ask(fc16(7000, f"b{number}"))
            async with session.get(f"{api}?state=waiting") as response:
                waiting = {one["value"]: one["id"] for one in await response.json()}
            async with session.post(f"{api}/discard", json={"ids": [waiting[f"b{number}"]]}) as response:
                assert await response.json() == {"count": 1}
            await recorder.wait(number + 1)
        await until(lambda: app.board.waiting == 0)
    assert recorder.bodies() == [f"a{number}".encode() for number in range(8)]


async def test_the_size_of_the_outbox_is_that_of_its_own_files(tmp_path: Path) -> None:
    async with device(WEB + TARGET, tmp_path) as app, aiohttp.ClientSession() as session:
        file = app.config.outbox_file
        for name in (".found-20260101T000000", ".before-restore-20260101T000000-wal", ".backup", "-other", ".lock"):
            file.with_name(file.name + name).write_bytes(bytes(10_000_000))
        async with session.get(f"http://{app.page_address}/api/v1/system") as response:
            size = (await response.json())["outbox_bytes"]
        assert file.stat().st_size <= size < 10_000_000
