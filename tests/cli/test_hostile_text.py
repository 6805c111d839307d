"""Whatever the charset of the terminal and the bytes of a file name: a command prints, and never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOML = (
    '[targets.7]\ndescription = "Kessel ü €"\nmethod = "post-raw"\nurl = "http://127.0.0.1:9/"\npayload = "$VALUE ü"\n'
)
NO_TEXT = b"\xfe.toml"
COMMANDS = (["check"], ["map"], ["map", "--format", "json"], ["doctor"], ["render", "7", "€ 😀"], ["check", "--json"])


def run(folder: Path, charset: str, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": f"{charset}:strict", "COLUMNS": "200"}
    command = [sys.executable, "-m", "vdevice", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)


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
