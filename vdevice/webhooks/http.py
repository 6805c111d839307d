"""Builds the request of each method from a target, an event and the config of this moment.

Reads the files that parameters name; opens no connection. Whatever cannot be sent as it is raises BuildError.
"""

import base64
import functools
import mimetypes
import re
from collections.abc import Callable
from urllib.parse import quote, quote_from_bytes, quote_plus

from vdevice import __version__
from vdevice.config import Config, Target
from vdevice.errors import BuildError
from vdevice.model import Event
from vdevice.variables import percent_encode, substitute, values_of
from vdevice.webhooks import files, mattermost, raw_body, signing, slack, teams
from vdevice.webhooks.request import Request

HTTP_METHODS = {"get": "GET", "delete": "DELETE", "put": "PUT"}
"""All others are POST."""

FILE = "file:"
_DEFAULT_HEADERS = (("User-Agent", f"vdevice/{__version__}"), ("Accept", "*/*"))
"""Headers that `headers` may replace."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LEGAL_IN_URL = "!#$%&'()*+,/:;=?@[]~"
_DEFAULT_CONTENT_TYPE = "text/plain; charset=utf-8"
_JSON = "application/json"

Body = tuple[str, bytes]
"""Content type and bytes."""


def build(config: Config, target: Target, event: Event, now: float) -> Request:
    """Return the request that delivers `event` to `target`; `now` (UTC seconds) goes into its signature.

    Raises BuildError, or FileRefusedError for a file.
    """
    values = values_of(config, event, target.name, target.description)
    url, authority = _url(target, values)
    if target.method in {"get", "delete"}:
        url = _with_query(url, _parameters(target, values))
    content_type, body = (
        _BODIES[target.method](config, target, values, url, event) if target.method in _BODIES else ("", b"")
    )
    headers = [
        ("Host", authority),
        *((name, value) for name, value in _DEFAULT_HEADERS if name.lower() not in _named(target)),
        ("Idempotency-Key", event.id),
    ]
    if content_type:
        headers.append(("Content-Type", content_type))
    headers += _authorization(target)
    headers += [
        (name, _header(name, secret.reveal(), secret.literal, values)) for name, secret in target.headers.items()
    ]
    if target.signing_secret:
        headers += signing.sign(target.signing_secret.reveal(), event.id, now, body)
    if target.method != "get":
        headers.append(("Content-Length", str(len(body))))
    return Request(HTTP_METHODS.get(target.method, "POST"), url, headers, body)


def _url(target: Target, values: dict[str, str]) -> tuple[str, str]:
    """Return the URL with its variables percent-encoded, and its host and port, which are as configured."""
    scheme, authority, path, query = _url_parts(target.url.reveal())
    filled = substitute(path, values, percent_encode)
    # A value of ".." would climb out of the configured path.
    if filled != path and any(segment in {".", ".."} for segment in filled.split("/")):
        raise BuildError("a value makes the path segment . or .. in the URL")
    return f"{scheme}://{authority}{filled}{substitute(query, values, percent_encode)}", authority


@functools.lru_cache(maxsize=128)
def _url_parts(template: str) -> tuple[str, str, str, str]:
    """Return scheme, authority, path and query (with its ?) of a URL, all as they go on the wire but for variables."""
    scheme, _, rest = template.partition("://")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    path, mark, query = rest[len(authority) :].partition("?")
    if not authority.isascii():
        authority = authority.encode("idna").decode()
    path = quote(path, safe=_LEGAL_IN_URL) or "/"
    return scheme.lower(), authority, path, mark + quote(query, safe=_LEGAL_IN_URL)


def _with_query(url: str, parameters: list[tuple[str, str]]) -> str:
    if not parameters:
        return url
    added = "&".join(f"{percent_encode(key)}={percent_encode(value)}" for key, value in parameters)
    separator = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
    return url + separator + added


def _parameters(target: Target, values: dict[str, str]) -> list[tuple[str, str]]:
    return [(substitute(key, values), substitute(value, values)) for key, value in target.parameters]


def _authorization(target: Target) -> list[tuple[str, str]]:
    if target.bearer_token:
        return [("Authorization", f"Bearer {target.bearer_token.reveal()}")]
    if target.auth_user is not None or target.auth_password:
        password = target.auth_password.reveal() if target.auth_password else ""
        credentials = base64.b64encode(f"{target.auth_user or ''}:{password}".encode()).decode()
        return [("Authorization", f"Basic {credentials}")]
    return []


def _named(target: Target) -> set[str]:
    return {name.lower() for name in target.headers}


def _header(name: str, template: str, literal: bool, values: dict[str, str]) -> str:  # noqa: FBT001
    value = template if literal else substitute(template, values)
    if _CONTROL.search(value):
        raise BuildError(f"header {name} would hold a line break or another control character")
    return value


def _urlencoded(config: Config, target: Target, values: dict[str, str], _url: str, _event: Event) -> Body:
    pairs = []
    for key, template in target.parameters:
        name = quote_plus(substitute(key, values))
        if template.startswith(FILE):
            content = quote_from_bytes(_file(config, template, values)[1], safe=" ").replace(" ", "+")
        else:
            content = quote_plus(substitute(template, values))
        pairs.append(f"{name}={content}")
    return "application/x-www-form-urlencoded", "&".join(pairs).encode()


def _multipart(config: Config, target: Target, values: dict[str, str], _url: str, event: Event) -> Body:
    """Render multipart/form-data (RFC 7578); the boundary holds the event's random id, which no value can know."""
    boundary = f"vdevice-{event.id}"
    parts = []
    for key, template in target.parameters:
        head = f'Content-Disposition: form-data; name="{_quoted(substitute(key, values))}"'
        if template.startswith(FILE):
            name, content = _file(config, template, values)
            file_name = _quoted(name.rpartition("/")[2])
            kind = mimetypes.guess_type(file_name)[0] or "application/octet-stream"
            head += f'; filename="{file_name}"\r\nContent-Type: {kind}'
        else:
            content = substitute(template, values).encode()
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def _quoted(name: str) -> str:
    """Escape a name for a quoted string of Content-Disposition, as browsers do (WHATWG HTML, multipart/form-data)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _file(config: Config, template: str, values: dict[str, str]) -> tuple[str, bytes]:
    name = substitute(template.removeprefix(FILE), values)
    return name, files.read(config.files_root, name, config.files.max_bytes)


def _raw(_config: Config, target: Target, values: dict[str, str], _url: str, _event: Event) -> Body:
    content_type = target.content_type or _DEFAULT_CONTENT_TYPE
    return content_type, raw_body.render(target.payload or "", content_type, values, raw=target.raw_variables)


def _slack(_config: Config, target: Target, values: dict[str, str], _url: str, _event: Event) -> Body:
    return _JSON, slack.body(target.payload or "", values, raw=target.raw_variables)


def _teams(_config: Config, target: Target, values: dict[str, str], url: str, _event: Event) -> Body:
    return _JSON, teams.body(target.payload or "", values, url, raw=target.raw_variables)


def _mattermost(_config: Config, target: Target, values: dict[str, str], _url: str, _event: Event) -> Body:
    channel = substitute(target.destination, values) if target.destination else None
    return _JSON, mattermost.body(target.payload or "", values, channel, raw=target.raw_variables)


_BODIES: dict[str, Callable[[Config, Target, dict[str, str], str, Event], Body]] = {
    "post-urlencoded": _urlencoded,
    "post-multipart": _multipart,
    "post-raw": _raw,
    "put": _raw,
    "slack": _slack,
    "teams": _teams,
    "mattermost": _mattermost,
}
