"""What Slack, Teams and Mattermost share: a payload that is a JSON object is the message, any other is its text."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from vdevice.model import ErrorCode, Outcome, Verdict
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


class Response(NamedTuple):
    """What a chat service's response is judged by; `own` says whether it came from one of the service's own hosts."""

    status: int
    text: str
    document: object
    own: bool

    @property
    def accepts(self) -> bool:
        """Whether it is one of the ways to say yes: `ok`, nothing, {"ok": true} and Rocket.Chat's {"success": true}."""
        if isinstance(self.document, dict):
            return self.document.get("ok") is True or self.document.get("success") is True
        return self.text.strip() in {"", "ok"}

    @property
    def refuses(self) -> bool:
        """Whether it is JSON that says no, whatever the status."""
        return isinstance(self.document, dict) and (
            self.document.get("ok") is False or self.document.get("success") is False
        )


def refused(status: int, words: str, *, later: bool = False) -> Outcome:
    """Return the outcome of a response that says no in the service's words; `later` where it may say yes next time."""
    return Outcome(Verdict.RETRY if later else Verdict.GIVE_UP, ErrorCode.SERVICE, status, words)
