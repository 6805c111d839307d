"""Mattermost incoming webhooks: https://developers.mattermost.com/integrate/webhooks/incoming/ ."""

import json
import re

from vdevice.model import Outcome
from vdevice.webhooks import chat, words

_MENTION = re.compile(r"(?<![^\W_]@)(?<=@)(?=\w)|(?<=<)(?=[!@#]|\w+:)")
"""Inside a mention, which begins at the start of a word (ops@firma.de is none) behind any underscores (_@all_ is one), or
Slack's way to write one or a link."""

_LINK = re.compile(r"\](?=[(\[:])|\\(?=\\*\][(\[:])")
"""What ends the brackets of a link or an image, or the name of a link; and a backslash before it."""

_ANY = re.compile(r"[@<\]\\]")
"""What one of these has, or stands right behind."""


def escape(value: str, before: str, after: str) -> str:
    """Break the mentions and links of a value, so that none notifies @all, hides where it leads, or loads a picture.

    A mention is broken by a zero-width space, a link by a backslash, which Mattermost does not show.
    """
    # Most values hold nothing of it, and need no look at what stands around them.
    if not _ANY.search(value) and before[-1:] not in {"@", "<"}:
        return value
    breaks = [(place, "\u200b") for place in chat.places(_MENTION, value, before, after)]
    return chat.marked(value, breaks + [(place, "\\") for place in chat.places(_LINK, value, before, after)])


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
    said = words.words_in([document.get(key) for key in ("message", "error", "id")])
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
