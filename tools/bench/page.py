"""The page: how soon it is seen, how much is fetched for it, and whether thousands of strings a second freeze it.

    .venv/bin/python -m tools.bench.page

First paint is on loopback; a freeze is the longest time between two frames of an animation in the page.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import threading
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright
from rich.console import Console
from rich.table import Table

from tools.bench.bench import Bench, Case, free_port, process, ready, wait_for

RATE = 2000
FRAMES = """new Promise(done => {
    const times = [];
    const step = now => { times.push(now); now - times[0] < %d ? requestAnimationFrame(step) : done(times); };
    requestAnimationFrame(step);
})"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
FETCHED = """[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]
    .filter(one => !one.name.endsWith('/live')).reduce((sum, one) => sum + one.transferSize, 0)"""


async def paints(browser: Browser, url: str, rounds: int) -> tuple[float, float]:
    """Return the median of first paints in ms, each with an empty cache, and the KB fetched."""
    times, fetched = [], 0.0
    for _ in range(rounds):
        context = await browser.new_context(viewport={"width": 1366, "height": 768})
        page = await context.new_page()
        await page.goto(url)
        await page.wait_for_selector(".cell")
        times.append(await page.evaluate(PAINT))
        fetched = await page.evaluate(FETCHED) / 1000
        await context.close()
    return statistics.median(times), fetched


async def frames(page: Page, url: str, view: str, seconds: float) -> tuple[float, float]:
    """Return frames a second, and the longest time between two in ms."""
    await page.goto(f"{url}#{view}")
    await page.wait_for_timeout(1000)
    times = await page.evaluate(FRAMES % (seconds * 1000))
    gaps = [later - one for one, later in itertools.pairwise(times)]
    return 1000 * len(gaps) / (times[-1] - times[0]), max(gaps)


async def measure(url: str, seconds: float, load: threading.Thread) -> Table:
    """Measure idle, then under load."""
    table = Table("", "frames/s", "longest between two, ms")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        paint, fetched = await paints(browser, url, 5)
        page = await browser.new_page(viewport={"width": 1366, "height": 768})
        for name in ("idle", f"{RATE}/s"):
            if name != "idle":
                load.start()
            for view in ("targets", "activity"):
                rate, longest = await frames(page, url, view, seconds)
                table.add_row(f"{view}, {name}", f"{rate:.0f}", f"{longest:.0f}")
        await browser.close()
    table.caption = f"first paint {paint:.0f} ms (median of 5), {fetched:.0f} KB fetched"
    return table


def main() -> None:
    """Run a device, a receiver, a load, and look at the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="vdevice-page-") as name:
        folder, port = Path(name), free_port()
        bench = Bench(folder, seconds)
        bench.configure(folder, Case("page"))
        config = folder / "vdevice.toml"
        config.write_text(f'{config.read_text()}[web]\nlisten = "127.0.0.1:{port}"\n')
        modbus = int((folder / "port").read_text())
        with process(bench.peers, "receive", str(bench.port)), process(*bench.vdevice(folder)):
            wait_for(modbus)
            ready(modbus)
            case = Case("page", 64, RATE)
            load = threading.Thread(target=bench.load, args=(modbus, case, 2 * seconds + 6))
            table = asyncio.run(measure(f"http://127.0.0.1:{port}/", seconds, load))
            load.join()
    Console().print(table)


if __name__ == "__main__":
    main()
