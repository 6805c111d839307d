"""The page as a person uses it: mouse, keys, clipboard, and a PLC that writes meanwhile."""

import asyncio
import contextlib
import json
import time
import tomllib
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from tests.support import Recorder, answer, device, fc16, peer, until
from tests.web.conftest import WEB, Opened
from vdevice.outbox import database

TARGET = '[targets.7]\nmethod = "post-raw"\nurl = "http://127.0.0.1:9/"\npayload = "$VALUE"\n'

RUN_AXE = """axe.run().then(found => JSON.stringify(
    found.violations.map(one => [one.id, one.impact, one.nodes.map(node => node.html.slice(0, 120))])))"""
AXE = Path(__file__).parents[2] / "tools" / "page" / "node_modules" / "axe-core" / "axe.min.js"


def target(recorder: Recorder, number: int = 7, more: str = "", method: str = "post-raw") -> str:
    return (
        f'\n[targets.{number}]   # the one on the roof\ndescription = "Boiler {number}"\nmethod = "{method}"\n'
        f'url = "{recorder.url}/hook"\npayload = "$VALUE"\nbackoff = 0.02\n{more}\n'
    )


def cell(page: Page, number: int):  # type: ignore[no-untyped-def] # noqa: ANN201
    return page.locator(f'[data-number="{number}"]')


def saved(tmp_path: Path) -> dict[str, dict[str, object]]:
    targets: dict[str, dict[str, object]] = tomllib.loads((tmp_path / "vdevice.toml").read_text())["targets"]
    return targets


async def test_all_targets_are_on_one_screen_and_live(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder)) as (page, app), peer(app.address) as plc:
        await expect(page.locator(".cell")).to_have_count(64)
        last = await cell(page, 64).bounding_box()
        assert last
        assert last["y"] + last["height"] <= 768
        for words in ("Boiler 7", "post-raw", recorder.hostport, "well"):
            await expect(cell(page, 7)).to_contain_text(words)
        await plc.ask(fc16(7000, "alarm"))
        await expect(cell(page, 7)).to_contain_text("✓ 1")
        await expect(cell(page, 7)).to_contain_text("HTTP 200")
        recorder.reply = lambda _n: answer(404)
        await plc.ask(fc16(7000, "alarm"))
        await expect(cell(page, 7)).to_contain_text("failed")
        await expect(cell(page, 7)).to_contain_text("HTTP 404")


async def test_search_filter_and_sort(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder) + target(recorder, 8, "enabled = false")) as (page, _):
        await page.get_by_label("Search").fill("boiler")
        await expect(page.locator(".cell")).to_have_count(2)
        await page.get_by_label("Search").fill("")
        await page.get_by_label("Show").select_option("disabled")
        await expect(page.locator(".cell")).to_have_count(1)
        await page.get_by_label("Show").select_option("configured")
        await page.get_by_label("Sort by").select_option("state")
        assert await page.locator(".cell b").all_inner_texts() == ["8", "7"]


async def test_double_click_edits_and_saving_keeps_the_comments(
    recorder: Recorder, opened: Opened, tmp_path: Path
) -> None:
    async with opened(target(recorder)) as (page, app), peer(app.address) as plc:
        await cell(page, 7).dblclick()
        await page.get_by_label("Description", exact=True).fill("Boiler of the east wing")
        await page.get_by_label("Payload", exact=True).fill('{"text": "$VALUE"}')
        await page.get_by_label("Content type").fill("application/json")
        await expect(page.locator(".preview pre")).to_contain_text('{"text": "Grüße, 21.5 °C"}')
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(cell(page, 7)).to_contain_text("east wing")
        assert "# the one on the roof" in (tmp_path / "vdevice.toml").read_text()
        # The connection from before is still there, and its next string goes out as it was saved.
        await plc.ask(fc16(7000, "x"))
        await recorder.wait(1)
        assert recorder.bodies() == [b'{"text": "x"}']


