"""Whatever the charset of the terminal and the bytes of a file name: a command prints, and never a traceback."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import device, fc16, peer, until

TOML = (
    '[targets.7]\ndescription = "Kessel ü €"\nmethod = "post-raw"\nurl = "http://127.0.0.1:9/"\npayload = "$VALUE ü"\n'
)
NO_TEXT = b"\xfe.toml"
COMMANDS = (["check"], ["map"], ["map", "--format", "json"], ["doctor"], ["render", "7", "€ 😀"], ["check", "--json"])


def run(folder: Path, charset: str, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": f"{charset}:strict", "COLUMNS": "200"}
    command = [sys.executable, "-m", "vdevice", *arguments]
    given = b"a long password\n"
    return subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("charset", ["utf-8", "ascii"])
def test_no_command_ends_in_a_traceback(tmp_path: Path, charset: str) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + NO_TEXT)).write_text(TOML, "utf-8")
    for command in COMMANDS:
        done = run(tmp_path, charset, *command, "--config", NO_TEXT)
        assert b"Traceback" not in done.stderr, (command, done.stderr.decode("utf-8", "replace"))
        assert done.stdout, command


@pytest.mark.parametrize("charset", ["utf-8", "ascii"])
def test_json_is_utf8_and_json_whatever_the_terminal(tmp_path: Path, charset: str) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + NO_TEXT)).write_text(TOML, "utf-8")
    printed = run(tmp_path, charset, "map", "--format", "json", "--config", NO_TEXT).stdout.decode("utf-8")
    assert "Kessel ü €" in json.dumps(json.loads(printed), ensure_ascii=False)
    assert json.loads(run(tmp_path, charset, "doctor", "--json", "--config", NO_TEXT).stdout.decode("utf-8"))


NO_ARGUMENT = b"a\xffb"
ARGUMENTS: list[list[str | bytes]] = [
    ["outbox", "show", NO_ARGUMENT],
    ["outbox", "replay", NO_ARGUMENT],
    ["outbox", "discard", NO_ARGUMENT, "--reason", "x"],
    ["outbox", "discard", "--all", "--reason", NO_ARGUMENT],
    ["render", "7", NO_ARGUMENT],
    ["send", "7", NO_ARGUMENT],
    ["status", "--host", NO_ARGUMENT],
    ["target", "pause", NO_ARGUMENT],
    ["passwd", NO_ARGUMENT],
]


async def test_an_argument_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    async with device(TOML + "attempts = 1\n", tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, "given up")))[0] == 16
        await until(lambda: app.board.targets[7].failed == 1)
        for command in ARGUMENTS:
            done = await asyncio.to_thread(run, tmp_path, "utf-8", *command)
            said = (done.stdout + done.stderr).decode("utf-8")
            assert "Traceback" not in said, (command, said)
            assert done.returncode in {1, 2}, (command, said)
        assert app.board.targets[7].failed == 1
