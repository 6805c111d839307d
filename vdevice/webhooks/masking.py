"""Takes a target's secrets out of words that are about to be shown."""

import base64
import html
import json
from urllib.parse import quote, quote_plus, urlsplit

from vdevice.config import Target
from vdevice.config.schema import CHAT
from vdevice.webhooks.request import Request

MASK = "***"
_MASK = MASK.encode()
_NO_SECRETS = frozenset({"accept", "user-agent"})
"""Headers whose values are shown where they stand in the config: masking */* would hide half a page."""


def mask(target: Target, words: str) -> str:
    """Return the words with every secret of the target replaced, and all but the host of a secret URL."""
    for secret, _ in _hidden(target) if words else ():
        words = words.replace(secret, MASK)
    return words


def shown(target: Target, request: Request) -> str:
    """Return a whole request as it may be shown, lines ended by LF."""
    return mask(target, request.head() + request.body.decode("utf-8", "backslashreplace")).replace("\r\n", "\n")


def mask_bytes(target: Target, answer: bytes) -> bytes:
    """Return an answer without the target's secrets: some services repeat what they were sent."""
    for _, secret in _hidden(target) if answer else ():
        answer = answer.replace(secret, _MASK)
    return answer


_known: dict[int, tuple[Target, list[tuple[str, bytes]]]] = {}
"""What `_secrets` returned for the target of a number: each answer asks for it."""


def _hidden(target: Target) -> list[tuple[str, bytes]]:
    known = _known.get(target.number)
    if known is None or known[0] is not target:
        known = _known[target.number] = (target, [(one, one.encode()) for one in _secrets(target)])
    return known[1]


def _secrets(target: Target) -> list[str]:
    secrets = [target.auth_password, target.bearer_token, target.signing_secret, target.proxy]
    secrets += [value for name, value in target.headers.items() if value.literal or name.lower() not in _NO_SECRETS]
    hidden = [secret.reveal() for secret in secrets if secret]
    if target.auth_user is not None or target.auth_password:
        password = target.auth_password.reveal() if target.auth_password else ""
        hidden.append(base64.b64encode(f"{target.auth_user or ''}:{password}".encode()).decode())
    if target.url.literal or target.method in CHAT:
        parts = urlsplit(target.url.reveal())
        hidden += [f"{parts.path}?{parts.query}" if parts.query else parts.path.rstrip("/")]
    spelled = {spelling for secret in filter(None, hidden) for spelling in _spellings(secret)}
    return sorted(spelled, key=len, reverse=True)


def _spellings(secret: str) -> set[str]:
    """Return a secret as services repeat it: as it is, in a JSON string, a URL, a form, or a page."""
    quoted = json.dumps(secret)[1:-1]
    plain = json.dumps(secret, ensure_ascii=False)[1:-1]
    urls = {quote(secret, safe=""), quote(secret), quote_plus(secret), quote_plus(secret, safe="/")}
    return {secret, quoted, plain, quoted.replace("/", r"\/"), plain.replace("/", r"\/"), html.escape(secret)} | urls
