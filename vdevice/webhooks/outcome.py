"""An HTTP answer to an outcome, as CONTRACT section 4 has it: first the service's own words, then one table for all."""

import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import msgspec

from vdevice.clean import clean
from vdevice.config import Target
from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import masking, mattermost, slack, teams

ANSWER_KEPT = 500
"""Bytes of an answer that the outbox keeps."""

RETRIED = frozenset({408, 425, 429})
"""Statuses below 500 that may do better next time."""

LONGEST_WAIT = 1e9
"""Seconds that a response can ask for at most: a float that every clock can take, however many digits were sent."""

# RFC 9110 has whole seconds; some services send a fraction.
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")

_SERVICES: dict[str, Callable[[int, str], Outcome | None]] = {
    "slack": slack.classify,
    "teams": teams.classify,
    "mattermost": mattermost.classify,
}


def classify(
    target: Target, status: int, headers: Mapping[str, str], answer: bytes, now: float | None = None
) -> Outcome:
    """Return what an answer means.

    `headers` have lower-case names or ignore case; `now` (UTC seconds) is what dates are held against.
    """
    outcome = _by_service(target, status, answer) or _by_status(target, status)
    wait = retry_after(headers, time.time() if now is None else now) if outcome.verdict is Verdict.RETRY else None
    # Masked before it is cut: a cut secret would not be found.
    kept = masking.mask_bytes(target, answer)[:ANSWER_KEPT]
    text = clean(masking.mask(target, outcome.text))
    return msgspec.structs.replace(outcome, answer=kept, text=text, retry_after=wait)


def _by_service(target: Target, status: int, answer: bytes) -> Outcome | None:
    # Whoever sets `success` has said what a good answer is.
    if target.method not in _SERVICES or target.success is not None:
        return None
    return _SERVICES[target.method](status, answer.decode("utf-8", "replace"))


def _by_status(target: Target, status: int) -> Outcome:
    if _is_success(target, status):
        return Outcome(Verdict.DELIVERED, http_status=status)
    if status in RETRIED or status >= 500:
        return Outcome(Verdict.RETRY, ErrorCode.HTTP, status, f"HTTP {status}")
    what = "redirect not followed" if 300 <= status < 400 else "given up"
    return Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, status, f"HTTP {status}, {what}")


def _is_success(target: Target, status: int) -> bool:
    if target.success is None:
        return 200 <= status < 300
    return any(status == code or f"{status // 100}xx" == code for code in target.success)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that Retry-After (RFC 9110, 10.2.3) or X-RateLimit-Reset ask for, None if neither is there."""
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_WAIT)
    if text:
        try:
            return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
        except (ValueError, OverflowError):
            return None
    reset = headers.get("x-ratelimit-reset", "").strip()
    if not _SECONDS.fullmatch(reset):
        return None
    # Mattermost says seconds, other servers the moment in UTC seconds.
    seconds = float(reset)
    return min(max(seconds - now, 0.0) if seconds > 1_000_000_000 else seconds, LONGEST_WAIT)
