"""How the page behaves: for screen readers, on a telephone, in German, behind a proxy, and when the device is gone."""

import contextlib
import json
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from tests.support import Recorder, answer, device, fc16, peer
from tests.web.conftest import WEB, Opened
from tests.web.pages import TARGET, cell, target

RUN_AXE = """axe.run().then(found => JSON.stringify(
    found.violations.map(one => [one.id, one.impact, one.nodes.map(node => node.html.slice(0, 120))])))"""
AXE = Path(__file__).parents[2] / "tools" / "page" / "node_modules" / "axe-core" / "axe.min.js"


VIEWS = ("targets", "activity", "rules", "registers", "device")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_serious(recorder: Recorder, opened: Opened, dark: bool) -> None:  # noqa: FBT001
    toml = target(recorder) + '[[points]]\nname = "lamp"\nspace = "coil"\naddress = 1\ntype = "bool"\n'
    async with opened(toml, dark=dark) as (page, app), peer(app.address) as plc:
        recorder.reply = lambda n: answer(404 if n else 200)
        for text in ("one", "two"):
            await plc.ask(fc16(7000, text))
        session = await page.context.new_cdp_session(page)
        found = []
        for view in (*VIEWS, "editor", "menu"):
            if view in VIEWS:
                await page.goto(f"http://{app.page_address}/#{view}")
            elif view == "editor":
                await page.goto(f"http://{app.page_address}/#targets")
                await cell(page, 7).dblclick()
            else:
                await page.keyboard.press("Escape")
                await cell(page, 7).click(button="right")
            await page.wait_for_timeout(400)
            # By the debugger, so that the policy of the page stays as strict as it is.
            await session.send("Runtime.evaluate", {"expression": AXE.read_text()})
            wanted = {"expression": RUN_AXE, "awaitPromise": True}
            result = await session.send("Runtime.evaluate", wanted)
            found += [(view, *violation) for violation in json.loads(result["result"]["value"])]
        assert [one for one in found if one[2] in {"serious", "critical"}] == []


async def test_it_is_usable_on_a_telephone(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder), width=375, height=700) as (page, app):
        for view in VIEWS:
            await page.goto(f"http://{app.page_address}/#{view}")
            await page.wait_for_timeout(300)
            assert await page.evaluate("document.documentElement.scrollWidth") <= 375, view
        await page.goto(f"http://{app.page_address}/#targets")
        await cell(page, 7).dblclick()
        await page.get_by_role("button", name="Save", exact=True).scroll_into_view_if_needed()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 375


async def test_german_from_the_browsers_language(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder), locale="de-DE") as (page, _):
        await expect(page.get_by_role("link", name="Verlauf")).to_be_visible()
        await expect(cell(page, 7)).to_contain_text("gut")


async def test_it_says_that_the_device_is_gone_and_comes_back_by_itself(
    recorder: Recorder, opened: Opened, tmp_path: Path
) -> None:
    async with opened(target(recorder)) as (page, app):
        await expect(cell(page, 7)).to_contain_text("well")
        await page.context.set_offline(True)
        assert app._page
        app._page._live.end()
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")
        app._page._live._ended.clear()
        await page.context.set_offline(False)
        await expect(page.get_by_role("alert")).to_have_count(0, timeout=15_000)


async def test_it_works_behind_a_proxy_with_a_path_prefix(browser: Browser, tmp_path: Path) -> None:
    async with device(WEB + TARGET, tmp_path) as app, aiohttp.ClientSession() as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            url = f"http://{app.page_address}/{request.match_info['rest']}"
            headers = {"Host": request.host, "Content-Type": request.headers.get("Content-Type", "text/plain")}
            async with session.request(
                request.method, url, params=request.query, data=await request.read(), headers=headers
            ) as answer:
                kept = ("Content-Type", "Content-Security-Policy")
                response = web.StreamResponse(
                    status=answer.status,
                    headers={name: answer.headers[name] for name in kept if name in answer.headers},
                )
                await response.prepare(request)
                with contextlib.suppress(ConnectionError):
                    async for part in answer.content.iter_any():
                        await response.write(part)
                return response

        proxy = web.Application()
        proxy.router.add_route("*", "/plant/press-hall/{rest:.*}", forward)
        runner = web.AppRunner(proxy, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        page = await browser.new_page()
        refused: list[str] = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/plant/press-hall/")
        await expect(cell(page, 7)).to_contain_text("well")
        await cell(page, 7).dblclick()
        await expect(page.locator(".preview pre")).to_contain_text("POST /")
        assert refused == []
        await page.close()
        await runner.cleanup()


async def test_the_first_view_is_small(opened: Opened) -> None:
    async with opened(TARGET) as (page, _):
        await expect(page.locator(".cell")).to_have_count(64)
        entries = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        size = await page.evaluate(
            f"{entries}.filter(e => !e.name.endsWith('/live')).reduce((sum, e) => sum + e.transferSize, 0)"
        )
        assert 20_000 < size < 150_000
