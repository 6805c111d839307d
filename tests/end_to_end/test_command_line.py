"""The command line as a person uses it: processes, exit codes, one sentence for a mistake."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.brokers import NatsServer
from tests.support import Recorder, answer, device, fc16, free_port, listening, peer, start, until
from vdevice.config import load

SECRET = "T0/B0/verysecretpath"


async def vdevice(
    *arguments: str,
    folder: Path,
    code: int = 0,
    env: dict[str, str] | None = None,
    seconds: float = 60,
    given: str = "",
) -> str:
    """Run a command in a folder; returns what it printed, and checks its exit code and that there is no traceback."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vdevice", *arguments, cwd=folder, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
    )  # fmt: skip
    async with asyncio.timeout(seconds):
        output = (await process.communicate(given.encode()))[0].decode()
    assert "Traceback" not in output, output
    assert process.returncode == code, output
    return output


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vdevice", "run", cwd=folder, stdout=log, stderr=log
        )
    try:
        await until(lambda: '"running"' in (folder / "log").read_text(), 20)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            assert await process.wait() == 0


def log_lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def configure(folder: Path, recorder: Recorder, more: str = "", settings: str = "") -> int:
    port = free_port()
    (folder / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "127.0.0.1:{port}"\n{more}\n[web]\nenabled = false\n'
        '[targets.7]\ndescription = "Boiler"\nmethod = "post-raw"\n'
        f'url = "{recorder.url}/p"\npayload = "$VALUE"\nbackoff = 0.02\n{settings}\n'
    )
    return port


async def test_the_first_evening(recorder: Recorder, tmp_path: Path) -> None:
    assert "is written" in await vdevice("init", folder=tmp_path)
    assert stat.S_IMODE((tmp_path / "vdevice.toml").stat().st_mode) == 0o600
    assert "there already" in await vdevice("init", folder=tmp_path, code=1)
    assert "right, 1 targets" in await vdevice("check", folder=tmp_path)
    assert "POST /alarm HTTP/1.1" in await vdevice("render", "1", "hello", folder=tmp_path)
    configure(tmp_path, recorder)
    async with running(tmp_path):
        assert "delivered, HTTP 200" in await vdevice("send", "7", "Grüße", "--wait", folder=tmp_path)
        assert "Boiler" in await vdevice("status", folder=tmp_path)
        status = json.loads(await vdevice("status", "--json", folder=tmp_path))
        assert status["targets"]["7"]["delivered"] == 1
        (event,) = json.loads(await vdevice("outbox", "list", "--json", folder=tmp_path))
        assert (event["state"], event["value"]) == ("delivered", "Grüße")
        assert "Grüße" in await vdevice("outbox", "show", event["id"][:14], folder=tmp_path)
    assert recorder.bodies() == ["Grüße".encode()]
    assert [line["event"] for line in log_lines(tmp_path)] == ["running", "accepted", "delivered", "stopped"]


