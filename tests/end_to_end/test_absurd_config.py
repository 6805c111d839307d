"""A running device whose config becomes absurd, again and again: it never ends, and never has half of a config."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config import absurd
from tests.support import device, fc16, peer
from vdevice import logs
from vdevice.config.load import parse
from vdevice.errors import ConfigError

RIGHT = '[targets.64]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("absurd")
    absurd.prepare(folder)
    return folder


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_a_running_device_takes_an_absurd_config_whole_or_not_at_all(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(absurd.configs(), min_size=25, max_size=25))
    asyncio.run(_reloaded(texts, folder, tmp_path_factory.mktemp("outbox") / "o.db"))


async def _reloaded(texts: list[tuple[str, str]], folder: Path, outbox: Path) -> None:
    async with device(f'[outbox]\nurl = "sqlite:///{outbox}"\n{RIGHT}', folder) as app, peer(app.address) as plc:
        assert app.path
        for text, path in texts:
            before = app.config
            app.path.write_text(text, "utf-8")
            try:
                wanted = parse(text, folder)
            except ConfigError:
                wanted = None
            logs.RECENT.clear()
            assert await app.reload() is (wanted is not None), (path, app.lines)
            if wanted is None:
                assert app.config is before, path
            else:
                assert (app.config.targets, app.config.points, app.config.rules) == (
                    wanted.targets, wanted.points, wanted.rules,
                ), path  # fmt: skip
            assert not any("report this" in line for line in app.lines), (path, app.lines)
            allowed = app.config.modbus.allow or app.config.modbus.unit_id != 1 or app.config.modbus.clients
            if (
                not allowed
                and (target := app.config.targets.get(2))
                and target.enabled
                and target.completion == "request"
            ):
                assert (await plc.ask(fc16(2000, "a")))[0] in {0x10, 0x90}, path
        app.path.write_text(RIGHT)
        assert await app.reload()
        async with peer(app.address) as another:
            assert (await another.ask(fc16(64_000, "a")))[0] == 16
