"""A real Chromium and a real device with its page; every console error and every request elsewhere fails the test."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.support import device
from vdevice.app import App

CHROMIUM = "/usr/bin/chromium"
WEB = '[web]\nlisten = "127.0.0.1:0"\n'
Opened = Callable[..., AbstractAsyncContextManager[tuple[Page, App]]]


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # As root, in a container, Chromium has no sandbox of its own.
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        await running.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Opened:
    """Return what opens the page of a device with some targets."""

    @contextlib.asynccontextmanager
    async def open_page(
        toml: str, *, path: str = "", width: int = 1366, height: int = 768, dark: bool = False, locale: str = "en-US"
    ) -> AsyncIterator[tuple[Page, App]]:
        wrong: list[str] = []
        async with device(WEB + toml, tmp_path) as app:
            context = await browser.new_context(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=locale
            )
            page = await context.new_page()
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on(
                "request",
                lambda asked: (
                    None
                    if asked.url.startswith((f"http://{app.page_address}/", "blob:", "data:"))
                    else wrong.append(asked.url)
                ),
            )
            await page.goto(f"http://{app.page_address}/{path}")
            yield page, app
            await context.close()
        expected = ("Failed to load resource: the server responded with a status of 4",)
        assert [words for words in wrong if not words.startswith(expected)] == []

    return open_page
