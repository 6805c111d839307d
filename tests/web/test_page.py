"""The targets and their editor, as a person uses them: mouse, keys, clipboard, and a PLC that writes meanwhile."""

import asyncio
from pathlib import Path

from playwright.async_api import expect

from tests.support import Recorder, answer, fc16, peer
from tests.web.conftest import Opened
from tests.web.pages import cell, saved, target


async def test_all_targets_are_on_one_screen_and_live(recorder: Recorder, opened: Opened) -> None:
    everything = "".join(target(recorder, number) for number in range(1, 65))
    async with opened(everything) as (page, app), peer(app.address) as plc:
        await expect(page.locator(".cell:not(.empty)")).to_have_count(64)
        await plc.ask(fc16(64000, "so that it has an outcome"))
        await expect(cell(page, 64)).to_contain_text("✓ 1")
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


async def test_a_target_without_room_says_so(recorder: Recorder, opened: Opened) -> None:
    recorder.reply = lambda _n: answer(503)
    slow = target(recorder).replace("backoff = 0.02", "backoff = 3600")
    async with opened(f"[outbox]\nmax_messages = 4\n{slow}") as (page, app), peer(app.address) as plc:
        codes = [(await plc.ask(fc16(7000, value)))[-1] for value in "abcde"]
        assert codes[2:] == [6, 6, 6]
        await expect(cell(page, 7)).to_contain_text("full")
        await expect(cell(page, 7)).to_contain_text("⊘ 3")
        await expect(page.locator(".health")).to_contain_text("healthy")


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


async def test_the_editor_warns_of_what_is_right_but_hardly_meant(recorder: Recorder, opened: Opened) -> None:
    async with opened(target(recorder)) as (page, _):
        await cell(page, 7).dblclick()
        warning = page.locator(".preview .warning")
        await page.get_by_label("Payload", exact=True).fill("$VALU")
        await expect(warning).to_contain_text("payload $VALU is no variable")
        await page.get_by_label("Payload", exact=True).fill('{"a": "$VALUE"}')
        await expect(warning).to_contain_text("set content_type to application/json")
        await page.get_by_label("Content type").fill("application/json")
        await expect(warning).to_be_empty()
        await expect(page.locator(".preview pre")).to_contain_text('{"a": "Grüße, 21.5 °C"}')


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
