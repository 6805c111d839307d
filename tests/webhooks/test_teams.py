"""Cards for Teams, rendered by Microsoft's own renderer in a browser and read back: a text is a text, whatever it holds."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

from tests.support import event_of, target_of
from vdevice.webhooks import http

CHROMIUM = "/usr/bin/chromium"
MODULES = Path(__file__).parents[2] / "tools" / "page" / "node_modules"
LIBRARIES = ("markdown-it/dist/markdown-it.min.js", "adaptivecards/dist/adaptivecards.min.js")

SHOW = """() => {
  const markdown = window.markdownit();
  AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, result) => {
    result.outputHtml = markdown.render(text);
    result.didProcess = true;
  };
  window.show = (content) => {
    const card = new AdaptiveCards.AdaptiveCard();
    card.parse(content);
    document.body.replaceChildren(card.render());
    const tags = [...document.body.querySelectorAll("*")].map((one) => one.tagName).filter((tag) => tag !== "DIV");
    return [document.body.innerText, tags];
  };
}"""

Shown = tuple[str, list[str]]
"""The text that a person reads, and the elements that it is made of."""


@pytest.fixture(scope="module")
def show() -> Iterator[Callable[[dict[str, Any]], Shown]]:
    missing = [library for library in LIBRARIES if not (MODULES / library).is_file()]
    assert not missing, f"{', '.join(missing)} is not installed; run `make install`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        # Nothing is fetched: a picture that a text would load is an element that the test finds.
        page.route("**/*", lambda route: route.abort())
        for library in LIBRARIES:
            page.add_script_tag(path=str(MODULES / library))
        page.evaluate(SHOW)

        def shown(content: dict[str, Any]) -> Shown:
            text, tags = page.evaluate("(content) => show(content)", content)
            return text, tags

        yield shown
        browser.close()


def card(payload: str, value: str, more: str = "") -> dict[str, Any]:
    """Return the card of a Teams message."""
    config, target = target_of(f"method = \"teams\"\npayload = '''{payload}'''\n{more}")
    message = json.loads(http.build(config, target, event_of(value), 0).body)
    content: dict[str, Any] = message["attachments"][0]["content"]
    return content


def text_of(content: dict[str, Any]) -> str:
    text: str = content["body"][0]["text"]
    return text


def read(text: str) -> str:
    """Return a text as it is compared: white space is folded as HTML does it, and NUL is shown as U+FFFD."""
    return " ".join(text.replace("\u200b", "").replace("\0", "\ufffd").split())


ATTACKS = (
    *(
        "*b*",
        "**b**",
        "_i_",
        "__b__",
        "~~s~~",
        "`c`",
        "```",
        "[x](http://y)",
        "![i](http://y/z.png)",
        "[x]: y",
        "<http://x>",
        "<b>",
    ),
    *(
        "# h",
        "> q",
        "- i",
        "+ i",
        "* i",
        "1. i",
        "2) i",
        "---",
        "===",
        "***",
        "___",
        "|a|b|\n|-|-|",
        "    code",
        "\tcode",
        "\\",
        "\\*",
    ),
    *(
        "&amp;",
        "&#42;",
        "&lt;b&gt;",
        "{{DATE(2017-02-14T06:08:39Z,LONG)}}",
        "{{TIME(2017-02-14T06:08:39Z)}}",
        "{{",
        "DATE(",
        "}}",
    ),
    *(
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " ",
        "  ",
        "-",
        "+",
        "*",
        "_",
        "~",
        "#",
        ">",
        "|",
        "=",
        "1",
        ".",
        ")",
        "(",
        "]",
        "[",
        ":",
        "!",
        "<",
        "&",
        ";",
    ),
    *("-5 °C", "boiler_2", "a@b.de", "http://x.de/y", "C:\\temp", "ü", "😀", "e\u0301", "\u00a0", "\0", "\u2028"),
)
values = st.lists(st.sampled_from(ATTACKS) | st.text(max_size=4), max_size=6).map("".join)
TEMPLATES = (
    "$VALUE",
    "T: $VALUE",
    "$VALUE: x",
    "$VALUE. x",
    "- y\n- $VALUE",
    "($VALUE)",
    "$VALUE$SOURCEVALUE",
    "x\n$VALUE\ny",
    "<$VALUE>",
)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_text_is_read_as_it_was_written(show: Callable[[dict[str, Any]], Shown], template: str) -> None:
    _, harmless = show(card(template, "x"))

    @settings(deadline=None)
    @given(values)
    @example("3. x")
    @example("[Ofen]: heiß")
    @example("&amp; <http://x> `c`")
    @example("{{DATE(2017-02-14T06:08:39Z,LONG)}}")
    @example("{\n{DATE(2017-02-14T06:08:39Z,LONG)}}")
    @example("3")
    @example("#")
    @example("a@b.de")
    def reads(value: str) -> None:
        text, tags = show(card(template, value))
        written = template.replace("$SOURCEVALUE", value).replace("$VALUE", value)
        assert read(text) == read(re.sub(r"^- y\n- ", "y ", written))
        assert set(tags) <= {*harmless, "P", "BR"}, tags

    reads()


@pytest.mark.parametrize(
    "value",
    [
        "-5 °C",
        "+3",
        "#12",
        "boiler_2",
        "2 * 3",
        "~5 bar",
        "[WARN] Ofen 3",
        "a|b",
        "C:\\temp",
        "5 > 3",
        "R&D",
        "3.5",
        "a < b",
        "<x>",
        "50 %",
    ],
)
@pytest.mark.parametrize("template", ["$VALUE", "T: $VALUE", "$VALUE at $SOURCECONNECTION", "**$VALUE** x"])
def test_what_formats_nothing_gets_no_backslash(value: str, template: str) -> None:
    assert "\\" not in text_of(card(template, value)).replace("C:\\temp", "")


def test_the_formats_of_the_template_stay(show: Callable[[dict[str, Any]], Shown]) -> None:
    text, tags = show(card("**Alarm** [wiki](http://w/): $VALUE", "*x*"))
    assert read(text) == "Alarm wiki: *x*"
    assert {"STRONG", "A"} <= set(tags)


CARD = json.dumps(
    {
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {"type": "TextBlock", "text": "$VALUE", "wrap": True},
            {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": "$VALUE"}]},
            {"type": "FactSet", "facts": [{"title": "a", "value": "$VALUE"}]},
        ],
        "actions": [{"type": "Action.OpenUrl", "title": "$VALUE", "url": "http://w/$VALUE"}],
    }
)


@settings(deadline=None)
@given(value=values)
@example(value="*b* [x](y)")
@example(value="{{DATE(2017-02-14T06:08:39Z,LONG)}}")
def test_each_element_of_a_card_shows_the_text_once(show: Callable[[dict[str, Any]], Shown], value: str) -> None:
    content = card(CARD, value)
    run = content["body"][1]["inlines"][0]["text"]
    assert run.replace("\u200b", "") == value.replace("\u200b", "")
    assert content["actions"][0]["title"] == run
    for element in content["body"]:
        text, tags = show({**content, "body": [element], "actions": []})
        shown = read(text)
        assert shown == (read("a " + value) if element["type"] == "FactSet" else read(value))
        assert set(tags) <= {"P", "BR", "SPAN", "TABLE", "TBODY", "TR", "TD"}, tags


def test_raw_variables_let_a_value_format_a_card(show: Callable[[dict[str, Any]], Shown]) -> None:
    _, tags = show(card("$VALUE", "**b**", "raw_variables = true"))
    assert "STRONG" in tags
    assert card(CARD, "**b**", "raw_variables = true")["body"][0]["text"] == "**b**"
