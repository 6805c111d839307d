"""Mattermost incoming webhooks: https://developers.mattermost.com/integrate/webhooks/incoming/ ."""

import json
import re
from typing import Any

from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import chat

_MENTION = re.compile(r"@(?=\w)")


def escape(value: str, _before: str) -> str:
    """Break the mentions of a value with a zero-width space, so that no value notifies @all."""
    return _MENTION.sub("@\u200b", value)


def body(payload: str, values: dict[str, str], channel: str | None, *, raw: bool) -> bytes:
    """Return the JSON body; `channel` is the destination, added to a JSON object as well."""
    rendered = chat.render(payload, values, None if raw else escape, lambda text: {"text": text})
    if not channel:
        return rendered
    return chat.to_json({**json.loads(rendered), "channel": channel})


def classify(status: int, answer: str) -> Outcome | None:
    """Judge what is Mattermost's own: a 200 that does not say ok, and its JSON errors."""
    if status == 200 and answer.strip() == "ok":
        return None
    error = _error(answer)
    if error and 400 <= status < 500 and status not in {408, 425, 429}:
        return Outcome(Verdict.GIVE_UP, ErrorCode.SERVICE, status, f"Mattermost says {error}")
    if status == 200:
        return Outcome(Verdict.GIVE_UP, ErrorCode.SERVICE, status, "Mattermost did not answer ok")
    return None


def _error(answer: str) -> str:
    try:
        parsed: Any = json.loads(answer)
    except ValueError:
        return ""
    return str(parsed.get("message") or parsed.get("id") or "") if isinstance(parsed, dict) else ""
