import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import event_of, target_of
from vdevice.model import ErrorCode, Verdict
from vdevice.webhooks import http, outcome

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


RETRY, GIVE_UP, DELIVERED = Verdict.RETRY, Verdict.GIVE_UP, Verdict.DELIVERED
FAILED_429 = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ..."
NOT_FOUND = '{"id": "web.incoming.error", "message": "Invalid webhook", "status_code": 404}'
OUTCOMES = [
    ("post-raw", 200, "", DELIVERED, 0),
    ("post-raw", 204, "", DELIVERED, 0),
    ("post-raw", 299, "anything", DELIVERED, 0),
    ("post-raw", 301, "", GIVE_UP, 6),
    ("post-raw", 304, "", GIVE_UP, 6),
    ("post-raw", 400, "", GIVE_UP, 6),
    ("post-raw", 404, "", GIVE_UP, 6),
    ("post-raw", 408, "", RETRY, 6),
    ("post-raw", 410, "", GIVE_UP, 6),
    ("post-raw", 425, "", RETRY, 6),
    ("post-raw", 429, "", RETRY, 6),
    ("post-raw", 500, "", RETRY, 6),
    ("post-raw", 503, "", RETRY, 6),
    ("slack", 200, "ok", DELIVERED, 0),
    ("slack", 200, "sorry", GIVE_UP, 7),
    ("slack", 400, "invalid_payload", GIVE_UP, 7),
    ("slack", 403, "action_prohibited", GIVE_UP, 7),
    ("slack", 404, "no_service", GIVE_UP, 7),
    ("slack", 410, "channel_is_archived", GIVE_UP, 7),
    ("slack", 429, "rate_limited", RETRY, 6),
    ("slack", 500, "rollup_error", RETRY, 6),
    ("teams", 202, "", DELIVERED, 0),
    ("teams", 200, "1", DELIVERED, 0),
    ("teams", 200, FAILED_429, RETRY, 7),
    ("teams", 200, FAILED_429.replace("429", "413"), GIVE_UP, 7),
    ("teams", 404, "", GIVE_UP, 6),
    ("mattermost", 200, "ok", DELIVERED, 0),
    ("mattermost", 200, "<html>", GIVE_UP, 7),
    ("mattermost", 404, NOT_FOUND, GIVE_UP, 7),
    ("mattermost", 429, "", RETRY, 6),
    ("mattermost", 500, NOT_FOUND, RETRY, 6),
]


@pytest.mark.parametrize(("method", "status", "text", "verdict", "error"), OUTCOMES)
def test_outcome(method: str, status: int, text: str, verdict: Verdict, error: int) -> None:
    _config, target = target_of(f'method = "{method}"\npayload = "$VALUE"')
    found = outcome.classify(target, status, {}, text.encode())
    assert (found.verdict, found.error, found.http_status) == (verdict, ErrorCode(error), status)
    assert bool(found.text) is (verdict is not DELIVERED)


def test_success_says_which_statuses_deliver() -> None:
    _config, target = target_of('success = [200, "3xx"]')
    verdicts = [outcome.classify(target, status, {}, b"").verdict for status in (200, 304, 202, 500)]
    assert verdicts == [DELIVERED, DELIVERED, GIVE_UP, RETRY]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "9" * 400}, 1e9),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "\N{ARABIC-INDIC DIGIT THREE}"}, None),
        ({"retry-after": "Sun, 15 Jun 2025 15:06:50 GMT"}, 10),
        ({"retry-after": "Sun, 15 Jun 2025 15:06:30 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-reset": "3"}, 3),
        ({"x-ratelimit-reset": "0.25"}, 0.25),
        ({"x-ratelimit-reset": "1750000005"}, 5),
        ({}, None),
    ],
)
def test_retry_after_comes_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert outcome.retry_after(headers, 1_750_000_000) == seconds


def test_the_answer_is_kept_up_to_500_bytes() -> None:
    _config, target = target_of("")
    assert len(outcome.classify(target, 200, {}, b"x" * 900).answer) == 500
