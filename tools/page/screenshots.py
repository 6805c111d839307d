"""Pictures of each view of the page, light and dark, as docs/screenshots/*.png.

    make screenshots

A device of a small plant, a receiver, and a PLC that writes; one receiver is not there, one does not know its hook.
"""

import asyncio
import contextlib
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright

from tools.bench.bench import free_port
from vdevice import receiver
from vdevice.app import App
from vdevice.config.load import parse
from vdevice.modbus.client import DeviceClient, connect

TO = Path(__file__).parents[2] / "docs" / "screenshots"
NAMES = (
    "Boiler alarm", "Shift log", "Press 4 stop", "Gate open", "Compressor", "Energy hourly", "Scrap count", "Silo level",
    "Cold store", "Line 1 report", "Line 2 report", "Night guard",
)  # fmt: skip
GONE, UNKNOWN, PAUSED, OFF = 3, 7, 10, 11
VIEWS = ("targets", "activity", "rules", "registers", "device")
RULES = """
[[points]]
name = "boiler temperature"
space = "holding"
address = 100
type = "float32"
unit = "°C"
[[points]]
name = "gate"
space = "coil"
address = 4
type = "bool"
[[rules]]
folder = "heat"
[[rules.rules]]
description = "Boiler too hot"
source = "boiler temperature"
trigger = "rising"
when = { above = 90, hysteresis = 5 }
template = "$DESCRIPTION: $SOURCEVALUE °C"
destinations = ["target/1"]
[[rules]]
description = "Gate opened"
source = "gate"
trigger = "rising"
template = "gate open"
destinations = ["target/4"]
"""


def config(url: str, gone: int) -> str:
    """Return the config of the plant."""
    toml = '[device]\nid = "press-hall-3"\n[modbus]\nlisten = "127.0.0.1:0"\n[web]\nlisten = "127.0.0.1:0"\n'
    for number, name in enumerate(NAMES, 1):
        place = f"http://127.0.0.1:{gone}/" if number == GONE else f"{url}/{name.lower().replace(' ', '-')}"
        toml += (
            f'[targets.{number}]\ndescription = "{name}"\nmethod = "post-raw"\nurl = "{place}"\n'
            'content_type = "application/json"\n'
            f'payload = \'{{"text": "$VALUE"}}\'\nenabled = {str(number != OFF).lower()}\n'
        )
        toml += 'success = ["3xx"]\n' if number == UNKNOWN else ""
    return toml + RULES


async def write(plc: DeviceClient) -> None:
    """Write as the plant would."""
    for round_ in range(4):
        for number, name in enumerate(NAMES, 1):
            if number not in {OFF, 12}:
                await plc.write(number, f"{name}: {20 + 3 * round_ + number} at press {number}".encode())
        await asyncio.sleep(5)
    await plc.write_registers(100, b"\x42\xb9\x00\x00")
    await asyncio.sleep(1.5)


async def take(page: Page, address: str, kind: str) -> None:
    """Take a picture of each view."""
    for view in VIEWS:
        await page.goto(f"http://{address}/#{view}")
        await page.wait_for_timeout(900)
        await page.screenshot(path=TO / f"{view}-{kind}.png")
    await page.goto(f"http://{address}/#targets")
    await page.dblclick('[data-number="1"]')
    await page.wait_for_timeout(600)
    await page.screenshot(path=TO / f"editor-{kind}.png")
    await page.keyboard.press("Escape")
    await page.click('[data-number="3"]', button="right")
    await page.wait_for_timeout(300)
    await page.screenshot(path=TO / f"menu-{kind}.png")


async def main() -> None:
    """Run the plant and take all pictures."""
    TO.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vdevice-page-") as name:
        folder = Path(name)
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(receiver.serve("127.0.0.1", 0, lambda _request: None))
            path = folder / "vdevice.toml"
            path.write_text(config(url, free_port()))
            app = App(parse(path.read_text(), folder), path)
            await stack.enter_async_context(app.running())
            host, _, port = app.address.rpartition(":")
            plc = await stack.enter_async_context(connect(host, int(port)))
            await write(plc)
            playwright = await stack.enter_async_context(async_playwright())
            browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            for kind in ("light", "dark"):
                size = {"width": 1366, "height": 768}
                page = await browser.new_page(viewport=size, color_scheme=kind, locale="en-GB")  # type: ignore[arg-type]
                await take(page, app.page_address, kind)
                print(f"{kind}: {len(list(TO.glob(f'*-{kind}.png')))} pictures")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
