"""When a changed config is taken: once it has settled, whole and right, and not because it was cut for a moment."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import Recorder, device, fc16, peer, until
from vdevice import reloading
from vdevice.board import Board
from vdevice.cli.certs import init
from vdevice.config import Config
from vdevice.config.load import parse
from vdevice.reloading import Changes, Reloader, kept_until_restart

FILE = Path("vdevice.toml")


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_a_file_is_taken_when_two_looks_in_a_row_find_the_same_new_content(versions: list[int]) -> None:
    def seen(version: int) -> reloading.Look:
        return {FILE: (version, 1, 1)}

    changes, taken, last = Changes(seen(0)), 0, 0
    for version in versions:
        wanted = version != taken and version == last
        assert changes.settled(seen(version)) is wanted
        if wanted:
            changes.took(seen(version), [FILE])
            taken = version
        last = version


def target(number: int, url: str, more: str = "") -> str:
    return f'[targets.{number}]\nmethod = "post-raw"\nurl = "{url}/"\npayload = "$VALUE"\n{more}\n'


async def test_a_file_that_was_cut_costs_no_waiting_message(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reloading, "EVERY_SECONDS", 0.05)
    nobody = "http://127.0.0.1:9"
    whole = target(7, recorder.url) + target(8, nobody, "backoff = 60")
    async with device(whole, tmp_path) as app, peer(app.address) as plc:
        assert app.path
        whole = '[modbus]\nlisten = "127.0.0.1:0"\n[web]\nenabled = false\n' + whole
        assert (await plc.ask(fc16(8000, "waits")))[0] == 16
        for cut in ("", " \n", whole.partition("[targets.8]")[0]):
            app.path.write_text(cut)
            await until(lambda: "config refused" in capsys.readouterr().out)
            assert set(app.config.targets) == {7, 8}
            assert app.board.targets[8].queued == 1
            app.path.write_text(whole + f"# after {cut!r}\n")
            await until(lambda: "config loaded" in capsys.readouterr().out)
        # It stays so: it is meant.
        monkeypatch.setattr(reloading, "CUT_SECONDS", 0.3)
        app.path.write_text(whole.partition("[targets.8]")[0])
        await until(lambda: set(app.config.targets) == {7})
        # Target 7 may go: nothing waits for it.
        app.path.write_text(whole.partition("[targets.7]")[0])
        await until(lambda: not app.config.targets)


async def test_a_file_that_was_cut_and_put_back_as_it_was_has_its_whole_minute_when_it_is_cut_again(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reloading, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(reloading, "CUT_SECONDS", 600.0)
    whole = target(7, recorder.url) + target(8, "http://127.0.0.1:9", "backoff = 60")
    async with device(whole, tmp_path) as app, peer(app.address) as plc:
        assert app.path
        assert (await plc.ask(fc16(8000, "waits")))[0] == 16
        cut, kept = app.path.read_text().partition("[targets.8]")[0], tmp_path / "kept.toml"
        for _ in range(2):
            # Moved, so that it comes back with the time and inode that it had.
            app.path.rename(kept)
            app.path.write_text(cut)
            await until(lambda: "config refused" in capsys.readouterr().out or 8 not in app.config.targets)
            assert set(app.config.targets) == {7, 8}
            kept.rename(app.path)
            monkeypatch.setattr(reloading, "CUT_SECONDS", 0.5)
            await asyncio.sleep(0.6)


async def test_what_needs_a_restart_keeps_its_old_value_everywhere(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with device(target(7, recorder.url), tmp_path) as app:
        assert app.path
        before = app.config
        app.path.write_text(
            '[modbus]\nlisten = "127.0.0.1:1"\n[web]\nenabled = true\nlisten = "127.0.0.1:2"\n'
            '[outbox]\nurl = "sqlite:///elsewhere.db"\nmax_messages = 5\n' + target(7, recorder.url, "timeout = 3")
        )
        assert await app.reload()
        assert app.config.outbox.url == before.outbox.url
        assert app.config.outbox_file == before.outbox_file
        assert (app.config.modbus.listen, app.config.web) == (before.modbus.listen, before.web)
        assert (app.config.outbox.max_messages, app.config.targets[7].timeout) == (5, 3)
    said = [line for line in capsys.readouterr().out.splitlines() if "needs a restart" in line]
    assert [setting for line in said for setting in line.split() if setting.startswith("setting=")] == [
        "setting=modbus.listen", "setting=web.listen", "setting=web.enabled", "setting=outbox.url",
    ]  # fmt: skip


def test_a_device_on_nats_keeps_its_id_until_a_restart(tmp_path: Path) -> None:
    old = parse('[device]\nid = "one"\n[outbox]\nurl = "nats://127.0.0.1"\nreplicas = 3', tmp_path)
    new = parse('[device]\nid = "two"\n[outbox]\nurl = "nats://127.0.0.1"', tmp_path)
    kept, settings = kept_until_restart(new, old)
    assert kept.device.id == "one"
    assert kept.outbox == old.outbox
    assert settings == {"device.id": "one", "outbox.replicas": "3"}
    assert kept_until_restart(old, old) == (old, {})


async def test_a_config_that_cannot_be_applied_leaves_the_one_of_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vdevice.toml"
    path.write_text(target(7, "http://127.0.0.1:9"))
    before = parse(path.read_text(), tmp_path)
    applied: list[Config] = []

    def apply(config: Config, _context: object) -> None:
        applied.append(config)
        if config is not before:
            raise RecursionError

    reloader = Reloader(path, before, Board(), apply)
    path.write_text(target(8, "http://127.0.0.1:9"))
    assert not await reloader.reload()
    assert [set(config.targets) for config in applied] == [{8}, {7}]
    assert "cannot be applied" in capsys.readouterr().out


@pytest.mark.parametrize("error", [RecursionError, MemoryError, ValueError, OSError, KeyError])
async def test_whatever_reading_or_checking_raises_refuses_the_config_with_a_traceback(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_text: str, _folder: Path) -> Config:
        raise error

    monkeypatch.setattr(reloading, "EVERY_SECONDS", 0.05)
    async with device(target(7, "http://127.0.0.1:9"), tmp_path) as app, peer(app.address) as plc:
        assert app.path
        monkeypatch.setattr(reloading, "parse", broken)
        app.path.write_text(app.path.read_text() + "# changed")
        await until(lambda: "config refused" in capsys.readouterr().out)
        assert (await plc.ask(fc16(7000, "goes on")))[0] == 16
        assert not await app.reload()
        assert "Traceback" in capsys.readouterr().out
        monkeypatch.undo()
        assert await app.reload()


PLAIN = '[modbus]\nlisten = "127.0.0.1:0"\n'
TLS = f'{PLAIN}[modbus.tls]\ncert = "certs/server.pem"\nkey = "certs/server.key"\nclient_ca = "certs/ca.pem"\n'


@pytest.mark.parametrize(("first", "second"), [(PLAIN, TLS), (TLS, PLAIN)], ids=["added", "taken away"])
async def test_a_tls_section_that_needs_a_restart_is_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    init(tmp_path / "certs", role=[])
    monkeypatch.setattr(reloading, "EVERY_SECONDS", 0.01)
    looks, real_look = 0, reloading.look

    def look(files: Iterable[Path]) -> reloading.Look:
        nonlocal looks
        looks += 1
        return real_look(files)

    monkeypatch.setattr(reloading, "look", look)
    path = tmp_path / "vdevice.toml"
    path.write_text(first)
    reloader = Reloader(path, parse(first, tmp_path), Board(), lambda _config, _context: None)
    with capture_logs() as lines:
        running = asyncio.create_task(reloader.run())
        path.write_text(second)
        await until(lambda: any(line["event"] == "config loaded" for line in lines))
        enough = looks + 30
        await until(lambda: looks >= enough)
        running.cancel()
        await asyncio.wait([running])
    assert sum(line["event"] == "config loaded" for line in lines) == 1
