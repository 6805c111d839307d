"""What a single setting cannot tell: which settings fit the method, and whether URL, headers and payload can work.

Pure: a target in, problems out. `tests/config/test_load.py` has a line for each.
"""

import codecs
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from vdevice.config.certificates import certificates
from vdevice.config.guard import gather
from vdevice.config.media import charset_of, grammar_of, is_charset, parameter
from vdevice.config.schema import CHAT, IDLE_MS, STAGING_TIMEOUT, Target
from vdevice.errors import Problem

PARAMETERS = frozenset({"get", "delete", "post-urlencoded", "post-multipart"})
PAYLOAD = frozenset({"post-raw", "put", "slack", "teams", "mattermost"})
METHODS_OF = {
    "parameters": PARAMETERS,
    "content_type": frozenset({"post-raw", "put"}),
    "payload": PAYLOAD,
    "destination": frozenset({"mattermost"}),
}
"""Settings that only some methods use."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset(
    [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "idempotency-key",
        "expect",
        "upgrade",
        "te",
        "trailer",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ]
)


def check_target(target: Target) -> list[Problem]:
    """Return all that is wrong with a target whose single settings are right."""
    path = f"targets.{target.number}"
    checks = (_strings, _method, _url, _auth, _headers, _content, _tls)
    problems: list[Problem] = []
    for check in checks:
        gather(path, problems, lambda check=check: check(target))  # type: ignore[misc]
    return problems


def _strings(target: Target) -> Iterator[tuple[str, str]]:
    if target.completion == "content" and target.format == "fixed" and target.registers is None:
        yield (
            "completion",
            "content needs a format that says where the text ends, which fixed does not; set registers, or use commit or idle",
        )
    if target.registers is not None and target.completion != "content":
        yield "registers", "is used by completion content only; remove it"
    elif target.registers is not None and target.format not in {"nul", "fixed"}:
        yield (
            "registers",
            f"is used by the formats nul and fixed only; {target.format} says the length itself; remove it",
        )
    if target.word_order != "big" and target.format != "length32":
        yield "word_order", "is used by format length32 only; remove it"
    if target.format == "s7-wstring" and target.encoding not in {"utf-8", "utf-16-be"}:
        yield "encoding", "is not used by format s7-wstring, which is always utf-16-be; remove it"
    if target.idle_ms != IDLE_MS and target.completion != "idle":
        yield "idle_ms", "is used by completion idle only; remove it"
    if target.staging_timeout != STAGING_TIMEOUT and target.completion not in {"content", "commit"}:
        yield "staging_timeout", "is used by completion content and commit only; remove it"


def _method(target: Target) -> Iterator[tuple[str, str]]:
    for key, methods in METHODS_OF.items():
        if getattr(target, key) and target.method not in methods:
            yield key, f"is not used by method {target.method}; remove it or use {', '.join(sorted(methods))}"
    if target.payload is None and target.method in CHAT:
        yield "payload", 'is missing; write the message, like payload = "$VALUE"'


def _url(target: Target) -> Iterator[tuple[str, str]]:
    url = target.url.reveal()
    scheme, separator, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not separator:
        yield "url", "has no scheme; write it like https://example.com/hook"
    elif scheme.lower() not in {"http", "https"}:
        yield "url", f"has the scheme {scheme}; only http and https are sent"
    elif "$" in scheme + authority:
        yield "url", "has a variable in its host or port; variables may stand in path and query only"
    elif "@" in authority:
        yield "url", "holds credentials; put them in auth_user and auth_password"
    elif "#" in rest:
        yield "url", "has a fragment (#…), which is never sent; remove it"
    elif re.search(r"[\x00-\x20\x7f\\]", url):
        yield "url", "holds a blank, a backslash or a control character; percent-encode it"
    else:
        yield from _authority(url)


def _authority(url: str) -> Iterator[tuple[str, str]]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        if host:
            host.encode("idna")
    except (ValueError, UnicodeError):
        yield "url", "has a host or port that cannot be; write it like https://example.com:8443/hook"
        return
    if not host:
        yield "url", "has no host; write it like https://example.com/hook"


def _auth(target: Target) -> Iterator[tuple[str, str]]:
    if target.bearer_token and (target.auth_user is not None or target.auth_password):
        yield "bearer_token", "cannot go with auth_user and auth_password; keep one of them"
    if target.bearer_token and not target.bearer_token.reveal():
        yield "bearer_token", "is empty; set it where it comes from, or remove it"
    elif target.bearer_token and re.search(r"[^\x21-\x7e]", target.bearer_token.reveal()):
        yield "bearer_token", "holds a blank, a line break or a character that is not ASCII; check where it comes from"
    if ":" in (target.auth_user or ""):
        yield "auth_user", "holds a colon, which HTTP Basic cannot send"
    if target.signing_secret and not _is_base64(target.signing_secret.reveal().removeprefix("whsec_")):
        yield "signing_secret", "is not base64; write it as the receiver shows it, whsec_…"


def _is_base64(text: str) -> bool:
    try:
        return bool(codecs.decode(text.encode("ascii"), "base64")) and bool(re.fullmatch(r"[A-Za-z0-9+/]+=*", text))
    except ValueError:
        return False


def _headers(target: Target) -> Iterator[tuple[str, str]]:
    for name, value in target.headers.items():
        if not _TOKEN.fullmatch(name):
            yield f"headers.{name}", "is not a header name"
        elif name.lower() in _OWN_HEADERS:
            yield f"headers.{name}", "is set by vdevice itself; remove it"
        elif name.lower() == "authorization" and (target.bearer_token or target.auth_user is not None):
            yield f"headers.{name}", "cannot go with auth_user or bearer_token; keep one of them"
        elif re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value.reveal()):
            yield f"headers.{name}", "holds a line break or another control character; remove it"


def _content(target: Target) -> Iterator[tuple[str, str]]:
    content_type = target.content_type or ""
    if re.search(r"[^\x20-\x7e]", content_type):
        yield "content_type", "holds a character that a header cannot; write it like application/json"
        return
    payload = target.payload or ""
    charset = charset_of(content_type, payload)
    if not is_charset(charset):
        place = "content_type" if parameter(content_type, "charset") else "payload"
        yield place, f"names the unknown charset {charset!r}; use utf-8"
    for document in _documents(content_type, payload):
        try:
            json.loads(document, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            yield (
                "payload",
                f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; variables stand inside strings",
            )
        except (ValueError, RecursionError) as error:
            yield "payload", f"is not JSON: {error}"


def _documents(content_type: str, payload: str) -> list[str]:
    """Return the JSON documents of a payload: one, one a line, or one after each record separator (RFC 7464)."""
    match grammar_of(content_type):
        case "json":
            return [payload]
        case "json lines":
            return [line for line in payload.splitlines() if line.strip()]
        case "json sequence":
            return [record for record in payload.split("\x1e") if record.strip()]
    return []


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _tls(target: Target) -> Iterator[tuple[str, str]]:
    yield from certificates(target)
    if target.proxy and not _is_proxy(target.proxy.reveal()):
        yield "proxy", "is not an HTTP proxy; write it like http://10.0.0.1:3128"


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(re.fullmatch(r"http://[^/?#\s]+/?", url) and parts.hostname and parts.port != 0)
    except ValueError:
        return False
