"""`vdevice outbox show` and the page say which settings read a garbled text."""

import os
from pathlib import Path

import aiohttp

from tests.end_to_end.test_command_line import vdevice
from tests.support import Recorder, device, fc16, peer, until
from vdevice.registers.text import Coding, encode

WORDS = "Kessel 3: Temperatur zu hoch"


async def test_a_garbled_text_is_shown_with_the_settings_that_read_it(recorder: Recorder, tmp_path: Path) -> None:
    toml = (
        '[web]\nlisten = "127.0.0.1:0"\n'
        f'[targets.7]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"\n'
    )
    path = tmp_path / "vdevice.toml"
    async with (
        device(toml, tmp_path) as app,
        peer(app.address) as plc,
        aiohttp.ClientSession(f"http://{app.page_address}") as session,
    ):

        async def shown() -> set[tuple[str, str, str]]:
            """Return what page and command line say of each text."""
            async with session.get("/api/v1/strings") as response:
                rows = await response.json()
            found = set()
            for row in rows:
                async with session.get(f"/api/v1/strings/{row['id']}") as response:
                    page = (await response.json())["reads_better_with"]
                output = await vdevice("outbox", "show", row["id"], folder=tmp_path)
                (line,) = [one for one in output.splitlines() if one.startswith("reads_better_with")]
                found.add((row["value"], page, line.removeprefix("reads_better_with").strip()))
            return found

        await plc.ask(fc16(7000, encode(WORDS, Coding("little"))))
        await plc.ask(fc16(7000, WORDS))
        await until(lambda: app.board.targets[7].delivered == 2)
        settings, garbled = 'byte_order = "little"', encode(WORDS, Coding("little")).decode()
        assert await shown() == {(garbled, settings, settings), (WORDS, "", "")}
        # Settings that were changed since then may be the right ones by now.
        os.utime(path)
        assert {pair[1:] for pair in await shown()} == {("", "")}
