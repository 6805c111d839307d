import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import event_of, target_of
from vdevice.webhooks import http

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def body(method: str, payload: str, value: str, more: str = "") -> object:
    config, target = target_of(f"method = \"{method}\"\npayload = '''{payload}'''\n{more}")
    return json.loads(http.build(config, target, event_of(value), 0).body)


def test_slack_text_escapes_values_only() -> None:
    assert body("slack", "<!here> *$VALUE*", "<!channel> a & b") == {"text": "<!here> *&lt;!channel&gt; a &amp; b*"}


def test_slack_objects_are_sent_as_they_are() -> None:
    payload = '{"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "$VALUE"}}]}'
    assert body("slack", payload, "a<b") == {
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "a&lt;b"}}]
    }


def test_a_link_in_a_chat_object_gets_percent_encoding() -> None:
    assert body("slack", '{"url": "https://wiki/$VALUE"}', "a&b/c") == {"url": "https://wiki/a%26b%2Fc"}


def test_raw_variables_turn_escaping_off() -> None:
    assert body("slack", "$VALUE", "<!channel>", "raw_variables = true") == {"text": "<!channel>"}


@given(anything)
def test_no_value_mentions_or_links_on_slack(value: str) -> None:
    found = body("slack", "$VALUE", value)
    assert isinstance(found, dict)
    assert not set("<>") & set(found["text"])


# Mattermost takes underscores, points, dashes and colons off the start of a word before it looks for a mention.
MENTION = re.compile(r"(?<![^\W_])@(?=\w)|<[!@#]|<\w+:")
parts = st.lists(
    st.sampled_from(["@", "_", "all", "<!channel>", "<", "!", "http://x", "|y>", "[", "]", "(", ")", ":", "\\"])
    | anything
)
mixed = parts.map("".join)


@given(
    mixed,
    st.sampled_from(
        ["$VALUE", "a@$VALUE", "@$VALUE", "_$VALUE", "<$VALUE", "$VALUE$VALUE", "($VALUE) $SOURCEVALUE!", "[$VALUE](x)"]
    ),
)
@example("<!channel>", "$VALUE")
@example("all", "@$VALUE")
@example("_@all_", "$VALUE")
@example("@channel", "__$VALUE")
def test_no_value_notifies_everyone_on_mattermost(value: str, template: str) -> None:
    found = body("mattermost", f"@here {template}", value)
    assert isinstance(found, dict)
    assert not MENTION.search(found["text"].removeprefix("@here"))
    assert found["text"].replace("\u200b", "").replace("\\", "") == (
        f"@here {template}".replace("$SOURCEVALUE", value).replace("$VALUE", value)
    ).replace("\u200b", "").replace("\\", "")


@pytest.mark.parametrize("value", ["ops@firma.de", "a@b", "x@all", "5 @ 3", "-5 °C", "[WARN] Ofen", "a < b", "*b* #1"])
def test_mattermost_leaves_what_mentions_and_links_nothing(value: str) -> None:
    assert body("mattermost", "T: $VALUE, $VALUE", value) == {"text": f"T: {value}, {value}"}


@given(mixed, st.sampled_from(["$VALUE", "[$VALUE", "$VALUE$VALUE", "[a]: $VALUE", "![$VALUE$SOURCEVALUE"]))
@example("[x](http://y)", "$VALUE")
@example("![](http://tracker/x.png)", "$VALUE")
@example("\\](x)", "[$VALUE")
@example("[Ofen]: x", "$VALUE")
def test_no_value_makes_a_link_or_loads_a_picture_on_mattermost(value: str, template: str) -> None:
    found = body("mattermost", template, value)
    assert isinstance(found, dict)
    # A bracket that ends the words of a link has an odd number of backslashes before it: it is escaped.
    for bracket in re.finditer(r"(\\*)\](?=[(\[:])", found["text"].removeprefix("[a]:")):
        assert len(bracket[1]) % 2 == 1, found


def test_mattermost_channel_is_added_where_it_is_set() -> None:
    assert body("mattermost", "$VALUE", "x") == {"text": "x"}
    assert body("mattermost", "$VALUE", "x", 'destination = "@$VALUE"') == {"text": "x", "channel": "@x"}
    payload = '{"text": "$VALUE", "channel": "y"}'
    assert body("mattermost", payload, "x", 'destination = "z"') == {"text": "x", "channel": "z"}
