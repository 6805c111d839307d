"""An HTTP response to an outcome: first the service's own words, then one table for all."""

import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec

from vdevice.clean import one_line, shorten
from vdevice.config import Target
from vdevice.model import ErrorCode, Outcome, Verdict
from vdevice.webhooks import chat, masking, mattermost, slack, teams, words

ANSWER_KEPT = 500
"""Bytes of an answer that the outbox keeps."""

MASKED = 8192
"""Bytes of an answer, and characters of a reason, that are looked through for secrets: many times what is kept of them."""

RETRIED = frozenset({408, 425, 429})
"""Statuses below 500 that may do better next time."""

LONGEST_WAIT = 1e9
"""Seconds that a response can ask for at most: a float that every clock can take, however many digits were sent."""

# RFC 9110 has whole seconds; some services send a fraction.
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")

LONGEST_REASON = 300
"""Characters of a reason, the response's own words in it."""

_ACCEPTED = frozenset({b"", b"ok"})
"""What nearly all answers of chat services are."""

_SERVICES: dict[str, Callable[[chat.Response], Outcome | None]] = {
    "slack": slack.classify,
    "teams": teams.classify,
    "mattermost": mattermost.classify,
}
_OWN_HOSTS: dict[str, Callable[[str], bool]] = {"slack": slack.is_own, "mattermost": mattermost.is_own}


def classify(
    target: Target,
    status: int,
    headers: Mapping[str, str],
    answer: bytes,
    now: float | None = None,
    *,
    is_whole: bool = True,
) -> Outcome:
    """Return what an answer means.

    `headers` have lower-case names or ignore case; `now` (UTC seconds) is what dates are held against. The reason is
    one line, with what the response says in its own words. Of an answer that is not whole, or could not be decoded,
    what it does not say counts for nothing.
    """
    content_type = headers.get("content-type", "")
    outcome = _by_service(target, status, answer, content_type, is_whole=is_whole) or _by_status(target, status)
    reason = outcome.text
    if outcome.error is ErrorCode.HTTP and (said := words.words_of(answer, content_type)):
        reason = f"{reason}: {said}"
    # Masked before it is cut: a cut secret would not be found.
    return msgspec.structs.replace(
        outcome,
        answer=masking.mask_bytes(target, answer[:MASKED])[:ANSWER_KEPT],
        text=shorten(one_line(masking.mask(target, reason[:MASKED])), LONGEST_REASON) if reason else "",
        retry_after=retry_after(headers, time.time() if now is None else now)
        if outcome.verdict is Verdict.RETRY
        else None,
    )


def _by_service(target: Target, status: int, answer: bytes, content_type: str, *, is_whole: bool) -> Outcome | None:
    # Whoever sets `success` has said what a good answer is.
    if target.method not in _SERVICES or target.success is not None:
        return None
    if answer in _ACCEPTED and 200 <= status < 300:
        return None
    host = (urlsplit(target.url.reveal()).hostname or "").lower()
    own = is_whole and target.method in _OWN_HOSTS and _OWN_HOSTS[target.method](host)
    text = words.text_of(answer, content_type)
    return _SERVICES[target.method](chat.Response(status, text, words.as_json(text), own))


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
