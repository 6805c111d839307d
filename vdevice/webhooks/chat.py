"""What Slack, Teams and Mattermost share: a payload that is a JSON object is the message, any other is its text."""

import json
from collections.abc import Callable
from typing import Any

from vdevice.variables import Escape, substitute, substitute_json


def as_object(payload: str) -> dict[str, Any] | None:
    """Return the JSON object that a payload is, or None where it is text."""
    if not payload.lstrip().startswith("{"):
        return None
    try:
        parsed = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def render(payload: str, values: dict[str, str], escape: Escape | None, wrap: Callable[[str], dict[str, Any]]) -> bytes:
    """Return the JSON body of a chat message; `wrap` makes the message of a text."""
    if as_object(payload) is None:
        return to_json(wrap(substitute(payload, values, escape)))
    return substitute_json(payload, values, escape).encode("utf-8", "replace")


def to_json(message: dict[str, Any]) -> bytes:
    """Return a message as compact UTF-8 JSON."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
