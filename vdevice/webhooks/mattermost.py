"""Mattermost incoming webhooks: https://developers.mattermost.com/integrate/webhooks/incoming/ ."""

import json
import re

from vdevice.model import Outcome
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


def is_own(host: str) -> bool:
    """Tell whether a host is Mattermost's cloud; all others are somebody's server, with proxies of its own before it."""
    return host.endswith(".cloud.mattermost.com")


def classify(response: chat.Response) -> Outcome | None:
    """Judge what is Mattermost's own: its JSON errors, whatever the status, and a success of its cloud that is no ok."""
    status, document = response.status, response.document if isinstance(response.document, dict) else {}
    said = str(document.get("message") or document.get("error") or document.get("id") or "")
    if 200 <= status < 300:
        code = document.get("status_code")
        inner = code if isinstance(code, int) else 0
        if response.refuses or inner >= 400:
            later = inner >= 500 or inner in {408, 425, 429}
            return chat.refused(status, f"Mattermost says {said or inner or 'no'}", later=later)
        if response.own and not response.accepts:
            return chat.refused(status, f"Mattermost did not answer ok: {response.text.strip()}")
    elif said and 400 <= status < 500 and status not in {408, 425, 429}:
        return chat.refused(status, f"Mattermost says {said}")
    return None
