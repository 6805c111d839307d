"""No string that a PLC can write changes the shape of a request: it is data in its place, whatever the place is.

Each request is read by parsers that are not ours, and compared with the one of a harmless string.
"""

import email.parser
import email.policy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import event_of, target_of
from vdevice.errors import BuildError
from vdevice.webhooks import http

attacks = st.sampled_from(
    [
        *(
            '"',
            "'",
            "\\",
            '"}',
            '", "admin": "1',
            "</text>",
            "<x a='b'>",
            "]]>",
            "<!ENTITY e SYSTEM 'file:///etc/passwd'>",
            "&e;",
        ),
        *(
            "\r\nX-Evil: 1",
            "\n",
            "\r",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "\0",
            "\x1f",
            "\x7f",
            "\x85",
            "\u2028",
            "\ufeff",
        ),
        *(
            "&a=b",
            ";",
            "=",
            "+",
            "%00",
            "%0d%0a",
            "#",
            "?",
            "/",
            "..",
            "/../",
            "//evil.example/",
            "@evil.example",
            ":80",
            "\\\\evil",
        ),
        *(
            "--vdevice-",
            "\r\n--",
            'name="x"',
            "$VALUE",
            "${EVENTID}",
            "$$",
            "file:secret",
            "file:../secret",
            "<!channel>",
            "@all",
        ),
        *("ä", "€", "😀", "\u0000", "http://evil.example/", "[x](http://evil.example/)", "{", "}", "null", "1e999"),
    ]
)
strings = st.lists(attacks | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5).map("".join)
HARMLESS = "harmless"

PLACES = {
    "url": 'method = "get"\nurl = "https://u.example:8443/a/$VALUE/b?q=$VALUE&r=1"',
    "query": 'method = "delete"\nurl = "https://u.example:8443/a"\nparameters = [["$VALUE", "$VALUE"], ["r", "x$VALUE"]]',
    "header": 'method = "put"\npayload = "p"\nheaders = { X-One = "a$VALUE", X-Two = "$VALUE" }',
    "form": 'method = "post-urlencoded"\nparameters = [["$VALUE", "$VALUE"], ["r", "x$VALUE"]]',
    "multipart": 'method = "post-multipart"\nparameters = [["k$VALUE", "$VALUE"], ["r", "x$VALUE"]]',
    "json": 'method = "put"\ncontent_type = "application/json"\npayload = \'{"k$VALUE": ["$VALUE", {"n": "$VALUE"}]}\'',
    "xml": 'method = "post-raw"\ncontent_type = "text/xml"\npayload = \'<a b="$VALUE"><text>$VALUE</text></a>\'',
    "text": 'method = "post-raw"\npayload = "$VALUE"',
    "slack": 'method = "slack"\npayload = "$VALUE"',
    "slack blocks": 'method = "slack"\npayload = \'{"blocks": [{"text": {"type": "mrkdwn", "text": "$VALUE"}}]}\'',
    "teams": 'method = "teams"\npayload = "$VALUE"',
    "mattermost": 'method = "mattermost"\npayload = "$VALUE"\ndestination = "@$VALUE"',
}
PARSED: dict[str, Callable[[str], Any]] = {"application/json": json.loads, "text/xml": ET.fromstring}


class Wire:
    """What an independent parser reads off the wire."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.ended = b"", b"", 0
        self.headers: list[tuple[bytes, bytes]] = []
        httptools.HttpRequestParser(self).feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


def shape(value: Any) -> Any:
    """Return what stays of a document without its texts: nesting, keys of ours, types."""
    match value:
        case dict():
            return {"k" if key.startswith("k") else key: shape(item) for key, item in value.items()}
        case list():
            return [shape(item) for item in value]
        case ET.Element():
            return value.tag, sorted(value.attrib), [shape(item) for item in value]
    return type(value).__name__


def parts_of(wire: Wire) -> list[list[str]]:
    """Return the names of the headers of each part of a multipart body."""
    kind = dict(wire.headers)[b"Content-Type"]
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + kind + b"\r\n\r\n" + wire.body
    )
    assert message.is_multipart()
    return [part.keys() for part in message.iter_parts()]


def read(place: str, value: str) -> dict[str, Any] | None:
    """Return the shape of the request of a string, or None where it is refused."""
    config, target = target_of(PLACES[place], Path())
    try:
        request = http.build(config, target, event_of(value), 1_750_000_000)
    except BuildError:
        return None
    wire = Wire(request.head().encode() + request.body)
    url = urlsplit(request.url)
    content_type = dict(wire.headers).get(b"Content-Type", b"").decode().partition(";")[0]
    body: Any = None
    if content_type in PARSED:
        body = shape(PARSED[content_type](wire.body.decode()))
    elif content_type == "application/x-www-form-urlencoded":
        body = len(parse_qsl(wire.body.decode(), keep_blank_values=True, strict_parsing=True))
    elif content_type == "multipart/form-data":
        body = parts_of(wire)
    return {
        "messages": wire.ended,
        "whole": wire.body == request.body,
        "url": (url.scheme, url.netloc, url.fragment),
        "host": dict(wire.headers)[b"Host"],
        "path": url.path.count("/"),
        "query": len(parse_qsl(url.query, keep_blank_values=True)),
        "headers": [name for name, _ in wire.headers],
        "body": body,
    }


@pytest.mark.parametrize("place", PLACES)
@given(strings)
@example("\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
@example('", "admin": "1')
@example("</text><text>")
def test_a_string_is_data_wherever_it_stands(place: str, value: str) -> None:
    harmless = read(place, HARMLESS)
    assert harmless is not None
    assert harmless["messages"] == 1
    found = read(place, value)
    if found is None:
        # Headers refuse control characters, the URL refuses to climb.
        assert place in {"header", "url"}
        return
    assert found == harmless


@given(strings)
def test_no_string_names_a_file_outside_of_the_folder(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "injection"
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "secret").write_text("secret content")
    (folder / "files" / "public").write_text("public content")
    settings = 'method = "post-multipart"\nparameters = [["f", "file:$VALUE"], ["g", "$VALUE"]]'
    config, target = target_of(settings, folder)
    try:
        request = http.build(config, target, event_of(value), 1_750_000_000)
    except BuildError:
        return
    assert b"secret content" not in request.body
    assert b"public content" in request.body
