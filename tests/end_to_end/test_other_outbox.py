"""A config that names another outbox than the running device uses: until the restart all work on the one that it uses."""

import contextlib
import json
import re
import secrets
import signal
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import NatsServer
from tests.end_to_end.test_command_line import configure, log_lines, running, vdevice
from tests.support import Recorder, answer, until


def on_sqlite(_nats: NatsServer, name: str) -> str:
    return f'[outbox]\nurl = "sqlite:///{name}.db"'


def on_nats(nats: NatsServer, name: str) -> str:
    return f'[device]\nid = "{name}"\n[outbox]\nurl = "{nats.url}"'


@pytest.mark.parametrize("outbox", [on_sqlite, on_nats])
async def test_commands_beside_a_running_device_work_on_its_own_outbox(
    recorder: Recorder, nats: NatsServer, tmp_path: Path, outbox: Callable[[NatsServer, str], str]
) -> None:
    recorder.reply = lambda _n: answer(503)
    configure(tmp_path, recorder, outbox(nats, f"old {secrets.token_hex(4)}"), "attempts = 100000\n")
    values = [f"text {number}" for number in range(3)]
    async with running(tmp_path) as process:
        for value in values:
            await vdevice("send", "7", value, folder=tmp_path)
        text = (tmp_path / "vdevice.toml").read_text()
        (tmp_path / "vdevice.toml").write_text(text.replace("old ", "new "))
        await until(lambda: any("needs a restart" in str(line) for line in log_lines(tmp_path)))
        rows = json.loads((await vdevice("outbox", "list", "--json", folder=tmp_path)).partition("command\n")[2])
        assert [row["value"] for row in rows] == values[::-1]
        await vdevice("backup", "plant.zip", folder=tmp_path)
        assert "another vdevice is running" in (said := await move(tmp_path)) or "stop all of them" in said
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert kept(tmp_path) == values
    # What a killed device left behind says nothing; the config counts again.
    said = await vdevice("outbox", "list", "--json", folder=tmp_path, code=1 if outbox is on_sqlite else 0)
    assert "there is no outbox" in said or json.loads(said) == []


async def move(folder: Path) -> str:
    return await vdevice("outbox", "move", "--to", "sqlite:///third.db", folder=folder, code=1)


def kept(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "plant.zip") as archive:
        archive.extract("outbox.db", folder)
    with contextlib.closing(sqlite3.connect(folder / "outbox.db")) as copy:
        return [value for (value,) in copy.execute("SELECT value FROM event WHERE state = 0 ORDER BY seq")]


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"])
async def test_commands_find_a_port_that_was_free(recorder: Recorder, tmp_path: Path, listen: str) -> None:
    configure(tmp_path, recorder)
    path = tmp_path / "vdevice.toml"
    path.write_text(re.sub(r"127\.0\.0\.1:[0-9]+\"\n", f'{listen}:0"\n', path.read_text(), count=1))
    for command in (["status"], ["send", "7", "text"]):
        said = await vdevice(*command, folder=tmp_path, code=1)
        assert said.count("\n") == 1, "one sentence, and no word of a library"
        assert "no device runs with it" in said
    async with running(tmp_path):
        assert "delivered" in await vdevice("send", "7", "text", "--wait", folder=tmp_path)
        # Another port needs a restart; until then the device is where it is.
        path.write_text(path.read_text().replace(f'{listen}:0"', '127.0.0.1:1"'))
        assert "healthy" in await vdevice("status", folder=tmp_path)
        (line,) = (await vdevice("status", "--port", "1", folder=tmp_path, code=1)).splitlines()
        assert "no device answers on 127.0.0.1:1" in line
    (line,) = (await vdevice("status", folder=tmp_path, code=1)).splitlines()
    assert "no device answers on 127.0.0.1:1" in line
