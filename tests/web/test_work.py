"""What one request of the page makes the device do is bounded, and done beside its loop."""

import asyncio
import threading
import tomllib
from pathlib import Path

import pytest
import tomlkit

from tests.web.test_access import TARGET, served
from vdevice.config import edit
from vdevice.outbox.letters import SqliteLetters


async def test_a_copy_to_all_targets_parses_the_file_once_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    parse = tomlkit.parse

    def counted(text: str) -> tomlkit.TOMLDocument:
        threads.append(threading.current_thread())
        return parse(text)

    monkeypatch.setattr(tomlkit, "parse", counted)
    async with served(tmp_path) as (browser, app):
        await browser.sign_in()
        status, said = await browser.ask("POST", "api/v1/targets/7/copy", {"to": list(range(1, 65)) * 10})
        assert status == 200, said
        assert len(app.config.targets) == 64
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_several_targets_are_changed_as_one_after_the_other() -> None:
    settings = {"method": "get", "url": "http://a.example/", "bearer_token": "new"}
    copied = edit.settings_of(TARGET, 7)
    changes: list[edit.Change] = [(1, settings, None), (2, copied, 7), (7, None, None), (2, settings, None)]
    text = TARGET
    for number, wanted, source in changes:
        text = edit.with_target(text, number, wanted, source)
    assert tomllib.loads(edit.with_targets(TARGET, changes)) == tomllib.loads(text)


async def test_searches_are_done_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0
    select = SqliteLetters.select

    def counted(*arguments: object, **named: object) -> object:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            threading.Event().wait(0.02)
            return select(*arguments, **named)  # type: ignore[arg-type]
        finally:
            at_once -= 1

    monkeypatch.setattr(SqliteLetters, "select", counted)
    async with served(tmp_path) as (browser, _):
        await browser.sign_in("guest")
        asked = [browser.ask("GET", "api/v1/strings?text=x") for _ in range(5)]
        assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 5
    assert most == 1


async def test_a_list_of_ids_is_bounded(tmp_path: Path) -> None:
    async with served(tmp_path) as (browser, _):
        await browser.sign_in()
        status, _ = await browser.ask("POST", "api/v1/strings/replay", {"ids": [str(one) for one in range(1001)]})
        assert status == 422
        assert (await browser.ask("POST", "api/v1/strings/replay", {"ids": ["x"] * 1001}))[0] == 200
