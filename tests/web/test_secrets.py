"""Planted secrets are looked for in all that the API answers, also where a service repeats what it was sent."""

from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.test_secrets import PLANTED, found, plant
from tests.support import Recorder, answer, until
from vdevice.app import App
from vdevice.config import load
from vdevice.web.routes import ROUTES


async def test_no_planted_secret_leaves_by_the_api(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_ENV", PLANTED["FROM_ENV"])
    monkeypatch.setenv("URL", f"{recorder.url}/{PLANTED['URL']}")
    plant(tmp_path, recorder)
    path = tmp_path / "vdevice.toml"
    path.write_text(path.read_text().replace("enabled = false", 'listen = "127.0.0.1:0"', 1))

    def reply(number: int) -> bytes:
        head = recorder.requests[number].decode().replace("\r\n", " ")
        return answer(401, f"you sent {recorder.requests[number].decode()}", X_You_Sent=head)

    recorder.reply = reply
    shown: dict[str, str] = {}
    app = App(load(path), path)
    async with app.running(), aiohttp.ClientSession() as session:

        async def ask(method: str, place: str, body: object = None) -> dict[str, object]:
            url = f"http://{app.page_address}/{place}"
            async with session.request(method, url, json=body) as response:
                text = await response.text("latin-1")
                shown[f"{method} {place}"] = text + str(response.headers)
                return await response.json() if response.content_type == "application/json" else {}

        for number in range(1, 6):
            assert await ask("POST", f"api/v1/targets/{number}/write", {"value": "words"})
        await until(lambda: all(app.board.targets[number].failed for number in range(1, 6)))
        for number in range(1, 6):
            settings = (await ask("GET", f"api/v1/targets/{number}"))["settings"]
            for what in ("render", "test"):
                await ask("POST", f"api/v1/targets/{number}/{what}", {"settings": settings, "value": "x"})
            wrong = {**settings, "url": "no scheme secret-url-4714"}  # type: ignore[dict-item]
            assert "problems" in await ask_problem(session, app, number, wrong)
        for route in ROUTES:
            if route.method == "GET" and "{" not in route.path:
                await ask("GET", f"api/v1{route.path}")
        async with session.get(f"http://{app.page_address}/api/v1/strings") as response:
            for row in await response.json():
                await ask("GET", f"api/v1/strings/{row['id']}")
        for place in ("", "metrics", "api/v1/openapi.json"):
            await ask("GET", place)
        # Who has not seen a file's secrets does not get them from a conflict either.
        path.write_text(path.read_text() + "# changed meanwhile\n")
        await ask("PUT", "api/v1/targets/1", {"tag": "old", "settings": None})
    assert any("you sent" in words for words in shown.values())
    assert {what: found(words) for what, words in shown.items() if found(words)} == {}


async def ask_problem(session: aiohttp.ClientSession, app: App, number: int, settings: object) -> str:
    url = f"http://{app.page_address}/api/v1/targets/{number}/render"
    async with session.post(url, json={"settings": settings}) as response:
        return await response.text()