async def test_keys_alone_make_a_target(recorder: Recorder, opened: Opened, tmp_path: Path) -> None:
    async with opened(target(recorder)) as (page, _):
        await cell(page, 1).focus()
        for key in ("ArrowRight", "ArrowDown", "Home", "ArrowRight", "ArrowRight"):
            await page.keyboard.press(key)
        await expect(cell(page, 3)).to_be_focused()
        await page.keyboard.press("Enter")
        await page.get_by_label("Method", exact=True).select_option("get")
        await page.get_by_label("URL", exact=True).fill(f"{recorder.url}/new")
        await page.keyboard.press("Enter")
        await expect(page.locator("dialog")).to_have_count(0)
        await expect(cell(page, 3)).to_be_focused()
        assert saved(tmp_path)["3"] == {"method": "get", "url": f"{recorder.url}/new"}


async def test_only_the_fields_of_the_method_are_shown(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder)) as (page, _):
        await cell(page, 7).dblclick()
        shown = {
            "get": {"Parameters"},
            "put": {"Payload", "Content type"},
            "slack": {"Payload"},
            "mattermost": {"Payload", "Destination"},
        }
        for method, fields in shown.items():
            await page.get_by_label("Method", exact=True).select_option(method)
            for name in ("Payload", "Content type", "Destination"):
                await expect(page.get_by_label(name, exact=True)).to_have_count(int(name in fields))
            await expect(page.locator("#g-parameters")).to_have_count(int("Parameters" in fields))


async def test_the_table_of_parameters_grows_moves_and_shrinks_by_keys(
    recorder: Recorder, opened: Opened, tmp_path: Path
) -> None:
    toml = f'[targets.7]\nmethod = "get"\nurl = "{recorder.url}/"\nparameters = [["a", "1"]]\n'
    async with opened(toml) as (page, _):
        await cell(page, 7).dblclick()
        await page.get_by_label("value 1").focus()
        await page.keyboard.press("ArrowDown")
        await expect(page.get_by_label("value 2")).to_be_focused()
        await page.keyboard.type("2")
        await page.get_by_label("name 2").fill("b")
        await page.keyboard.press("Alt+ArrowUp")
        await expect(page.get_by_label("name 1")).to_have_value("b")
        await page.keyboard.press("ArrowDown")
        await page.get_by_label("name 2").press("ArrowDown")
        await page.get_by_role("button", name="remove 3").click()
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("dialog")).to_have_count(0)
        assert saved(tmp_path)["7"]["parameters"] == [["b", "2"], ["a", "1"]]


async def test_wrong_json_is_named_by_line_and_column_while_typing(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder, more='content_type = "application/json"').replace('"$VALUE"', "'{}'")) as (
        page,
        _,
    ):
        await cell(page, 7).dblclick()
        await page.get_by_label("Payload", exact=True).fill('{\n "a": oops}')
        problem = page.locator("#p-payload")
        await expect(problem).to_contain_text("line 2, column 7")
        await problem.get_by_role("button").click()
        assert (
            await page.get_by_label("Payload", exact=True).evaluate(
                "e => e.value.slice(e.selectionStart, e.selectionEnd)"
            )
            == "o"
        )
        # The words are those of `vdevice check`.
        await page.get_by_label("URL", exact=True).fill("nowhere")
        await expect(page.locator("#p-url")).to_contain_text("has no scheme; write it like https://example.com/hook")


async def test_variables_are_inserted_at_the_cursor(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder)) as (page, _):
        await cell(page, 7).dblclick()
        await page.get_by_label("Payload", exact=True).fill("at : x")
        await page.get_by_label("Payload", exact=True).evaluate("e => e.setSelectionRange(3, 3)")
        await page.get_by_role("button", name="$ISOTIME").click()
        await expect(page.get_by_label("Payload", exact=True)).to_have_value("at $ISOTIME: x")


