"""The three headers of Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks .

The package `standardwebhooks` 1.1 signs the text form of a body, which is wrong for bytes such as an uploaded
picture; so the signature is made here, and the tests verify it with the package.
"""

import base64
import hashlib
import hmac


def sign(secret: str, event_id: str, now: float, body: bytes) -> list[tuple[str, str]]:
    """Return the headers that sign one attempt at `now` (UTC seconds): HMAC-SHA256 over `id.timestamp.body`."""
    timestamp = str(int(now))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return [
        ("webhook-id", event_id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", f"v1,{base64.b64encode(digest).decode()}"),
    ]
