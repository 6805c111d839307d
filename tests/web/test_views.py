"""Activity, registers, rules and device, as a person uses them."""

import asyncio
import time
import tomllib
from pathlib import Path

from playwright.async_api import Route, expect

from tests.support import Recorder, answer, fc16, peer, until
from tests.web.conftest import Opened
from tests.web.pages import TARGET, target
from vdevice.outbox import database


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
        for words in ("<b>second</b>", "3c62 3e73", "POST /hook HTTP/1.1", "gone", "HTTP 404", "Attempts", " ms:"):
            await expect(page.locator("dialog")).to_contain_text(words)
        await page.get_by_role("button", name="Close").click()
        await rows.first.get_by_role("checkbox").check()
        await page.get_by_role("button", name="Replay (1)").click()
        await until(lambda: app.board.targets[7].delivered == 3)
        assert recorder.bodies()[-1] == b"<b>second</b>"


async def test_all_dead_letters_that_fit_are_replayed_or_discarded(recorder: Recorder, opened: Opened) -> None:
    recorder.reply = lambda n: answer(404 if n < 6 else 200, "gone")
    async with opened(target(recorder), path="#activity") as (page, app), peer(app.address) as plc:
        for text in ("alpha 1", "alpha 2", "alpha 3", "beta 1", "beta 2", "beta 3"):
            await plc.ask(fc16(7000, text))
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        rows = page.locator(".string:not(.head)")
        await page.get_by_label("State").select_option("failed")
        await page.get_by_label("Search").fill("alpha")
        await expect(rows).to_have_count(3)
        await page.get_by_role("button", name="Replay all that fit").click()
        await until(lambda: app.board.targets[7].delivered == 3)
        await page.get_by_label("Search").fill("")
        await expect(rows).to_have_count(3)
        await page.get_by_label("Reason").fill("too late")
        await page.get_by_role("button", name="Discard all that fit").click()
        await expect(rows).to_have_count(0)
        await page.get_by_label("State").select_option("discarded")
        await expect(rows.first).to_contain_text("too late")
        assert recorder.bodies()[-3:] == [b"alpha 1", b"alpha 2", b"alpha 3"]


async def test_a_late_answer_to_an_older_search_is_not_shown(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder), path="#activity") as (page, app), peer(app.address) as plc:
        await plc.ask(fc16(7000, "beta"))
        await until(lambda: app.board.targets[7].delivered == 1)
        rows = page.locator(".string:not(.head)")
        await expect(rows).to_have_count(1)

        async def late(route: Route) -> None:
            await asyncio.sleep(1)
            await route.continue_()

        await page.route("**/strings?*text=alpha*", late)
        async with page.expect_response("**/strings?*text=alpha*"):
            await page.get_by_label("Search").fill("alpha")
            await page.get_by_label("Search").fill("")
        await page.wait_for_timeout(200)
        await expect(rows).to_have_count(1, timeout=100)


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


async def test_the_page_warns_of_a_name_that_is_no_variable_in_a_rule(opened: Opened) -> None:
    toml = (
        '[[points]]\nname = "temp"\nspace = "holding"\naddress = 1\ntype = "int16"\n'
        '[[rules]]\nsource = "temp"\ndestinations = ["target/7"]\ntemplate = "$VALU"\n'
    )
    async with opened(TARGET + toml, path="#rules") as (page, _):
        await expect(page.locator(".warning")).to_contain_text("rules[0].template: $VALU is no variable")


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
        # A token is somebody's, and nobody has a password yet.
        await expect(page.get_by_text("set a password first")).to_be_visible()


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
