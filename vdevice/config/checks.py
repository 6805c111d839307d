"""What a single setting cannot tell: which settings fit the method, and whether URL, headers and payload can work.

Pure: a target in, problems out. `tests/config/test_load.py` has a line for each.
"""

import codecs
import functools
import json
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

from vdevice.config.schema import IDLE_MS, Client, Config, Delivery, Outbox, Target
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
        "user-agent",
        "accept",
        "expect",
        "upgrade",
        "te",
        "trailer",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ]
)


@functools.lru_cache
def content_type_parameter(content_type: str, name: str) -> str | None:
    """Return a parameter of a media type, like the `charset` of `text/plain; charset=utf-8`."""
    message = Message()
    message["Content-Type"] = content_type
    value = message.get_param(name)
    return value if isinstance(value, str) else None


@functools.lru_cache
def is_json(content_type: str) -> bool:
    """Tell whether a media type is JSON: application/json, or the +json suffix of RFC 6839."""
    kind = _media_type(content_type)
    return kind == "application/json" or kind.endswith("+json")


@functools.lru_cache
def is_xml(content_type: str) -> bool:
    """Tell whether a media type is XML: RFC 7303, or its +xml suffix."""
    kind = _media_type(content_type)
    return kind in {"application/xml", "text/xml"} or kind.endswith("+xml")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def check_target(target: Target) -> list[Problem]:
    """Return all that is wrong with a target whose single settings are right."""
    path = f"targets.{target.number}"
    checks = (_strings, _method, _url, _auth, _headers, _content, _tls)
    return [Problem(f"{path}.{key}", message) for check in checks for key, message in check(target)]


def check_config(config: Config) -> list[Problem]:
    """Return what is wrong across the sections."""
    problems = []
    problems += [Problem(f"outbox.{key}", message) for key, message in _outbox(config.outbox)]
    if config.delivery.backoff_max < config.delivery.backoff:
        problems.append(Problem("delivery.backoff_max", "is below backoff; make it at least as long"))
    for target in config.targets.values():
        problems += [Problem(f"targets.{target.number}.url", words) for words in _egress(target, config.delivery)]
    for name, client in config.modbus.clients.items():
        problems += [Problem(f"modbus.clients.{name}.{key}", words) for key, words in _client(client, config)]
    return problems


def _client(client: Client, config: Config) -> Iterator[tuple[str, str]]:
    for key in ("targets", "points"):
        if client.read_only and getattr(client, key) is not None:
            yield key, "cannot go with read_only, which writes nothing; remove one of them"
    known = {point.name for point in config.points}
    for name in client.points or ():
        if name not in known:
            yield "points", f"names {name!r}, which is no point; {_known_points(known)}"


def _known_points(known: set[str]) -> str:
    return f"known are {', '.join(sorted(known))}" if known else "there are none"


def _egress(target: Target, delivery: Delivery) -> Iterator[str]:
    """Yield why a target's host is none that requests may go to; what a name resolves to is looked at when it is sent."""
    host = (urlsplit(target.url.reveal()).hostname or "").lower().rstrip(".")
    if delivery.allow_hosts and not any(_fits(host, pattern.lower()) for pattern in delivery.allow_hosts):
        yield f"leads to {host}, which is not in delivery.allow_hosts; add it there"
    if any(host in network for network in delivery.deny_networks):
        yield f"leads to {host}, which delivery.deny_networks denies; take its network out there if it must be"


def _fits(host: str, pattern: str) -> bool:
    """Tell whether a host is the one of a pattern, or a subdomain of `*.example.com`."""
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _outbox(outbox: Outbox) -> Iterator[tuple[str, str]]:
    url = outbox.url
    if outbox.is_nats:
        yield from _servers(outbox.servers)
        yield from _certificates(outbox)
        if outbox.credentials is not None:
            yield from _credentials(outbox.credentials)
        return
    if not url.startswith("sqlite:///") or not url.removeprefix("sqlite:///"):
        yield "url", f"{url!r} is no outbox; write sqlite:///vdevice.db, or nats://host:4222"
    for key in ("credentials", "tls_ca", "tls_cert", "tls_key"):
        if getattr(outbox, key):
            yield key, "is used by a nats:// outbox only; remove it"
    if outbox.replicas != 1:
        yield "replicas", "is used by a nats:// outbox only; remove it"