async def test_a_secret_is_never_shown_and_stays_when_the_rest_is_saved(
    recorder: Recorder, opened: Opened, tmp_path: Path
) -> None:
    more = 'bearer_token = "planted-secret"\nheaders = { X-Key = "planted-header" }'
    async with opened(target(recorder, more=more)) as (page, _):
        await cell(page, 7).dblclick()
        await page.get_by_text("Credentials and headers").click()
        await page.get_by_label("Description", exact=True).fill("new")
        assert "planted" not in await page.content()
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("dialog")).to_have_count(0)
        assert saved(tmp_path)["7"]["bearer_token"] == "planted-secret"
        assert saved(tmp_path)["7"]["headers"] == {"X-Key": "planted-header"}
        await cell(page, 7).dblclick()
        await page.get_by_text("Credentials and headers").click()
        await page.get_by_role("button", name="Replace Bearer token").click()
        await page.get_by_label("Bearer token", exact=True).fill("other")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("dialog")).to_have_count(0)
        assert saved(tmp_path)["7"]["bearer_token"] == "other"


async def test_test_sends_now_and_shows_answer_headers_and_time(recorder: Recorder, opened: Opened) -> None:
    recorder.reply = lambda _n: answer(418, "short and stout", X_Pot="tea")
    async with opened(target(recorder)) as (page, app):
        await cell(page, 7).dblclick()
        await page.get_by_label("Payload", exact=True).fill("not saved: $VALUE")
        await page.get_by_role("button", name="Test: send it now").click()
        tried = page.locator(".tried")
        for words in ("HTTP 418", "ms", "x-pot: tea", "short and stout"):
            await expect(tried).to_contain_text(words)
        assert recorder.bodies() == ["not saved: Grüße, 21.5 °C".encode()]
        assert app.board.targets[7].accepted == 0


async def test_a_file_that_was_changed_meanwhile_is_shown_beside_mine(
    recorder: Recorder, opened: Opened, tmp_path: Path
) -> None:
    async with opened(target(recorder)) as (page, _):
        path = tmp_path / "vdevice.toml"
        await cell(page, 7).dblclick()
        await page.get_by_label("Description", exact=True).fill("mine")
        path.write_text(path.read_text().replace("Boiler 7", "theirs"))
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator(".conflict")).to_contain_text("theirs")
        await expect(page.locator(".conflict")).to_contain_text("mine")
        assert saved(tmp_path)["7"]["description"] == "theirs"
        await page.get_by_role("button", name="Save mine").click()
        await expect(page.locator("dialog")).to_have_count(0)
        assert saved(tmp_path)["7"]["description"] == "mine"


async def test_a_half_filled_form_is_not_lost_by_escape(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder)) as (page, _):
        await cell(page, 7).dblclick()
        await page.get_by_label("Description", exact=True).fill("half of a sen")
        await page.keyboard.press("Escape")
        await expect(page.get_by_label("Description", exact=True)).to_have_value("half of a sen")
        await expect(page.locator("footer")).to_contain_text("not saved")
        await page.get_by_role("button", name="Leave without saving").click()
        await expect(page.locator("dialog")).to_have_count(0)


async def test_copy_and_paste_to_several_targets(recorder: Recorder, opened: Opened, tmp_path: Path) -> None:
    async with opened(target(recorder, more='bearer_token = "s"')) as (page, _):
        await cell(page, 7).click()
        await page.keyboard.press("Control+c")
        await cell(page, 20).click()
        await cell(page, 22).click(modifiers=["Shift"])
        await page.keyboard.press("Control+v")
        await expect(cell(page, 22)).to_contain_text("Boiler 7")
        assert saved(tmp_path)["20"] == saved(tmp_path)["22"] == saved(tmp_path)["7"]


