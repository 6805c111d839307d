"""Backup and restore as an operator does them: while running, into an empty folder, over what is there."""

import contextlib
import json
import shutil
import signal
import stat
import zipfile
from pathlib import Path

import pytest

from tests.brokers import nats_server
from tests.end_to_end.test_command_line import configure, running, vdevice
from tests.support import Recorder, answer

SECRET = "kept-from-backups"


@pytest.mark.parametrize("kind", ["sqlite", "nats"])
async def test_a_backup_of_a_running_device_is_restored_where_all_was_lost(
    recorder: Recorder, tmp_path: Path, kind: str
) -> None:
    with contextlib.ExitStack() as stack:
        more = ""
        if kind == "nats":
            server = stack.enter_context(nats_server(tmp_path / "nats"))
            more = f'[outbox]\nurl = "{server.url}"\n'
        configure(tmp_path, recorder, more, f'auth_user = "u"\nauth_password = "{SECRET}"')
        recorder.reply = lambda _n: answer(404)
        async with running(tmp_path):
            await vdevice("send", "7", "dead", "--wait", folder=tmp_path, code=1)
            assert "2 secrets are left out" in await vdevice("backup", "plant.zip", folder=tmp_path)
            assert "cannot be written" in await vdevice("backup", "plant.zip", folder=tmp_path, code=1)
            await vdevice("backup", "all.zip", "--secrets", folder=tmp_path)
        assert stat.S_IMODE((tmp_path / "plant.zip").stat().st_mode) == 0o600
        with zipfile.ZipFile(tmp_path / "plant.zip") as archive:
            assert not any(SECRET.encode() in archive.read(name) for name in archive.namelist())
        with zipfile.ZipFile(tmp_path / "all.zip") as archive:
            assert SECRET.encode() in archive.read("vdevice.toml")
        if kind == "nats":
            server.stop(signal.SIGKILL)
            shutil.rmtree(tmp_path / "nats" / "js")
            server.start()
        other = tmp_path / "other"
        other.mkdir()
        assert "set VDEVICE_TARGETS_7_AUTH_PASSWORD" in await vdevice("restore", "../plant.zip", folder=other)
        assert "is not set" in await vdevice("check", folder=other, code=1)
        env = {"VDEVICE_TARGETS_7_URL": f"{recorder.url}/p", "VDEVICE_TARGETS_7_AUTH_PASSWORD": SECRET}
        rows = json.loads(await vdevice("outbox", "list", "--json", folder=other, env=env))
        assert [(row["value"], row["state"], row["http_status"]) for row in rows] == [("dead", "failed", 404)]


async def test_what_is_there_is_set_aside_and_never_deleted(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    async with running(tmp_path):
        await vdevice("send", "7", "first", "--wait", folder=tmp_path)
        await vdevice("backup", "plant.zip", "--secrets", folder=tmp_path)
        await vdevice("send", "7", "second", "--wait", folder=tmp_path)
        assert "stop it" in await vdevice("restore", "plant.zip", "--replace", folder=tmp_path, code=1)
    assert "is there already" in await vdevice("restore", "plant.zip", folder=tmp_path, code=1)
    await vdevice("restore", "plant.zip", "--replace", folder=tmp_path)
    rows = json.loads(await vdevice("outbox", "list", "--json", folder=tmp_path))
    assert [row["value"] for row in rows] == ["first"]
    kept = [path.name for path in tmp_path.iterdir() if "before-restore" in path.name]
    assert any(name.startswith("vdevice.toml") for name in kept)
    assert any(name.startswith("vdevice.db") for name in kept)
    assert "no backup" in await vdevice("restore", "vdevice.toml", "--replace", folder=tmp_path, code=1)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for name in ("vdevice.toml", "backup.json", "outbox.db"):
            archive.writestr(name, "{}" if name == "backup.json" else "")
    assert "no backup" in await vdevice("restore", "other.zip", "--replace", folder=tmp_path, code=1)


async def test_nothing_is_restored_beside_a_device_whose_config_names_another_outbox(
    recorder: Recorder, tmp_path: Path
) -> None:
    configure(tmp_path, recorder, '[outbox]\nurl = "sqlite:///old.db"\n')
    async with running(tmp_path):
        await vdevice("backup", "plant.zip", "--secrets", folder=tmp_path)
    text = (tmp_path / "vdevice.toml").read_text().replace("old.db", "new.db")
    (tmp_path / "vdevice.toml").write_text(text)
    async with running(tmp_path):
        # What waits in the device's outbox would be left behind at its next start.
        assert "a device runs with" in await vdevice("restore", "plant.zip", "--replace", folder=tmp_path, code=1)
        assert (tmp_path / "vdevice.toml").read_text() == text
    await vdevice("restore", "plant.zip", "--replace", folder=tmp_path)
    assert "old.db" in (tmp_path / "vdevice.toml").read_text()