def _credentials(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text("ascii")
    except (OSError, ValueError):
        yield "credentials", _not_there(file)
        return
    # The client would read for ever in a file without them.
    if not re.search(r"-BEGIN NATS USER JWT-+\s+\S+\s+-+END [^$]*-BEGIN USER NKEY SEED-+\s+SU[A-Z2-7]+\s+-+END ", text):
        yield (
            "credentials",
            f"names {file.name!r}, which is no credentials file of NATS; `nsc generate creds` makes one",
        )


def _servers(servers: list[str]) -> Iterator[tuple[str, str]]:
    for server in servers:
        if "@" in server:
            yield "url", "holds credentials; put them into a file of NATS, and name it as outbox.credentials"
            return
        try:
            parts = urlsplit(server)
            whole = parts.hostname and parts.port != 0 and not parts.path and not parts.query
        except ValueError:
            whole = False
        if not whole:
            yield "url", f"{server!r} is no NATS server; write nats://host:4222, several with a comma between them"


def _strings(target: Target) -> Iterator[tuple[str, str]]:
    if target.completion == "content" and target.format == "fixed":
        yield (
            "completion",
            "content needs a format that says where the text ends, which fixed does not; use commit or idle",
        )
    if target.word_order != "big" and target.format != "length32":
        yield "word_order", "is used by format length32 only; remove it"
    if target.format == "s7-wstring" and target.encoding not in {"utf-8", "utf-16-be"}:
        yield "encoding", "is not used by format s7-wstring, which is always utf-16-be; remove it"
    if target.idle_ms != IDLE_MS and target.completion != "idle":
        yield "idle_ms", "is used by completion idle only; remove it"
    if target.completion == "idle" and target.idle_ms / 1000 >= target.staging_timeout:
        yield "staging_timeout", "is not longer than idle_ms; make it a minute or so"


def _method(target: Target) -> Iterator[tuple[str, str]]:
    for key, methods in METHODS_OF.items():
        if getattr(target, key) and target.method not in methods:
            yield key, f"is not used by method {target.method}; remove it or use {', '.join(sorted(methods))}"
    if target.payload is None and target.method in {"slack", "teams", "mattermost"}:
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
    if target.bearer_token and re.search(r"[^\x21-\x7e]", target.bearer_token.reveal()):
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
    charset = content_type_parameter(content_type, "charset")
    try:
        codecs.lookup(charset or "utf-8").encode("")
    except (LookupError, UnicodeError, TypeError):
        yield "content_type", f"names the unknown charset {charset!r}; use utf-8"
    if is_json(content_type):
        try:
            json.loads(target.payload or "", parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            yield (
                "payload",
                f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; variables stand inside strings",
            )
        except (ValueError, RecursionError) as error:
            yield "payload", f"is not JSON: {error}"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _tls(target: Target) -> Iterator[tuple[str, str]]:
    yield from _certificates(target)
    if target.proxy and not re.match(r"http://[^/\s]+/?$", target.proxy.reveal()):
        yield "proxy", "is not an HTTP proxy; write it like http://10.0.0.1:3128"


def _certificates(section: Target | Outbox) -> Iterator[tuple[str, str]]:
    for key in ("tls_ca", "tls_cert", "tls_key"):
        file = getattr(section, key)
        if file is not None and not file.is_file():
            yield key, _not_there(file)
    if section.tls_key and not section.tls_cert:
        yield "tls_key", "goes with tls_cert; add it"


def _not_there(file: Path) -> str:
    return f"names {file.name!r}, which is not there; a relative path starts at the config's folder"
