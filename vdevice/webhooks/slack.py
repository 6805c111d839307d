"""Slack incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/ ."""

from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import chat

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


def escape(value: str, _before: str) -> str:
    """Escape a value for mrkdwn: no value makes a link or a mention such as <!channel>."""
    return value.translate(_ENTITIES)


def body(payload: str, values: dict[str, str], *, raw: bool) -> bytes:
    """Return the JSON body: a JSON object as it is, else the text as {"text": …}."""
    return chat.render(payload, values, None if raw else escape, lambda text: {"text": text})


def classify(status: int, answer: str) -> Outcome | None:
    """Judge what is Slack's own: a 200 that does not say ok, and its error words."""
    word = answer.strip()
    if word in GIVE_UP:
        return Outcome(Verdict.GIVE_UP, ErrorCode.SERVICE, status, f"Slack says {word}")
    if status == 200 and word != "ok":
        return Outcome(Verdict.GIVE_UP, ErrorCode.SERVICE, status, "Slack did not answer ok")
    return None
