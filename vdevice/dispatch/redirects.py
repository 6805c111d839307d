"""Redirects (RFC 9110, 15.4): which request a response asks for, and whether it may be sent. Pure.

The message is never left out on the way: 301, 302, 307 and 308 repeat method and body. 303 says that the request was
accepted and where its result is, so that is fetched by GET, and nothing is sent a second time after it.
"""

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import msgspec

from vdevice.clean import one_line, shorten
from vdevice.config import Target
from vdevice.config.sections import is_allowed
from vdevice.webhooks import masking
from vdevice.webhooks.request import Request

MOST = 5
"""Redirects that are followed at most, with `follow_redirects`."""

STATUSES = frozenset({301, 302, 303, 307, 308})
"""Redirects that name one place to go to."""

LONGEST = 8_000
"""Characters of a Location; servers take request lines of about that length (RFC 9110, 4.1)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LEGAL = "!#$%&'()*+,/:;=?@[]~"
_PORTS = {"http": 80, "https": 443}
# What is in each request and tells nothing; any other header may hold a secret.
_HARMLESS = frozenset({"host", "user-agent", "accept", "idempotency-key", "content-type", "content-length"})


class RedirectError(Exception):
    """A redirect that is not followed; the text says why."""


def redirected(target: Target, request: Request, status: int, location: str, allow: Sequence[str]) -> Request:
    """Return the request that a redirect of `request` asks for; `allow` is `delivery.allow_hosts`. Raises RedirectError."""
    parts = place(request.url, location)
    old = urlsplit(request.url)
    if not is_allowed((parts.hostname or "").rstrip("."), allow):
        raise RedirectError("its host is not in delivery.allow_hosts")
    if not _is_same_host(old, parts) and _has_credentials(target, request):
        raise RedirectError("it leads to another host, and the request carries credentials")
    headers = [(name, parts.netloc if name == "Host" else value) for name, value in request.headers]
    if status != 303:
        return msgspec.structs.replace(request, url=parts.geturl(), headers=headers)
    headers = [(name, value) for name, value in headers if not name.lower().startswith("content-")]
    return Request("GET", parts.geturl(), headers)


def shown(target: Target, base: str, location: str) -> str:
    """Return where a redirect leads, as it may be shown: scheme, host and path, without the target's secrets."""
    try:
        parts = place(base, location)
    except RedirectError as error:
        return f"nowhere ({error})"
    # Often it is the same path on another scheme or host; viewers, who see the reason, do not see a target's path.
    own = urlsplit(base).path.rstrip("/")
    path = parts.path.replace(own, f"/{masking.MASK}") if own else parts.path
    return shorten(one_line(masking.mask(target, f"{parts.scheme}://{parts.netloc}{path}")), 120)


def place(base: str, location: str) -> SplitResult:
    """Return the URL that a Location means, fit for a request line. Raises RedirectError."""
    location = location.strip(" \t")
    if _CONTROL.search(location) or len(location) > LONGEST:
        raise RedirectError("its Location holds control characters, or is too long")
    try:
        parts = urlsplit(urljoin(base, location))
        netloc = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
        parts = parts._replace(netloc=netloc.lower(), path=quote(parts.path or "/", safe=_LEGAL), fragment="")
        parts = parts._replace(query=quote(parts.query, safe=_LEGAL))
        is_place = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
        # What is sent to name the host is written by others: a blank would end it, a quoted one is none.
        is_place = is_place and re.fullmatch(r"[a-z0-9.:\[\]_-]+", netloc.lower()) is not None
        (parts.hostname or "").encode("idna")
    except ValueError:
        is_place = False
    if not is_place:
        raise RedirectError("its Location is no http or https URL")
    return parts


def _is_same_host(old: SplitResult, new: SplitResult) -> bool:
    """Tell whether a redirect stays at its host: the same origin, or from http to https, each on its own port."""
    origins = [(one.scheme, one.hostname, one.port or _PORTS[one.scheme]) for one in (old, new)]
    return origins[0] == origins[1] or origins == [("http", old.hostname, 80), ("https", old.hostname, 443)]


def _has_credentials(target: Target, request: Request) -> bool:
    return (
        target.tls_cert is not None
        or any(name.lower() not in _HARMLESS for name, _ in request.headers)
        or masking.mask_bytes(target, request.body) != request.body
    )
