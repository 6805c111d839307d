import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import target_of
from vdevice.clean import to_ascii
from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import outcome

RETRY, GIVE_UP, DELIVERED = Verdict.RETRY, Verdict.GIVE_UP, Verdict.DELIVERED
FAILED_429 = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ..."
NOT_FOUND = '{"id": "web.incoming.error", "message": "Invalid webhook", "status_code": 404}'
SLACK, TRIGGER = "https://hooks.slack.com/services/T/B/x", "https://hooks.slack.com/triggers/T/1/x"
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
    (SLACK, 200, "ok", DELIVERED, 0),
    (SLACK, 200, "ok\n", DELIVERED, 0),
    (SLACK, 200, "sorry", GIVE_UP, 7),
    (SLACK, 200, "<html>", GIVE_UP, 7),
    (SLACK, 200, '{"ok":false,"error":"channel_not_found"}', GIVE_UP, 7),
    (SLACK, 400, "invalid_payload", GIVE_UP, 7),
    (SLACK, 403, "action_prohibited", GIVE_UP, 7),
    (SLACK, 404, "no_service", GIVE_UP, 7),
    (SLACK, 410, "channel_is_archived", GIVE_UP, 7),
    (SLACK, 429, "rate_limited", RETRY, 6),
    (SLACK, 500, "rollup_error", RETRY, 6),
    (SLACK, 500, '{"ok":false,"error":"internal_error"}', RETRY, 6),
    (TRIGGER, 200, "", DELIVERED, 0),
    (TRIGGER, 200, '{"ok":true}', DELIVERED, 0),
    (TRIGGER, 200, '{"ok":false,"error":"channel_not_found"}', GIVE_UP, 7),
    (TRIGGER, 200, '{"ok":false,"error":"ratelimited"}', RETRY, 7),
    (TRIGGER, 400, '{"ok":false,"error":"invalid_workflow_input"}', GIVE_UP, 7),
    ("slack", 200, '{"success":true}', DELIVERED, 0),
    ("slack", 200, '{"success":false,"error":"no such channel"}', GIVE_UP, 7),
    ("slack", 200, "sorry", DELIVERED, 0),
    ("slack", 204, "", DELIVERED, 0),
    ("slack", 200, "channel_not_found", GIVE_UP, 7),
    ("slack", 404, "no_service", GIVE_UP, 7),
    ("teams", 202, "", DELIVERED, 0),
    ("teams", 200, "1", DELIVERED, 0),
    ("teams", 200, FAILED_429, RETRY, 7),
    ("teams", 200, FAILED_429.replace("429", "413"), GIVE_UP, 7),
    ("teams", 404, "", GIVE_UP, 6),
    ("mattermost", 200, "ok", DELIVERED, 0),
    ("mattermost", 200, "", DELIVERED, 0),
    ("mattermost", 200, '{"ok":true}', DELIVERED, 0),
    ("mattermost", 200, "<html>", DELIVERED, 0),
    ("mattermost", 200, NOT_FOUND, GIVE_UP, 7),
    ("mattermost", 200, NOT_FOUND.replace("404", "503"), RETRY, 7),
    ("https://x.cloud.mattermost.com/hooks/x", 200, "<html>", GIVE_UP, 7),
    ("https://x.cloud.mattermost.com/hooks/x", 200, "ok", DELIVERED, 0),
    ("mattermost", 404, NOT_FOUND, GIVE_UP, 7),
    ("mattermost", 429, "", RETRY, 6),
    ("mattermost", 500, NOT_FOUND, RETRY, 6),
]


def classified(method: str, status: int, body: bytes, content_type: str = "") -> Outcome:
    """Return the outcome of a response to a method, or to a service by its URL."""
    url = method if "://" in method else "https://chat.example/hook"
    service = "slack" if "slack" in method else "mattermost" if "mattermost" in method else method
    payload = 'payload = "$VALUE"' if service != "get" else ""
    _config, target = target_of(f'method = "{service}"\nurl = "{url}"\n{payload}')
    return outcome.classify(target, status, {"content-type": content_type}, body)


