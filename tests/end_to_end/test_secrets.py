"""Planted secrets of every kind are looked for in everything that leaves the device but the requests themselves."""

import base64
import json
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.test_command_line import configure, running, vdevice
from tests.support import Recorder, answer
from vdevice import sheets

PLANTED = {
    "PATH": "T00/B00/secret-slack-path",
    "PASSWORD": "secret-pass:word",
    "BEARER": "secret-bearer-4711",
    "HEADER": "secret-header-4712",
    "FROM_ENV": "secret-header-4713",
    "URL": "secret-url-4714",
    "PROXY": "secret-proxy-4715",
    "SIGNING": "c2VjcmV0LXNpZ25pbmc=",
}
BASIC = base64.b64encode(f"operator:{PLANTED['PASSWORD']}".encode()).decode()
SECRETS = [*PLANTED.values(), BASIC, "wrong-secret-4716"]


def plant(folder: Path, recorder: Recorder) -> None:
    configure(folder, recorder)
    path = folder / "vdevice.toml"
    raw = f'method = "post-raw"\nurl = "{recorder.url}/p"\npayload = "$VALUE"\nattempts = 2\nbackoff = 0.02\n'
    slack = (
        f'method = "slack"\nurl = "{recorder.url}/{PLANTED["PATH"]}"\npayload = "$VALUE"\nrate = 100\nattempts = 2\n'
    )
    headers = f'headers = {{ X-Key = "{PLANTED["HEADER"]}", X-Env = {{ env = "FROM_ENV" }} }}\n'
    tables = {
        1: f"{slack}backoff = 0.02",
        2: f'{raw}bearer_token = "{PLANTED["BEARER"]}"\n{headers}signing_secret = "whsec_{PLANTED["SIGNING"]}"',
        3: f'{raw}auth_user = "operator"\nauth_password = "{PLANTED["PASSWORD"]}"',
        4: f'{raw}proxy = "http://u:{PLANTED["PROXY"]}@127.0.0.1:9"',
        5: 'method = "get"\nurl = { env = "URL" }\nattempts = 2\nbackoff = 0.02',
    }
    path.write_text(path.read_text() + "".join(f"[targets.{number}]\n{table}\n" for number, table in tables.items()))


def found(words: str) -> list[str]:
    return [secret for secret in SECRETS if secret in words]


async def test_no_planted_secret_is_shown_anywhere(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, recorder)
    monkeypatch.setenv("FROM_ENV", PLANTED["FROM_ENV"])
    monkeypatch.setenv("URL", f"{recorder.url}/{PLANTED['URL']}")
    # A service that repeats what it was sent, as many do in their errors; once as a success, too.
    well = PLANTED["URL"].encode()
    recorder.reply = lambda n: answer(
        200 if well in recorder.requests[n] else 401, f"you sent {recorder.requests[n].decode()}"
    )
    shown: dict[str, str] = {}

    async def show(*arguments: str, code: int = 0) -> None:
        shown[" ".join(arguments)] = await vdevice(*arguments, folder=tmp_path, code=code)

    async with running(tmp_path) as process:
        for number in range(1, 6):
            await show("send", str(number), "words", "--wait", code=1 if number != 5 else 0)
            await show("render", str(number), "words")
        device = psutil.Process(process.pid)
        shown["ps"] = " ".join(word for one in (device, *device.children()) for word in one.cmdline())
        await show("status", "--json")
        await show("outbox", "list", "--json")
        await show("outbox", "export")
        for row in json.loads(shown["outbox list --json"]):
            await show("outbox", "show", row["id"])
        await show("backup", "kept.zip")
        # A config that is wrong in and beside its secrets.
        path = tmp_path / "vdevice.toml"
        good = path.read_text()
        path.write_text(
            good.replace('bearer_token = "', 'bearer_token = "wrong-secret-4716\\n').replace("X-Key", "X Key")
        )
        await show("check", code=1)
        await show("check", "--json", code=1)
        await show("doctor", code=2)
        path.write_text(good.replace('auth_password = "', 'auth_password = ["wrong-secret-4716", "'))
        await show("check", code=1)
        path.write_text(good)
        await show("check")
        await show("doctor", code=1)
        for form in sheets.FORMATS:
            await show("map", "--format", form)
    assert len(recorder.requests) == 4
    assert "you sent" in shown["outbox export"]
    shown["log"] = (tmp_path / "log").read_text()
    for file in tmp_path.glob("vdevice.db*"):
        shown[file.name] = file.read_bytes().decode("latin-1")
    with zipfile.ZipFile(tmp_path / "kept.zip") as kept:
        shown |= {f"backup: {name}": kept.read(name).decode("latin-1") for name in kept.namelist()}
    assert {what: found(words) for what, words in shown.items() if found(words)} == {}


async def test_they_are_shown_to_who_asks_for_them(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, recorder)
    monkeypatch.setenv("FROM_ENV", PLANTED["FROM_ENV"])
    monkeypatch.setenv("URL", f"{recorder.url}/{PLANTED['URL']}")
    for number, name in ((1, "PATH"), (2, "BEARER"), (2, "HEADER"), (5, "URL")):
        assert PLANTED[name] in await vdevice("render", str(number), "x", "--show-secrets", folder=tmp_path)