async def test_the_context_menu_by_mouse_and_by_keys(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder)) as (page, app):
        await cell(page, 7).click(button="right")
        await expect(page.get_by_role("menuitem")).to_have_count(7)
        await page.get_by_role("menuitem", name="Pause").click()
        await expect(cell(page, 7)).to_contain_text("paused")
        assert app.board.targets[7].paused
        await cell(page, 7).focus()
        await page.keyboard.press("Shift+F10")
        await expect(page.get_by_role("menuitem", name="Edit")).to_be_focused()
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("ArrowUp")
        await expect(page.get_by_role("menuitem", name="Resume")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(cell(page, 7)).to_contain_text("well")
        await cell(page, 7).click(button="right")
        await page.get_by_role("menuitem", name="Disable").click()
        await expect(cell(page, 7)).to_contain_text("disabled")
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await cell(page, 7).click(button="right")
        await page.get_by_role("menuitem", name="Clear").click()
        await expect(cell(page, 7)).to_have_class("cell empty")


async def test_every_string_is_seen_filtered_opened_and_replayed(recorder: Recorder, opened: Opened) -> None:
    recorder.reply = lambda n: answer(404 if n == 1 else 200, "gone")
    async with opened(target(recorder), path="#activity") as (page, app), peer(app.address) as plc:
        for text in ("first", "<b>second</b>", "third"):
            await plc.ask(fc16(7000, text))
        rows = page.locator(".string:not(.head)")
        await expect(rows).to_have_count(3)
        await expect(rows.first).to_contain_text("third")
        await page.get_by_label("State").select_option("failed")
        await expect(rows).to_have_count(1)
        await rows.first.focus()
        await page.keyboard.press("Enter")
        for words in ("<b>second</b>", "3c62 3e73", "POST /hook HTTP/1.1", "gone", "HTTP 404"):
            await expect(page.locator("dialog")).to_contain_text(words)
        await page.get_by_role("button", name="Close").click()
        await rows.first.get_by_role("checkbox").check()
        await page.get_by_role("button", name="Replay (1)").click()
        await until(lambda: app.board.targets[7].delivered == 3)
        assert recorder.bodies()[-1] == b"<b>second</b>"


async def test_registers_are_live_and_one_can_be_the_plc(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder), path="#registers") as (page, _):
        await page.get_by_label("Block").select_option("7")
        await page.get_by_label("address").fill("7000")
        await page.get_by_label("text or numbers").fill("Hello")
        await page.get_by_role("button", name="Write").click()
        await recorder.wait(1)
        assert recorder.bodies() == [b"Hello"]
        row = page.locator("tr", has_text="307004")
        await expect(row).to_contain_text("0001")
        await page.get_by_label("address").fill("8000")
        await page.get_by_role("button", name="Write").click()
        await expect(page.get_by_label("Be the PLC")).to_contain_text("exception 02")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="csv").click()
        assert "7000" in Path(await (await download.value).path()).read_text()


async def test_rules_points_and_what_would_happen(recorder: Recorder, opened: Opened) -> None:
    toml = target(recorder) + (
        '[[points]]\nname = "temp"\nspace = "holding"\naddress = 10\ntype = "float32"\nunit = "°C"\n'
        '[[rules]]\nfolder = "heat"\n[[rules.rules]]\nsource = "temp"\ndescription = "too hot"\nwhen = { above = 90 }\n'
        'template = "hot: $SOURCEVALUE"\ndestinations = ["target/7"]\n'
    )
    async with opened(toml, path="#rules") as (page, app), peer(app.address) as plc:
        await plc.ask(fc16(10, b"\x42\xc8\x00\x00"))
        await expect(page.locator("tr", has_text="temp")).to_contain_text("100.0 °C")
        await expect(page.locator(".tree")).to_contain_text("too hot")
        await page.get_by_label("became").fill("95")
        await page.get_by_role("button", name="Show").click()
        await expect(page.locator(".steps")).to_contain_text("hot: 95")


RULES = """
[[points]]
name = "temp"
space = "holding"
address = 10
type = "float32"
[[rules]]
folder = "heat"
# how hot it may be
[[rules.rules]]
source = "temp"
description = "too hot"
when = { above = 90 }
template = "hot"
destinations = ["target/7"]
[[rules]]
source = "temp"
description = "each"
template = "each"
destinations = ["target/7"]
"""


