"""`vdevice demo`: a device, a receiver and nine targets on this machine.

Each target is written to over Modbus, and what arrived is held against what should have.
"""

import asyncio
import contextlib
import json
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from rich.table import Table
from rich.text import Text

from vdevice import receiver
from vdevice.app import App
from vdevice.config import load
from vdevice.modbus.client import connect
from vdevice.receiver import Received
from vdevice.registers import text
from vdevice.terminal import Screen, visible

CONFIG = """
[device]
id = "demo"
[modbus]
listen = "127.0.0.1:{port}"
[web]
listen = "127.0.0.1:0"
[targets.1]
description = "GET with parameters"
method = "get"
url = "{url}/get"
parameters = [["text", "$VALUE"], ["from", "$PARAMETER"]]
[targets.2]
description = "POST, urlencoded form"
method = "post-urlencoded"
url = "{url}/form"
parameters = [["text", "$VALUE"]]
[targets.3]
description = "POST, multipart with a file"
method = "post-multipart"
url = "{url}/upload"
parameters = [["text", "$VALUE"], ["picture", "file:snapshot.txt"]]
[targets.4]
description = "POST, JSON body"
method = "post-raw"
url = "{url}/json"
content_type = "application/json"
payload = '{{"text": "$VALUE", "at": "$ISOTIME"}}'
[targets.5]
description = "PUT, plain text"
method = "put"
url = "{url}/put"
payload = "$VALUE"
[targets.6]
description = "DELETE"
method = "delete"
url = "{url}/delete/$VALUE"
[targets.7]
description = "Slack"
method = "slack"
url = "{url}/services/slack"
payload = "*$DESCRIPTION*: $VALUE"
rate = 10
[targets.8]
description = "Teams"
method = "teams"
url = "{url}/workflows/teams"
payload = "$DESCRIPTION: $VALUE"
[targets.9]
description = "Mattermost"
method = "mattermost"
url = "{url}/hooks/mattermost"
payload = "$DESCRIPTION: $VALUE"
destination = "alarms"
[[points]]
name = "boiler temperature"
space = "holding"
address = 100
type = "float32"
[[rules]]
description = "Boiler too hot"
source = "boiler temperature"
trigger = "rising"
when = {{ above = 90, hysteresis = 5 }}
template = "$SOURCEVALUE °C"
destinations = ["target/7"]
"""

VALUE = "Ofen 3: 840 °C & steigt"
WAIT = 10.0


def _json(request: Received) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(request.body)
    return parsed


EXPECTED: dict[int, tuple[str, Callable[[Received], bool]]] = {
    1: ("GET", lambda r: dict(parse_qsl(urlsplit(r.path).query)) == {"text": VALUE, "from": "target/1"}),
    2: ("POST", lambda r: dict(parse_qsl(r.body.decode())) == {"text": VALUE}),
    3: ("POST", lambda r: VALUE.encode() in r.body and b'filename="snapshot.txt"' in r.body),
    4: ("POST", lambda r: _json(r)["text"] == VALUE),
    5: ("PUT", lambda r: r.body.decode() == VALUE),
    6: ("DELETE", lambda r: r.path == "/delete/Ofen%203%3A%20840%20%C2%B0C%20%26%20steigt"),
    7: ("POST", lambda r: _json(r) == {"text": "*Slack*: Ofen 3: 840 °C &amp; steigt"}),
    8: ("POST", lambda r: _json(r)["type"] == "message" and VALUE in r.body.decode()),
    9: ("POST", lambda r: _json(r) == {"text": f"Mattermost: {VALUE}", "channel": "alarms"}),
}
"""What each target's request must be: its method, and the rest of it."""

COLD, HOT = 20.0, 95.5
RULE = {"text": f"*Boiler too hot*: {HOT} °C"}
"""What the rule makes of a temperature that goes from COLD to HOT."""


async def demo(*, once: bool, port: int = 0) -> int:
    """Run the demo; returns 0 if all nine requests, and the rule's, arrived as they should. `once` ends it then."""
    console = Screen()
    arrived: list[Received] = []
    with tempfile.TemporaryDirectory(prefix="vdevice-demo-") as name:
        folder = Path(name)
        (folder / "files").mkdir()
        (folder / "files" / "snapshot.txt").write_text("a picture of oven 3\n", "utf-8")
        async with receiver.serve("127.0.0.1", 0, arrived.append) as url:
            path = folder / "vdevice.toml"
            path.write_text(CONFIG.format(url=url, port=port), "utf-8")
            app = App(load(path), path)
            async with app.running():
                console.print(f"device on {app.address} (Modbus/TCP), receiver on {url}")
                console.print(f"page on http://{app.page_address}/\n")
                right = await _write_all(app, arrived, console)
                console.print(f"\n{right} of {len(EXPECTED) + 1} arrived as they should.")
                if not once:
                    await _serve_on(app, arrived, console)
    return 0 if right == len(EXPECTED) + 1 else 1


async def _write_all(app: App, arrived: list[Received], console: Screen) -> int:
    host, _, port = app.address.rpartition(":")
    table = Table("target", "what a PLC wrote", "what arrived", "ms", "")
    right = 0
    async with connect(host, int(port)) as client:
        for number, (method, fits) in EXPECTED.items():
            before, started = len(arrived), time.monotonic()
            await client.write(number, text.encode(VALUE))
            status = await client.wait(number, WAIT)
            request = arrived[-1] if len(arrived) == before + 1 else None
            good = bool(status and not status["error"] and request and request.method == method and fits(request))
            right += good
            name = f"{number} {app.config.targets[number].description}"
            _add(table, name, f"FC16 to {number * 1000}", request, time.monotonic() - started, good=good)
        before, started = len(arrived), time.monotonic()
        for temperature in (COLD, HOT):
            await client.write_registers(100, struct.pack(">f", temperature))
        await client.wait(7, WAIT)
        request = arrived[-1] if len(arrived) == before + 1 else None
        good = bool(request and _json(request) == RULE)
        right += good
        _add(table, "a rule: float above 90", f"{HOT} to 100, 101", request, time.monotonic() - started, good=good)
    console.print(table)
    return right


def _add(table: Table, name: str, written: str, request: Received | None, seconds: float, *, good: bool) -> None:
    verdict = Text("as it should", "green") if good else Text("WRONG", "red")
    table.add_row(name, written, visible(_short(request)), f"{seconds * 1000:.0f}", verdict)


def _short(request: Received | None) -> str:
    if request is None:
        return "nothing"
    body = request.body.decode("utf-8", "replace").replace("\r\n", " ")
    line = f"{request.method} {request.path} {body}".strip()
    return line if len(line) <= 150 else line[:149] + "…"


async def _serve_on(app: App, arrived: list[Received], console: Screen) -> None:
    port = app.address.rpartition(":")[2]
    console.print(
        f"\nThe device goes on serving. In another terminal:  .venv/bin/vdevice send 4 hello --wait --host 127.0.0.1 "
        f"--port {port}\nCtrl-C ends it.\n",
    )
    stop = asyncio.Event()
    if sys.platform != "win32":
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    shown = len(arrived)
    while not stop.is_set():
        for request in arrived[shown:]:
            console.print(f"{time.strftime('%H:%M:%S')} {visible(_short(request))}")
        shown = len(arrived)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await stop.wait()
