"""Whatever a PLC, a service or another device says: no command prints a character that steers the terminal."""

import asyncio
import contextlib
import json
import os
import pty
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.test_command_line import vdevice
from tests.support import Recorder, device, fc16, peer, until

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202e\u2066 [red]x[/] :fire:\nstate delivered"
# TOML wants the characters below U+0020 and U+007F written as escapes; json has the same ones.
WORDS = json.dumps(HOSTILE)
TOML = (
    f'[targets.7]\nmethod = "post-raw"\nattempts = 1\npayload = "$VALUE"\ndescription = {WORDS}\nurl = "%s/"\n'
    '[[points]]\nname = "p"\nspace = "coil"\naddress = 1\ntype = "bool"\n'
    f'[[rules]]\nsource = "p"\ndestinations = ["target/7"]\ntemplate = {WORDS}\n'
)


REFUSED = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(HOSTILE.encode()), HOSTILE.encode())


def steering(printed: str) -> str:
    """Return the characters of what was printed that are not text, in lines."""
    return "".join(one for one in printed.replace("\n", "").replace("\t", "") if not one.isprintable())


async def test_no_command_prints_a_character_that_steers(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: REFUSED
    async with device(TOML % recorder.url, tmp_path) as app, peer(app.address) as plc:
        assert (await plc.ask(fc16(7000, HOSTILE)))[0] == 16
        await until(lambda: app.board.targets[7].failed == 1)
        listed = json.loads(await vdevice("outbox", "list", "--json", folder=tmp_path))
        assert listed[0]["value"] == HOSTILE
        commands = [
            ["outbox", "list"],
            ["outbox", "list", "--json"],
            ["outbox", "show", listed[0]["id"]],
            ["outbox", "show", listed[0]["id"], "--json"],
            ["outbox", "export"],
            ["status", "--port", app.address.rpartition(":")[2]],
            ["status", "--port", app.address.rpartition(":")[2], "--json"],
            ["render", "7", HOSTILE],
            ["render", "7", HOSTILE, "--json"],
            ["rules", "test", "p", "1"],
            ["decode", HOSTILE.encode("utf-8").ljust(60).hex()],
            ["check"],
        ]
        for command in commands:
            printed = await vdevice(*command, folder=tmp_path)
            assert steering(printed) == "", command
        shown = await vdevice("outbox", "show", listed[0]["id"], folder=tmp_path)
        assert r"\x1b]0;owned\x07\x1b[2J\x9b2J\u202e\u2066 [red]x[/] :fire:\nstate delivered" in shown
        assert ":fire:" in await vdevice("render", "7", HOSTILE, folder=tmp_path)


@contextlib.asynccontextmanager
async def on_terminal(folder: Path, *arguments: str, **environment: str):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Run a command on a terminal of its own; gives what it has printed so far."""
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vdevice", *arguments, cwd=folder, stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "dumb", "NO_COLOR": "1", **environment},
    )  # fmt: skip
    os.close(slave)
    printed = bytearray()

    def read() -> None:
        try:
            printed.extend(os.read(master, 65536))
        except OSError:
            asyncio.get_running_loop().remove_reader(master)

    asyncio.get_running_loop().add_reader(master, read)
    try:
        yield printed
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


async def test_what_receive_prints_on_a_terminal_steers_it_not(tmp_path: Path) -> None:
    async with on_terminal(tmp_path, "receive", "--port", "0") as printed:
        await until(lambda: b"receiving on http" in printed)
        url = printed.decode().partition("receiving on ")[2].partition(",")[0]
        async with aiohttp.ClientSession() as session, session.post(url, data=HOSTILE.encode() + b" end") as response:
            assert response.status == 200
        await until(lambda: b"delivered end" in printed)
        assert steering(printed.decode().replace("\r\n", "\n")) == ""


@pytest.mark.parametrize("form", ["console", "json"])
async def test_the_log_on_a_terminal_steers_it_not(form: str, recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: REFUSED
    (tmp_path / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "127.0.0.1:0"\n[web]\nenabled = false\n{TOML % recorder.url}'
    )
    async with on_terminal(tmp_path, "run", "--log-format", form) as printed:
        await until(lambda: re.search(rb"127\.0\.0\.1:[1-9]", printed) is not None, 30)
        port = re.findall(r"127\.0\.0\.1:(\d+)", printed.decode())[0]
        await vdevice("send", "7", HOSTILE, "--port", port, folder=tmp_path)
        await until(lambda: b"HTTP 400" in printed)
        # The colours of the log are its own.
        said = re.sub(r"\x1b\[\d*m", "", printed.decode().replace("\r\n", "\n"))
        assert steering(said) == ""
