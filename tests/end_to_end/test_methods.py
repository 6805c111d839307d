"""Each method against a server that keeps bytes: what goes out is what `vdevice render` says, byte for byte."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Recorder, device, fc16, peer
from vdevice import __version__
from vdevice.model import Stored
from vdevice.webhooks import http

pytestmark = pytest.mark.usefixtures("outbox")

VALUE = 'Öfen & "3" <x>'

METHODS = {
    "get": ('parameters = [["t", "$VALUE"]]', "GET /p?t=%C3%96fen%20%26%20%223%22%20%3Cx%3E", None, b""),
    "delete": ('parameters = [["t", "$VALUE"]]', "DELETE /p?t=%C3%96fen%20%26%20%223%22%20%3Cx%3E", None, b""),
    "post-urlencoded": (
        'parameters = [["t", "$VALUE"], ["t", "2"], ["f", "file:a.txt"]]',
        "POST /p",
        "application/x-www-form-urlencoded",
        b"t=%C3%96fen+%26+%223%22+%3Cx%3E&t=2&f=file+content%0A",
    ),
    "post-multipart": (
        'parameters = [["t", "$VALUE"], ["f", "file:a.txt"]]',
        "POST /p",
        "multipart/form-data; boundary=vdevice-EVENT",
        (
            '--vdevice-EVENT\r\nContent-Disposition: form-data; name="t"\r\n\r\n'
            + VALUE
            + '\r\n--vdevice-EVENT\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n'
            "Content-Type: text/plain\r\n\r\nfile content\n\r\n--vdevice-EVENT--\r\n"
        ).encode(),
    ),
    "post-raw": ('payload = "v=$VALUE"', "POST /p", "text/plain; charset=utf-8", f"v={VALUE}".encode()),
    "put": (
        'content_type = "application/json"\npayload = \'{"v": "$VALUE"}\'',
        "PUT /p",
        "application/json",
        '{"v": "Öfen & \\"3\\" <x>"}'.encode(),
    ),
    "slack": (
        'payload = "$VALUE"\nrate = 100',
        "POST /p",
        "application/json",
        '{"text":"Öfen &amp; \\"3\\" &lt;x&gt;"}'.encode(),
    ),
    "teams": (
        'payload = "$VALUE"',
        "POST /p",
        "application/json",
        (
            '{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,'
            '"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard",'
            '"version":"1.4","body":[{"type":"TextBlock","text":"Öfen & \\"3\\" <x>","wrap":true}],'
            '"msteams":{"width":"Full"}}}]}'
        ).encode(),
    ),
    "mattermost": (
        'payload = "$VALUE"\ndestination = "@anna"',
        "POST /p",
        "application/json",
        '{"text":"Öfen & \\"3\\" <x>","channel":"@anna"}'.encode(),
    ),
}


@pytest.mark.parametrize("method", METHODS)
async def test_method(method: str, recorder: Recorder, tmp_path: Path) -> None:
    settings, line, content_type, body = METHODS[method]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("file content\n")
    toml = (
        f'[targets.7]\nmethod = "{method}"\nurl = "{recorder.url}/p"\n{settings}\nheaders = {{ X-From = "$PARAMETER" }}'
    )
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        sent: list[Stored] = []
        app.outbox.on_stored = _spy(app.outbox.on_stored, sent)
        assert (await plc.ask(fc16(7000, VALUE)))[0] == 16
        (raw,) = await recorder.wait(1)
        event = sent[0].event
        rendered = http.build(app.config, app.config.targets[7], event, 0)
    assert raw == rendered.head().encode() + rendered.body
    head, _, got = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    wanted = [
        f"{line} HTTP/1.1",
        f"Host: {recorder.hostport}",
        f"User-Agent: vdevice/{__version__}",
        "Accept: */*",
        f"Idempotency-Key: {event.id}",
        *([f"Content-Type: {content_type.replace('EVENT', event.id)}"] if content_type else []),
        "X-From: target/7",
        *([] if method == "get" else [f"Content-Length: {len(got)}"]),
    ]
    assert lines == wanted
    assert got == body.replace(b"EVENT", event.id.encode())
    assert re.fullmatch(r"[0-9a-f]{32}", event.id)


def _spy(inner: Callable[[list[Stored]], None], seen: list[Stored]) -> Callable[[list[Stored]], None]:
    def offer(stored: list[Stored]) -> None:
        seen.extend(stored)
        inner(stored)

    return offer