async def test_rules_are_switched_moved_edited_added_and_removed(
    recorder: Recorder, opened: Opened, tmp_path: Path
) -> None:
    def rules() -> list[dict[str, object]]:
        found: list[dict[str, object]] = tomllib.loads((tmp_path / "vdevice.toml").read_text())["rules"]
        return found

    async with opened(target(recorder) + RULES, path="#rules") as (page, app), peer(app.address) as plc:
        await page.get_by_label("switch heat").uncheck()
        await expect(page.get_by_label("switch too hot")).not_to_be_checked()
        assert rules()[0]["enabled"] is False
        await page.get_by_label("switch heat").check()
        await expect(page.get_by_label("switch too hot")).to_be_checked()
        await page.get_by_role("button", name="edit too hot").click()
        await page.get_by_label("Destinations").fill("target/9")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("dialog")).to_contain_text("target/9")
        await page.get_by_label("Destinations").fill("target/7")
        await page.get_by_label("Above").fill("95")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("dialog")).to_have_count(0)
        # By keys, and by dragging.
        await page.get_by_label("switch each").focus()
        await page.keyboard.press("Alt+ArrowUp")
        await expect(page.locator(".tree > li").first).to_contain_text("each")
        heat = page.locator(".tree > li > .rule", has_text="heat")
        await heat.drag_to(page.locator(".tree > li > .rule", has_text="each"))
        await expect(page.locator(".tree > li").first).to_contain_text("heat")
        await page.get_by_role("button", name="Add a rule", exact=True).click()
        await page.get_by_label("Source").select_option("temp")
        await page.get_by_label("Text", exact=True).fill("new one")
        await page.get_by_label("Destinations").fill("target/7")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator(".tree > li")).to_have_count(3)
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await page.get_by_role("button", name="remove each").click()
        await expect(page.locator(".tree > li")).to_have_count(2)
        assert "# how hot it may be" in (tmp_path / "vdevice.toml").read_text()
        assert rules()[0]["rules"] == [
            {
                "source": "temp",
                "description": "too hot",
                "when": {"above": 95},
                "template": "hot",
                "destinations": ["target/7"],
            }
        ]
        await plc.ask(fc16(10, b"\x42\xc8\x00\x00"))
        await recorder.wait(2)
        assert recorder.bodies() == [b"hot", b"new one"]


async def test_the_device_shows_connections_log_and_files(recorder: Recorder, opened: Opened) -> None:
    more = 'bearer_token = "planted-secret"'
    async with opened(target(recorder, more=more), path="#device") as (page, app), peer(app.address) as plc:
        await plc.ask(fc16(9000, "x"))
        await expect(page.locator("tr", has_text="127.0.0.1")).to_contain_text("02")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download config").click()
        text = Path(await (await download.value).path()).read_text()
        assert "Boiler 7" in text
        assert "planted" not in text
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download backup").click()
        assert Path(await (await download.value).path()).read_bytes().startswith(b"PK")
        await page.get_by_label("name").fill("scada")
        await page.get_by_role("button", name="Make").click()
        await expect(page.locator("code")).to_have_count(1)
        await page.get_by_role("button", name="Revoke scada").click()
        await expect(page.get_by_role("button", name="Revoke scada")).to_have_count(0)


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


async def test_ten_thousand_strings_scroll_and_few_are_drawn(opened: Opened, tmp_path: Path) -> None:
    connection = database.connect(tmp_path / "vdevice.db")
    now = time.time()
    row = "INSERT INTO event (id, target, state, accepted_at, since, value, source_connection, source_parameter, source_value, "
    row += "finished_at) VALUES (?, 7, 1, ?, ?, ?, 'plc', 'target/7', '', ?)"
    with database.transaction(connection):
        connection.executemany(row, ((f"{n:032x}", now, now, f"string {n}", now) for n in range(12_000)))
    connection.close()
    async with opened(TARGET, path="#activity") as (page, _):
        rows = page.locator(".string:not(.head)")
        await expect(rows.first).to_contain_text("string 11999")
        strings = page.locator(".strings")
        await strings.evaluate("e => e.scrollTop = 170 * 30")
        await expect(strings).to_have_attribute("aria-rowcount", "10000")
        await strings.evaluate("e => e.scrollTop = 9990 * 30")
        await expect(page.get_by_text("string 2000", exact=True)).to_be_visible()
        assert await rows.count() <= 80


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
