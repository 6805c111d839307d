import json
import re

import pytest
from hypothesis import given
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


def test_teams_text_becomes_an_adaptive_card() -> None:
    found = body("teams", "Alarm: $VALUE", "a\nb_c")
    assert isinstance(found, dict)
    assert found["type"] == "message"
    (attachment,) = found["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["contentUrl"] is None
    assert attachment["content"]["version"] == "1.4"
    assert attachment["content"]["body"] == [{"type": "TextBlock", "text": "Alarm: a\n\nb\\_c", "wrap": True}]


def test_teams_puts_a_card_in_the_envelope_and_leaves_other_objects() -> None:
    card = body("teams", '{"type": "AdaptiveCard", "body": [{"type": "TextBlock", "text": "$VALUE"}]}', "x")
    assert isinstance(card, dict)
    assert card["attachments"][0]["content"]["body"][0]["text"] == "x"
    assert body("teams", '{"own": "$VALUE"}', "x") == {"own": "x"}


@pytest.mark.parametrize("host", ["a.webhook.office.com", "outlook.office.com"])
def test_old_teams_connectors_get_text(host: str) -> None:
    assert body("teams", "$VALUE", "x", f'url = "https://{host}/webhook/1"') == {"text": "x"}


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("$VALUE", "- item", "\\- item"),
        ("T: $VALUE", "-5 °C", "T: -5 °C"),
        ("T: $VALUE", "a\n# b", "T: a\n\n\\# b"),
        ("$VALUE", "*b* [l](u) ~x~ |", "\\*b\\* \\[l\\](u) \\~x\\~ \\|"),
        ("x\n$VALUE", "> q", "x\n\n\\> q"),
    ],
)
def test_teams_escapes_what_would_format(template: str, value: str, text: str) -> None:
    found = body("teams", template, value)
    assert isinstance(found, dict)
    assert found["attachments"][0]["content"]["body"][0]["text"] == text


@given(anything)
def test_no_value_notifies_everyone_on_mattermost(value: str) -> None:
    found = body("mattermost", "@here $VALUE", value)
    assert isinstance(found, dict)
    assert not re.search(r"@\w", found["text"].removeprefix("@here"))


def test_mattermost_channel_is_added_where_it_is_set() -> None:
    assert body("mattermost", "$VALUE", "x") == {"text": "x"}
    assert body("mattermost", "$VALUE", "x", 'destination = "@$VALUE"') == {"text": "x", "channel": "@x"}
    payload = '{"text": "$VALUE", "channel": "y"}'
    assert body("mattermost", payload, "x", 'destination = "z"') == {"text": "x", "channel": "z"}
