"""Microsoft Teams: Workflows webhooks and the retired Office 365 connectors.

https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
https://adaptivecards.io/explorer/TextBlock.html
"""

import json
import re
from typing import Any
from urllib.parse import urlsplit

from vdevice.model import Outcome
from vdevice.webhooks import chat

_ANYWHERE = re.compile(r"[\\*_\[\]~|]")
_AT_LINE_START = re.compile(r"[#\-+>]")
_FAILED = re.compile(r"webhook message delivery failed with error", re.IGNORECASE)
_HTTP_ERROR = re.compile(r"HTTP error (\d{3})")


def is_connector(url: str) -> bool:
    """Tell whether a URL is one of the old connectors, which take {"text": …} and answer `1`."""
    host = (urlsplit(url).hostname or "").lower()
    return host.endswith(".webhook.office.com") or host in {"outlook.office.com", "outlook.office365.com"}


def escape(value: str, before: str) -> str:
    """Backslash-escape what would format in a TextBlock: some characters anywhere, some where a line starts."""
    lines = _ANYWHERE.sub(r"\\\g<0>", value).split("\n")
    first_starts_line = not before.rpartition("\n")[2].strip()
    return "\n".join(_escape_start(line) if first_starts_line or index else line for index, line in enumerate(lines))


def _escape_start(line: str) -> str:
    text = line.lstrip()
    return line[: len(line) - len(text)] + "\\" + text if _AT_LINE_START.match(text) else line


def body(payload: str, values: dict[str, str], url: str, *, raw: bool) -> bytes:
    """Return the JSON body: text as an Adaptive Card in a message envelope, a card in the envelope, others as they are."""
    how = None if raw else escape
    if is_connector(url):
        return chat.render(payload, values, how, lambda text: {"text": text})
    rendered = chat.render(payload, values, how, lambda text: _envelope(_card(text)))
    parsed = chat.as_object(payload)
    if parsed is not None and parsed.get("type") == "AdaptiveCard":
        return chat.to_json(_envelope(json.loads(rendered)))
    return rendered


def _card(text: str) -> dict[str, Any]:
    return {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "TextBlock", "text": _paragraphs(text), "wrap": True}],
        "msteams": {"width": "Full"},
    }


def _paragraphs(text: str) -> str:
    """Double single line breaks: a TextBlock ignores them."""
    return re.sub(r"(?<!\n)\n(?!\n)", "\n\n", text.replace("\r\n", "\n"))


def _envelope(card: dict[str, Any]) -> dict[str, Any]:
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def classify(response: chat.Response) -> Outcome | None:
    """Judge what is the connectors' own: a 200 whose body says that the delivery failed."""
    if not 200 <= response.status < 300 or not _FAILED.search(response.text):
        return None
    found = _HTTP_ERROR.search(response.text)
    code = int(found[1]) if found else 0
    words = f"Teams says HTTP error {code}" if code else "Teams says it failed"
    return chat.refused(response.status, words, later=code == 429 or code >= 500)