async def test_dead_letters_are_seen_replayed_and_discarded_while_running(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    recorder.reply = lambda _n: answer(404, "gone")
    async with running(tmp_path):
        for text in ("a", "b"):
            output = await vdevice("send", "7", text, "--wait", folder=tmp_path, code=1)
            assert "HTTP 404" in output
        failed = json.loads(await vdevice("outbox", "list", "--state", "failed", "--json", folder=tmp_path))
        assert [(row["value"], row["answer"]) for row in failed] == [("b", "gone"), ("a", "gone")]
        assert "1 discarded" in await vdevice("outbox", "discard", failed[0]["id"], folder=tmp_path)
        recorder.reply = lambda _n: answer(200)
        assert "1 queued again" in await vdevice("outbox", "replay", "--all", folder=tmp_path)
        await recorder.wait(3)
    assert recorder.bodies()[-1] == b"a"
    keys = [raw.split(b"Idempotency-Key: ")[1][:32] for raw in recorder.requests]
    assert keys[2] == keys[0]


async def test_dead_letters_are_chosen_by_what_they_are_and_exported(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    recorder.reply = lambda n: answer(404 if n < 2 else 400, "gone")
    async with running(tmp_path):
        for text in ("alpha", "beta", "alphabet"):
            await vdevice("send", "7", text, "--wait", folder=tmp_path, code=1)
        names = ("outbox", "list", "--text", "alpha", "--json")
        assert [row["value"] for row in json.loads(await vdevice(*names, folder=tmp_path))] == ["alphabet", "alpha"]
        assert json.loads(await vdevice("outbox", "list", "--error", "3", "--json", folder=tmp_path)) == []
        discarded = await vdevice(
            "outbox", "discard", "--all", "--text", "HTTP 400", "--reason", "no use", folder=tmp_path
        )
        assert "1 discarded" in discarded
        lines = (await vdevice("outbox", "export", folder=tmp_path)).splitlines()
        rows = [json.loads(line) for line in lines]
        assert [(row["value"], row["state"], row["error_text"]) for row in rows] == [
            ("alpha", "failed", "HTTP 404, given up: gone"),
            ("beta", "failed", "HTTP 404, given up: gone"),
            ("alphabet", "discarded", "no use"),
        ]
        recorder.reply = lambda _n: answer(200)
        assert "0 queued" in await vdevice("outbox", "replay", "--all", "--target", "8", folder=tmp_path)
        assert "1 queued" in await vdevice("outbox", "replay", "--all", "--text", "beta", folder=tmp_path)
        await recorder.wait(4)
    assert recorder.bodies()[-1] == b"beta"


async def test_a_target_is_paused_and_resumed(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    async with running(tmp_path):
        assert "target/7: paused" in await vdevice("target", "pause", "7", folder=tmp_path)
        assert "was paused already" in await vdevice("target", "pause", "7", folder=tmp_path)
        await asyncio.sleep(1.2)
        assert "1 queued" in await vdevice("send", "7", "waits", folder=tmp_path)
        assert "paused" in await vdevice("status", folder=tmp_path)
        assert recorder.requests == []
        assert "target/7: resumed" in await vdevice("target", "resume", "7", folder=tmp_path)
        await recorder.wait(1)
    assert "is not configured" in await vdevice("target", "pause", "8", folder=tmp_path, code=2)


async def test_a_target_without_room_is_seen(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    configure(tmp_path, recorder, "[outbox]\nmax_messages = 3", "attempts = 1000")
    async with running(tmp_path):
        for value in "ab":
            await vdevice("send", "7", value, folder=tmp_path)
        assert "no room for this target" in await vdevice("send", "7", "c", folder=tmp_path, code=1)
        status = json.loads(await vdevice("status", "--json", folder=tmp_path))
        assert [status["targets"]["7"][name] for name in ("queued", "refused", "full")] == [2, 1, True]
        shown = await vdevice("status", folder=tmp_path)
        assert "full" in shown
        assert "outbox full" not in shown


async def test_roles_and_a_move_on_the_command_line(recorder: Recorder, nats: NatsServer, tmp_path: Path) -> None:
    configure(tmp_path, recorder, f'[device]\nid = "cli {secrets.token_hex(4)}"')
    async with running(tmp_path):
        await vdevice("target", "pause", "7", folder=tmp_path)
        await asyncio.sleep(1.2)
        await vdevice("send", "7", "carried", folder=tmp_path)
        assert "stop it" in await vdevice("outbox", "move", "--to", nats.url, folder=tmp_path, code=1)
    assert "1 waiting" in await vdevice("outbox", "move", "--to", nats.url, folder=tmp_path)
    assert "0 waiting" in await vdevice("outbox", "move", "--to", nats.url, folder=tmp_path)
    config = tmp_path / "vdevice.toml"
    config.write_text(f'[outbox]\nurl = "{nats.url}"\n' + config.read_text())
    assert "carried" in await vdevice("outbox", "list", folder=tmp_path)
    assert "resumed" in await vdevice("target", "resume", "7", folder=tmp_path)
    dispatcher = await start(config, "dispatcher")
    device = await start(config, "device")
    try:
        await recorder.wait(1)
        await listening(f"127.0.0.1:{load(config).modbus.listen.port}")
        assert "delivered, HTTP 200" in await vdevice("send", "7", "more", "--wait", folder=tmp_path)
    finally:
        for process in (dispatcher, device):
            process.terminate()
            assert await process.wait() == 0
    assert recorder.bodies() == [b"carried", b"more"]


async def test_sighup_reloads_and_a_wrong_file_is_refused(recorder: Recorder, tmp_path: Path) -> None:
    port = configure(tmp_path, recorder)
    path = tmp_path / "vdevice.toml"
    good = path.read_text()
    async with running(tmp_path) as process:
        path.write_text("[nonsense]")
        process.send_signal(signal.SIGHUP)
        await until(lambda: "config refused" in (tmp_path / "log").read_text())
        here = ("--host", "127.0.0.1", "--port", str(port))
        assert "delivered" in await vdevice("send", "7", "x", "--wait", *here, folder=tmp_path)
        path.write_text(good.replace("/p", "/other").replace('listen = "127.0.0.1', 'listen = "127.0.0.2'))
        process.send_signal(signal.SIGHUP)
        await until(lambda: "config loaded" in (tmp_path / "log").read_text())
        assert "modbus.listen" in (tmp_path / "log").read_text()
        await vdevice("send", "7", "x", "--wait", *here, folder=tmp_path)
        assert recorder.requests[-1].startswith(b"POST /other ")
        # Without a signal the device finds out by itself.
        path.write_text(good.replace("/p", "/third"))
        await until(lambda: (tmp_path / "log").read_text().count("config loaded") == 2)
        await vdevice("send", "7", "x", "--wait", folder=tmp_path)
        assert recorder.requests[-1].startswith(b"POST /third ")


async def test_no_secret_and_no_payload_in_log_or_render(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder, settings='bearer_token = { env = "TOKEN" }\nheaders = { X-Key = "key-9876" }')
    path = tmp_path / "vdevice.toml"
    slack = f'[targets.8]\nmethod = "slack"\nurl = "{recorder.url}/{SECRET}"\npayload = "$VALUE"\nattempts = 2\nrate = 100\n'
    path.write_text(
        path.read_text() + slack + f'[targets.9]\nmethod = "get"\nurl = "http://127.0.0.1:9/{SECRET}"\nattempts = 1'
    )
    env = {"TOKEN": "token-4711"}
    os.environ.update(env)
    try:
        async with running(tmp_path):
            recorder.reply = lambda n: answer(500) if n else answer(200, "ok")
            for number in ("7", "8", "9"):
                await vdevice(
                    "send", number, "payload-words", "--wait", folder=tmp_path, code=0 if number == "7" else 1
                )
    finally:
        del os.environ["TOKEN"]
    log = (tmp_path / "log").read_text()
    for word in (SECRET, "token-4711", "key-9876", "payload-words"):
        assert word not in log
    assert {"accepted", "delivered", "retry", "given up"} <= {str(line["event"]) for line in log_lines(tmp_path)}
    for number in ("7", "8"):
        shown = await vdevice("render", number, "x", folder=tmp_path, env=env)
        assert not any(word in shown for word in (SECRET, "token-4711", "key-9876"))
    assert "token-4711" in await vdevice("render", "7", "x", "--show-secrets", folder=tmp_path, env=env)


async def test_debug_logs_the_payload_of_that_target(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder, settings="debug = true")
    async with running(tmp_path):
        await vdevice("send", "7", "payload-words", "--wait", folder=tmp_path)
    assert "payload-words" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check"], 1, "vdevice init"),
        (["run"], 2, "vdevice init"),
        (["render", "7", "x"], 2, "vdevice init"),
        (["render", "65", "x"], 2, "65"),
        (["send", "7", "x", "--host", "127.0.0.1", "--port", "9"], 1, "no device answers"),
        (["status", "--host", "127.0.0.1", "--port", "9"], 1, "no device answers"),
        (["nonsense"], 2, "nonsense"),
        (["outbox", "list"], 2, "vdevice init"),
        (["map", "--output", "no/such/folder/x"], 1, "cannot be written"),
    ],
)
async def test_a_mistake_is_one_sentence(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    assert words in await vdevice(*arguments, folder=tmp_path, code=code)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--role", "device"], 1, "needs an outbox that several processes share"),
        (["outbox", "move", "--to", "redis://h"], 2, "no outbox"),
        (["outbox", "move", "--to", "sqlite:///vdevice.db"], 1, "the outbox itself"),
        (["outbox", "move", "--to", "sqlite:///./vdevice.db"], 1, "the outbox itself"),
        (["outbox", "move", "--to", "nats://127.0.0.1:9"], 1, "check that it runs"),
        (["outbox", "discard", "--target", "7"], 1, "name events, or use --all"),
        (["outbox", "replay", "0", "--text", "x"], 1, "name events, or use --all"),
    ],
)
async def test_a_mistake_beside_a_config_is_one_sentence(
    recorder: Recorder, arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    configure(tmp_path, recorder)
    assert words in await vdevice(*arguments, folder=tmp_path, code=code)


async def test_a_move_to_a_config_in_another_folder_is_to_another_outbox(recorder: Recorder, tmp_path: Path) -> None:
    """Both may have the default `outbox.url`, which is relative to the config."""
    (tmp_path / "other").mkdir()
    configure(tmp_path, recorder)
    configure(tmp_path / "other", recorder)
    assert "0 waiting" in await vdevice("outbox", "move", "--to", "other/vdevice.toml", folder=tmp_path)
    assert (tmp_path / "other/vdevice.db").exists()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def test_a_port_in_use_is_one_sentence(tmp_path: Path, taken: int) -> None:
    (tmp_path / "vdevice.toml").write_text(f'[modbus]\nlisten = "127.0.0.1:{taken}"')
    assert "in use by another program" in await vdevice("run", folder=tmp_path, code=1)
    assert "choose another --port" in await vdevice("receive", "--port", str(taken), folder=tmp_path, code=1)


async def test_a_second_device_on_the_same_outbox_is_one_sentence(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    async with running(tmp_path):
        assert "another vdevice is running" in await vdevice("run", folder=tmp_path, code=1)


async def test_check_lists_all_problems_and_warnings(tmp_path: Path) -> None:
    path = tmp_path / "vdevice.toml"
    path.write_text('[targets.7]\nmethod = "gett"\nurll = 1\n[webb]\n')
    output = await vdevice("check", folder=tmp_path, code=1)
    assert all(words in output for words in ("targets.7.method", "targets.7.urll", "webb", "4 problems"))
    assert json.loads(await vdevice("check", "--json", folder=tmp_path, code=1))["ok"] is False
    path.write_text('[targets.7]\nmethod = "post-raw"\nurl = "https://h/"\npayload = "$FOO"')
    assert "$FOO is no variable" in await vdevice("check", folder=tmp_path)
    elsewhere = {"VDEVICE_CONFIG": str(path)}
    (tmp_path / "sub").mkdir()
    assert "right" in await vdevice("check", folder=tmp_path / "sub", env=elsewhere)


@pytest.mark.parametrize(
    ("completion", "form"), [("content", "nul"), ("content", "length32"), ("commit", "nul"), ("idle", "s7-wstring")]
)
async def test_send_writes_long_texts_as_the_target_wants_them(
    recorder: Recorder, tmp_path: Path, completion: str, form: str
) -> None:
    settings = f'completion = "{completion}"\nformat = "{form}"\nbyte_order = "little"'
    configure(tmp_path, recorder, settings=settings)
    words = "Störung an Kessel 3 " * (10 if form == "s7-wstring" else 40)
    async with running(tmp_path):
        assert "delivered" in await vdevice("send", "7", words, "--wait", folder=tmp_path)
    assert recorder.bodies() == [words.encode()]


RULES = """
[[points]]
name = "temp"
space = "holding"
address = 0
type = "float32"
[[rules]]
description = "Too hot: $SOURCEVALUE"
source = "temp"
trigger = "rising"
when = { above = 90, hysteresis = 5 }
destinations = ["target/7", "temp 2"]
[[points]]
name = "temp 2"
space = "holding"
address = 2
type = "int16"
"""


async def test_rules_test_shows_what_would_happen_and_sends_nothing(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder, RULES)
    shown = await vdevice("rules", "test", "temp", "80", "95.5", "91", "-3", "--json", folder=tmp_path)
    fires = [
        [(step["fires"], step["destination"], step["text"]) for step in write["steps"]] for write in json.loads(shown)
    ]
    no = [("no", "", "it did not begin to hold")]
    assert fires == [no, [("yes", "target/7", "95.5"), ("yes", "temp 2", "95")], no, no]
    assert "Too hot" in await vdevice("rules", "test", "temp", "95", folder=tmp_path)
    assert "no rule watches" in await vdevice("rules", "test", "temp 2", "5", folder=tmp_path)
    assert "points are temp, temp 2" in await vdevice("rules", "test", "tmp", "5", folder=tmp_path, code=2)
    assert "is not a number" in await vdevice("rules", "test", "temp", "warm", folder=tmp_path, code=1)
    for number in ("9" * 400, "9" * 5000, "1e400", "-1e39", "nan", "inf"):
        assert "cannot be the value of" in await vdevice("rules", "test", "temp", number, folder=tmp_path, code=1)
    assert recorder.requests == []
    assert not (tmp_path / "vdevice.db").exists()


async def test_map_comes_in_three_forms(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    assert "| 7 | 7000..7899 |" in await vdevice("map", folder=tmp_path)
    assert "holding register,7000,407001,900,target/7.text" in await vdevice("map", "--format", "csv", folder=tmp_path)
    names = [line["name"] for line in json.loads(await vdevice("map", "--format", "json", folder=tmp_path))]
    assert {"device.healthy", "device.points", "target/7.text"} <= set(names)


async def test_receive_prints_what_comes(tmp_path: Path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vdevice", "receive", "--port", str(port), stdout=subprocess.PIPE
    )
    assert process.stdout
    async with asyncio.timeout(20):
        await process.stdout.readline()
        toml = f'[targets.7]\nmethod = "put"\nurl = "http://127.0.0.1:{port}/x?y=1"\npayload = "[b]$VALUE"'
        async with device(toml, tmp_path) as app, peer(app.address) as plc:
            await plc.ask(fc16(7000, "hi"))
            await until(lambda: app.board.targets[7].delivered == 1)
        process.terminate()
        output = (await process.communicate())[0].decode()
    assert "PUT /x?y=1" in output
    assert "[b]hi" in output
    assert process.returncode == 0


async def test_demo_once_shows_all_nine_methods_and_a_rule(tmp_path: Path) -> None:
    assert "10 of 10 arrived as they should" in await vdevice("demo", "--once", folder=tmp_path)
