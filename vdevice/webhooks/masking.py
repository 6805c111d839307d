"""Takes a target's secrets out of words that are about to be shown."""

import base64
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from vdevice.config import Target
from vdevice.config.schema import CHAT
from vdevice.webhooks import encodings
from vdevice.webhooks.request import Request

MASK = "***"
_MASK = MASK.encode()
LONG, SHORT = 16, 4
"""Characters from which a part of a URL is taken for a key, whatever it is called, and where its name says so."""

_KEY = re.compile("key|token|secret|sig|auth|pass|pwd|code|cred|hash", re.IGNORECASE)
_NO_SECRETS = frozenset({"accept", "user-agent"})
"""Headers whose values are shown where they stand in the config: masking */* would hide half a page."""


def mask(target: Target, words: str) -> str:
    """Return the words with every secret of the target replaced, and all but the host of a secret URL."""
    if not words:
        return words
    content = words.encode("utf-8", "surrogatepass")
    masked = encodings.replaced(content, _hidden(target), _MASK)
    return words if masked is content else masked.decode("utf-8", "surrogatepass")


def shown(target: Target, request: Request, *, viewer: bool = False) -> str:
    """Return a whole request as it may be shown, lines ended by LF; for a viewer without path and query."""
    head = request.head()
    if viewer:
        head = f"{request.method} {MASK} HTTP/1.1\r\n" + head.partition("\r\n")[2]
    return mask(target, head + request.body.decode("utf-8", "backslashreplace")).replace("\r\n", "\n")


def mask_bytes(target: Target, answer: bytes) -> bytes:
    """Return an answer without the target's secrets: some services repeat what they were sent."""
    return encodings.replaced(answer, _hidden(target), _MASK) if answer else answer


_known: dict[int, tuple[Target, list[bytes]]] = {}
"""What to look for, for the target of a number: each answer asks for it."""


def _hidden(target: Target) -> list[bytes]:
    known = _known.get(target.number)
    if known is None or known[0] is not target:
        wanted = {needle for secret in _secrets(target) for needle in encodings.needles(secret)}
        known = _known[target.number] = (target, sorted(wanted, key=len, reverse=True))
    return known[1]


def _secrets(target: Target) -> list[str]:
    secrets = [target.auth_password, target.bearer_token, target.signing_secret, target.proxy]
    secrets += [value for name, value in target.headers.items() if value.literal or name.lower() not in _NO_SECRETS]
    hidden = [secret.reveal() for secret in secrets if secret]
    if target.auth_user is not None or target.auth_password:
        password = target.auth_password.reveal() if target.auth_password else ""
        hidden.append(base64.b64encode(f"{target.auth_user or ''}:{password}".encode()).decode())
    parts = urlsplit(target.url.reveal())
    if target.url.literal or target.method in CHAT:
        hidden += [f"{parts.path}?{parts.query}" if parts.query else parts.path.rstrip("/"), *_segments(parts.path)]
    hidden += _keys(parts.query)
    return [secret for secret in hidden if secret]


def _segments(path: str) -> list[str]:
    """Return the parts of a secret path that are long enough to be a key, as a service repeats them alone."""
    return [part for part in unquote(path).split("/") if len(part) >= LONG and "$" not in part]


def _keys(query: str) -> list[str]:
    """Return the values of a URL's query that are keys, by their name or their length."""
    return [
        value
        for name, value in parse_qsl(query, errors="surrogateescape")
        if "$" not in value and (len(value) >= LONG or (len(value) >= SHORT and _KEY.search(name)))
    ]