@pytest.mark.parametrize(("method", "status", "text", "verdict", "error"), OUTCOMES)
def test_outcome(method: str, status: int, text: str, verdict: Verdict, error: int) -> None:
    found = classified(method, status, text.encode())
    assert (found.verdict, found.error, found.http_status) == (verdict, ErrorCode(error), status)
    assert bool(found.text) is (verdict is not DELIVERED)


@pytest.mark.parametrize(
    ("method", "status", "body", "reason"),
    [
        ("post-raw", 400, '{"error":{"message":"MessageSizeExceeded"}}', "HTTP 400, given up: MessageSizeExceeded"),
        ("post-raw", 500, "out\r\nof memory", "HTTP 500: out"),
        ("post-raw", 413, "<html><title>413 Too Large</title>", "HTTP 413, given up: 413 Too Large"),
        ("post-raw", 404, "", "HTTP 404, given up"),
        ("post-raw", 404, "{}", "HTTP 404, given up"),
        ("post-raw", 400, '{"message":"a\\u001b[2J\\nb"}', "HTTP 400, given up: a [2J b"),
        ("slack", 404, "no_service", "the service says no_service"),
        (SLACK, 404, "no_service", "Slack says no_service"),
        (TRIGGER, 200, '{"ok":false,"error":"channel_not_found"}', "Slack says channel_not_found"),
        (TRIGGER, 200, '{"ok":false,"error":{"code":7,"message":"no such flow"}}', "Slack says no such flow"),
        ("mattermost", 403, '{"message":{"text":""},"error":["locked"]}', "Mattermost says locked"),
        (SLACK, 200, "no\nway", "Slack did not answer ok: no way"),
        ("mattermost", 404, NOT_FOUND, "Mattermost says Invalid webhook"),
        ("teams", 400, '{"error":{"code":"X","message":"The flow is off"}}', "HTTP 400, given up: The flow is off"),
    ],
)
def test_the_reason_has_the_words_of_the_response(method: str, status: int, body: str, reason: str) -> None:
    assert classified(method, status, body.encode()).text == reason


@pytest.mark.parametrize(
    "said", ["token-4711", r"token\u002d4711", '{"message": "wrong token-4711 here"}', "a " * 140 + "token-4711"]
)
def test_no_secret_is_in_a_reason_or_in_what_is_kept(said: str) -> None:
    _config, target = target_of('bearer_token = "token-4711"\nheaders = { X = "/a/b c\\"d" }')
    body = said if said.startswith("{") else json.dumps({"message": "X"}).replace("X", said)
    found = outcome.classify(target, 400, {}, body.encode())
    assert "4711" not in found.text
    for spelled in (r"\/a\/b c\"d", "%2Fa%2Fb%20c%22d", "/a/b+c%22d", "/a/b c&quot;d"):
        found = outcome.classify(target, 400, {}, spelled.encode())
        assert b"b c" not in found.answer
        assert b"***" in found.answer


anybody = st.binary(max_size=300) | st.text(st.characters(codec=None), max_size=100).map(
    lambda text: json.dumps({"ok": False, "status_code": 400, "message": text, "error": text}).encode()
)


@given(
    st.sampled_from(["get", "slack", SLACK, "teams", "mattermost", "https://x.cloud.mattermost.com/h"]),
    st.integers(200, 599),
    anybody,
    st.text(st.characters(codec=None), max_size=20).map(lambda text: f"text/plain; charset={text}"),
)
@example("mattermost", 400, rb'{"message":"\ud800"}', "")
@example("slack", 200, rb'{"ok":false,"error":"\udcff"}', "")
@example("mattermost", 200, rb'{"status_code":' + b"9" * 5000 + b"}", "")
def test_any_response_gives_an_outcome_that_can_be_stored(
    method: str, status: int, body: bytes, content_type: str
) -> None:
    found = classified(method, status, body, content_type)
    assert len(found.text) <= outcome.LONGEST_REASON
    found.text.encode("utf-8")
    assert len(to_ascii(found.text, 64).encode("ascii")) <= 64
    assert found.verdict is not DELIVERED or 200 <= status < 300
    assert bool(found.text) is (found.verdict is not DELIVERED)


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
