"""Who gets in: passwords, sessions, roles, tokens, other hosts and origins, paths that climb."""

import asyncio
import contextlib
import json
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from tests.end_to_end.test_command_line import configure, vdevice
from tests.support import Recorder, device
from tests.web.conftest import WEB, Opened
from vdevice.app import App
from vdevice.errors import VdeviceError
from vdevice.web.auth import FILE, Access
from vdevice.web.guesses import TRIES
from vdevice.web.routes import ROUTES

TARGET = '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'
PASSWORD = "correct horse"


class Browser:
    """A client of the API that keeps its cookies, as a browser does."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session, self.address = session, address

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, object]]:
        url = f"http://{self.address}/{path}"
        # Without a body, a change wants our own header.
        sent = {**({} if body is not None else {"X-Vdevice": "1"}), **(headers or {})}
        async with self._session.request(method, url, json=body, headers=sent) as answer:
            content = await answer.read()
            return answer.status, json.loads(content) if "json" in answer.content_type and content else {}

    async def sign_in(self, name: str = "admin", password: str = PASSWORD) -> int:
        return (await self.ask("POST", "api/v1/login", {"name": name, "password": password}))[0]


@contextlib.asynccontextmanager
async def served(folder: Path, *, password: bool = True) -> AsyncIterator[tuple[Browser, App]]:
    if password:
        access = Access(folder)
        access.set_password("admin", PASSWORD, "admin")
        access.set_password("guest", PASSWORD, "viewer")
    async with (
        device(WEB + TARGET, folder) as app,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        yield Browser(session, app.page_address), app


def operations() -> list[tuple[str, str]]:
    filled = {"{number}": "7", "{id}": "x", "{form}": "md", "{name}": "x"}
    found = []
    for route in ROUTES:
        path = route.path
        for name, value in filled.items():
            path = path.replace(name, value)
        found.append((route.method, f"api/v1{path}"))
    return [*found, ("GET", "api/v1/openapi.json"), ("GET", "api/v1/live"), ("GET", "metrics")]


async def test_nothing_is_answered_without_a_session_once_there_is_a_password(tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        for method, path in operations():
            assert (await browser.ask(method, path))[0] == 401, (method, path)
            assert (await browser.ask(method, path, headers={"Authorization": "Bearer x"}))[0] == 401, (method, path)
        for path in ("", "healthz", "readyz", "static/app.js"):
            assert (await browser.ask("GET", path))[0] == 200, path


async def test_a_session_begins_with_the_password_and_ends_with_sign_out(tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        assert await browser.sign_in(password="wrong horse") == 401
        assert await browser.sign_in(name="nobody") == 401
        assert await browser.sign_in() == 200
        assert (await browser.ask("GET", "api/v1/session"))[1] == {"name": "admin", "role": "admin", "open": False}
        cookie = next(iter(browser._session.cookie_jar))
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
        await browser.ask("POST", "api/v1/logout")
        old = {"Cookie": f"vdevice={cookie.value}"}
        assert (await browser.ask("GET", "api/v1/session", headers=old))[0] == 401


async def test_a_viewer_sees_and_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        assert await browser.sign_in("guest") == 200
        for route, (method, path) in zip(ROUTES, operations(), strict=False):
            status, _ = await browser.ask(method, path, {} if route.body else None)
            assert (status == 403) == (route.needs == "admin"), path


async def test_wrong_passwords_are_slowed_down(tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        for _ in range(TRIES):
            assert await browser.sign_in(password="wrong horse") == 401
        assert await browser.sign_in() == 429


async def test_tokens_are_shown_once_hashed_and_revocable(tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        await browser.sign_in()
        _, made = await browser.ask("POST", "api/v1/tokens", {"name": "scada", "role": "viewer"})
        token = {"Authorization": f"Bearer {made['token']}"}
        assert str(made["token"]) not in (tmp_path / FILE).read_text()
        assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
        assert (await browser.ask("POST", "api/v1/tokens", {"name": "scada"}))[0] == 409
        await browser.ask("POST", "api/v1/logout")
        assert (await browser.ask("GET", "api/v1/state", headers=token))[0] == 200
        assert (await browser.ask("POST", "api/v1/targets/7/pause", headers=token))[0] == 403
        await browser.sign_in()
        assert (await browser.ask("DELETE", "api/v1/tokens/scada"))[1] == {"count": 1}
        await browser.ask("POST", "api/v1/logout")
        assert (await browser.ask("GET", "api/v1/state", headers=token))[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""])
async def test_another_host_is_not_answered(host: str, tmp_path: Path) -> None:
    async with served(tmp_path, password=False) as (browser, _):
        for path in ("", "api/v1/state", "static/app.js", "metrics"):
            assert (await browser.ask("GET", path, headers={"Host": host}))[0] in {400, 421}, path


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
async def test_another_site_changes_nothing(headers: dict[str, str], tmp_path: Path) -> None:
    async with served(tmp_path, password=False) as (browser, app):
        for method, path in operations():
            if method != "GET":
                assert (await browser.ask(method, path, {"value": "x"}, headers))[0] in {403, 415}, path
        assert app.board.targets[7].accepted == 0


@pytest.mark.parametrize(
    "path",
    [
        "static/../server.py",
        "static/%2e%2e/server.py",
        "static/..%2fserver.py",
        "static//etc/passwd",
        "static/%2fetc%2fpasswd",
        "static/..\\server.py",
        "static/",
        "static",
        f"../{FILE}",
        "vdevice.toml",
        ".git/config",
    ],
)
async def test_no_path_climbs(path: str, tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        host, _, port = browser.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: {browser.address}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ")[1] in {b"400", b"401", b"403", b"404"}, answer[:200]
        assert b"import" not in answer


async def test_every_answer_has_the_policy(tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        for path in ("", "static/app.js", "api/v1/state", "nowhere", "healthz"):
            async with browser._session.get(f"http://{browser.address}/{path}") as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "unsafe" not in policy
                assert "default-src 'none'" in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_open_to_others_needs_a_password(tmp_path: Path) -> None:
    toml = WEB.replace("127.0.0.1", "0.0.0.0") + TARGET
    with pytest.raises(VdeviceError, match="vdevice passwd"):
        async with device(toml, tmp_path):
            pass
    Access(tmp_path).set_password("admin", PASSWORD, "admin")
    async with device(toml, tmp_path) as app:
        assert app.page_address


async def test_a_port_that_is_taken_stops_no_string(recorder: Recorder, tmp_path: Path) -> None:
    async with served(tmp_path, password=False) as (browser, _):
        (tmp_path / "other").mkdir()
        toml = f'[web]\nlisten = "{browser.address}"\n{TARGET}'
        async with device(toml, tmp_path / "other") as app:
            assert app.page_address == ""
            assert app.board.healthy


async def test_passwd_takes_effect_at_once(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    access = Access(tmp_path)
    assert access.is_open
    assert "may sign in as admin" in await passwd(tmp_path, "long enough")
    await access.refresh()
    assert not access.is_open
    assert access.who("", "") is None
    session = await access.sign_in("admin", "long enough", "a")
    assert access.who(session, "")
    assert "longer one" in await passwd(tmp_path, "short", code=1)


async def passwd(folder: Path, password: str, code: int = 0) -> str:
    return await vdevice("passwd", folder=folder, code=code, given=f"{password}\n")


async def test_every_change_is_in_the_log_with_who_and_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(tmp_path) as (browser, _):
        await browser.sign_in()
        _, settings = await browser.ask("GET", "api/v1/targets/7")
        await browser.ask("PUT", "api/v1/targets/7", settings)
        await browser.ask("POST", "api/v1/targets/7/pause")
        await browser.ask("POST", "api/v1/targets/7/test", {"settings": settings["settings"], "value": "x"})
        await browser.ask("POST", "api/v1/strings/discard", {"everything": True})
        await browser.ask("POST", "api/v1/tokens", {"name": "scada"})
        await browser.ask("DELETE", f"api/v1/targets/7?tag={(await browser.ask('GET', 'api/v1/config'))[1]['tag']}")
    said = [line for line in capsys.readouterr().out.splitlines() if "audit" in line]
    for what in ("signed in", "saved", "paused", "tested", "discarded", "token made", "cleared"):
        assert [line for line in said if what in line and "who=admin" in line], what


async def test_a_person_signs_in_and_out(opened: Opened, tmp_path: Path) -> None:
    Access(tmp_path).set_password("admin", PASSWORD, "admin")
    async with opened(TARGET) as (page, _):
        await page.get_by_label("Password").fill("wrong horse")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("wrong")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.locator(".cell")).to_have_count(64)
        await page.get_by_role("link", name="Device").click()
        await page.get_by_label("name").fill("scada")
        await page.get_by_role("button", name="Make").click()
        await expect(page.locator("code")).to_have_count(1)
        await page.get_by_role("button", name="Revoke scada").click()
        await expect(page.get_by_role("button", name="Revoke scada")).to_have_count(0)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Password")).to_be_visible()


async def test_a_viewer_sees_the_page_without_what_changes(opened: Opened, tmp_path: Path) -> None:
    Access(tmp_path).set_password("admin", PASSWORD, "admin")
    Access(tmp_path).set_password("guest", PASSWORD, "viewer")
    async with opened(TARGET) as (page, app):
        await page.get_by_label("Name").fill("guest")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await page.locator('[data-number="7"]').dblclick()
        await expect(page.get_by_role("button", name="Replace URL")).to_be_visible()
        await expect(page.get_by_label("URL", exact=True)).to_have_count(0)
        for name in ("Save", "Test: send it now"):
            await expect(page.get_by_role("button", name=name)).to_have_count(0)
        for view, name in (("registers", "Write"), ("device", "Make"), ("activity", "Replay (0)")):
            await page.goto(f"http://{app.page_address}/#{view}")
            await page.wait_for_timeout(300)
            await expect(page.get_by_role("button", name=name)).to_have_count(0)


SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


async def test_a_script_in_any_text_is_text(opened: Opened, recorder: Recorder) -> None:
    toml = (
        f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "{SCRIPT}"\ndescription = "{SCRIPT}"\n'
        f'[[points]]\nname = "<b>p"\nspace = "coil"\naddress = 1\ntype = "bool"\ndescription = "{SCRIPT}"\n'
        f'[[rules]]\nsource = "<b>p"\ndescription = "{SCRIPT}"\ntemplate = "{SCRIPT}"\ndestinations = ["target/7"]\n'
    )
    async with opened(toml) as (page, app):
        said: list[str] = []
        page.on("dialog", lambda dialog: said.append(dialog.message))
        async with aiohttp.ClientSession() as session:
            await session.post(f"http://{app.page_address}/api/v1/targets/7/write", json={"value": SCRIPT})
        await recorder.wait(1)
        for view in ("targets", "activity", "rules", "registers", "device"):
            await page.goto(f"http://{app.page_address}/#{view}")
            await page.wait_for_timeout(400)
            assert await page.locator("img, script:not([type])").count() == 0
        await page.goto(f"http://{app.page_address}/#activity")
        await page.locator(".string:not(.head)").first.dblclick()
        await expect(page.locator("dialog")).to_contain_text(SCRIPT)
        assert said == []
