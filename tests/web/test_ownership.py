"""An admin of the page is not the owner of the machine, and a viewer sees no key in a URL."""

from pathlib import Path

import pytest

from tests.support import Recorder, fc16, peer, until
from tests.web.test_access import Browser, served
from vdevice.app import App

TOKEN, PASSED = "kept-token-4711", "query-key-4712"


def configure(folder: Path, url: str) -> str:
    """Write the config anew; returns its text."""
    path = folder / "vdevice.toml"
    text = path.read_text().partition("[targets.7]")[0] + (
        f'[targets.7]\nmethod = "post-raw"\nattempts = 1\nurl = "{url}/path-{PASSED}?key={PASSED}"\npayload = "$VALUE"\n'
        f'bearer_token = "{TOKEN}"\n'
    )
    path.write_text(text)
    return text


async def settings_of(browser: Browser) -> tuple[dict[str, object], dict[str, object]]:
    status, read = await browser.ask("GET", "api/v1/targets/7")
    assert status == 200
    settings = read["settings"]
    assert isinstance(settings, dict)
    return read, settings


@pytest.mark.parametrize("what", ["test", "render", "save"])
async def test_a_kept_secret_goes_nowhere_else(what: str, recorder: Recorder, tmp_path: Path) -> None:
    async with Recorder().serve() as evil, served(tmp_path) as (browser, app):
        text = configure(tmp_path, recorder.url)
        await app.reload()
        await browser.sign_in()
        read, settings = await settings_of(browser)
        settings["url"] = f"{evil.url}/"
        if what == "save":
            status, said = await browser.ask("PUT", "api/v1/targets/7", {**read, "settings": settings})
        else:
            status, said = await browser.ask("POST", f"api/v1/targets/7/{what}", {"settings": settings})
        assert status == 422
        assert "targets.7.bearer_token" in str(said)
        assert evil.requests == []
        assert (tmp_path / "vdevice.toml").read_text() == text


async def test_a_test_of_the_same_server_keeps_them_and_the_audit_says_what_changed(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as (browser, app):
        configure(tmp_path, recorder.url)
        await app.reload()
        await browser.sign_in()
        _, settings = await settings_of(browser)
        settings |= {"url": f"{recorder.url}/other", "payload": "x"}
        status, _ = await browser.ask("POST", "api/v1/targets/7/test", {"settings": settings})
        assert status == 200
        assert TOKEN.encode() in recorder.requests[0]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "tested" in line]
    assert recorder.hostport in line
    assert "['payload', 'url']" in line


@pytest.mark.parametrize("secret", [{"file": "/etc/hostname"}, {"file": "vdevice.users.json"}, {"env": "PATH"}])
async def test_the_api_reads_no_file_and_variable_of_the_machine(
    secret: dict[str, str], recorder: Recorder, tmp_path: Path
) -> None:
    async with served(tmp_path) as (browser, app):
        configure(tmp_path, recorder.url)
        await app.reload()
        await browser.sign_in()
        read, settings = await settings_of(browser)
        settings["headers"] = {"X": secret}
        for method, path, body in (
            ("POST", "test", {"settings": settings}),
            ("POST", "render", {"settings": settings}),
            ("PUT", "", {**read, "settings": settings}),
        ):
            status, said = await browser.ask(method, f"api/v1/targets/7/{path}".rstrip("/"), body)
            assert status == 422
            assert "targets.7.headers.X" in str(said)
        assert recorder.requests == []


async def test_the_api_reads_files_of_the_folder_for_them(recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "x").write_text("from the folder")
    async with served(tmp_path) as (browser, app):
        configure(tmp_path, recorder.url)
        await app.reload()
        await browser.sign_in()
        _, settings = await settings_of(browser)
        settings["headers"] = {"X": {"file": "secrets/x"}}
        assert (await browser.ask("POST", "api/v1/targets/7/test", {"settings": settings}))[0] == 200
        assert b"X: from the folder" in recorder.requests[0]


async def everything(browser: Browser, app: App) -> str:
    """Return what the API tells of target 7 and its messages."""
    told = ""
    for path in ("state", "targets/7", "strings", "config", "system", "converter", "map/md", "map/json"):
        told += str((await browser.ask("GET", f"api/v1/{path}"))[1])
    _, rows = await browser.ask("GET", "api/v1/strings")
    for row in rows:
        told += str((await browser.ask("GET", f"api/v1/strings/{row['id']}"))[1])  # type: ignore[index]
    assert app.config.device.id in told
    return told


async def test_a_viewer_sees_no_path_and_query_of_a_url(recorder: Recorder, tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, app), peer(app.address) as plc:
        configure(tmp_path, recorder.url)
        await app.reload()
        recorder.reply = lambda _n: b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"
        await plc.ask(fc16(7000, "x"))
        await until(lambda: app.board.targets[7].failed == 1)
        await browser.sign_in("guest")
        told = await everything(browser, app)
        assert "POST ***" in told
        assert PASSED not in told
        await browser.sign_in()
        assert PASSED in await everything(browser, app)
