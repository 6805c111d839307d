"""Slack incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/ ."""

from vdevice.model import Outcome
from vdevice.webhooks import chat, words

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

GIVE_UP = frozenset(
    [
        "invalid_payload",
        "no_text",
        "too_many_attachments",
        "user_not_found",
        "invalid_blocks",
        "action_prohibited",
        "invalid_token",
        "team_disabled",
        "posting_to_general_channel_denied",
        "channel_not_found",
        "no_service",
        "no_service_id",
        "no_team",
        "no_active_hooks",
        "channel_is_archived",
    ]
)
"""Slack's words for a message or a hook that will not do better next time."""

RETRY = frozenset(["rate_limited", "ratelimited", "rollup_error", "internal_error", "fatal_error", "request_timeout"])
"""Slack's words for a trouble of its own, which a workflow's trigger says with status 200."""


def escape(value: str, _before: str, _after: str) -> str:
    """Escape a value for mrkdwn: no value makes a link or a mention such as <!channel>."""
    return value.translate(_ENTITIES)


def body(payload: str, values: dict[str, str], *, raw: bool) -> bytes:
    """Return the JSON body: a JSON object as it is, else the text as {"text": …}."""
    return chat.render(payload, values, None if raw else escape, lambda text: {"text": text})


def is_own(host: str) -> bool:
    """Tell whether a host is Slack's: others speak its format (Rocket.Chat, Mattermost, Discord) and answer as they like."""
    return host.endswith((".slack.com", ".slack-gov.com"))


def classify(response: chat.Response) -> Outcome | None:
    """Judge what is Slack's own: its error words, plain or as {"ok": false}, and a success that does not say ok."""
    status, word = response.status, response.text.strip()
    if response.refuses and isinstance(response.document, dict):
        word = words.words_in(response.document.get("error")) or "no"
    who = "Slack" if response.own else "the service"
    success = 200 <= status < 300
    if success and word in RETRY:
        return chat.refused(status, f"{who} says {word}", later=True)
    if (word in GIVE_UP or response.refuses) and (success or (400 <= status < 500 and status not in {408, 425, 429})):
        return chat.refused(status, f"{who} says {word}")
    if success and response.own and not response.accepts:
        return chat.refused(status, f"Slack did not answer ok: {word}")
    return None
