"""What the tests of the page share."""

import tomllib
from pathlib import Path

from playwright.async_api import Locator, Page

from tests.support import Recorder

TARGET = '[targets.7]\nmethod = "post-raw"\nurl = "http://127.0.0.1:9/"\npayload = "$VALUE"\n'


def target(recorder: Recorder, number: int = 7, more: str = "", method: str = "post-raw") -> str:
    return (
        f'\n[targets.{number}]   # the one on the roof\ndescription = "Boiler {number}"\nmethod = "{method}"\n'
        f'url = "{recorder.url}/hook"\npayload = "$VALUE"\nbackoff = 0.02\n{more}\n'
    )


def cell(page: Page, number: int) -> Locator:
    return page.locator(f'[data-number="{number}"]')


def saved(tmp_path: Path) -> dict[str, dict[str, object]]:
    targets: dict[str, dict[str, object]] = tomllib.loads((tmp_path / "vdevice.toml").read_text())["targets"]
    return targets
