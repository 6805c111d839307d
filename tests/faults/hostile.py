"""Receivers that behave badly, all at once, beside a good one: nobody else is slowed, nothing lost, memory stays bounded."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from pathlib import Path

import psutil
import trustme

from tests.faults.plant import PATIENCE, Plant, Row
from tests.faults.receiver import Receiver
from tests.support import Peer, fc16, peer, until

STRINGS = 5
GROWTH = 48 * 2**20
"""Bytes that the device may grow by while a dozen receivers misbehave; each would send gigabytes if it were let."""

HOSTILE = {
    "hangs": (5, 0),
    "trickles": (5, 0),
    "endless": (0, 200),
    "breaks off": (0, 200),
    "resets": (3, 0),
    "nonsense": (3, 0),
    "429 with seconds": (6, 429),
    "429 with a date": (6, 429),
    "redirects in circles": (6, 302),
    "wrong name": (4, 0),
}
"""What the error register and the register of the HTTP status say of each."""

SETTINGS = (
    'payload = "$VALUE"\ntimeout = 1\nbackoff = 0.05\nbackoff_max = 0.5\nattempts = 1000\nfollow_redirects = true\n'
)


async def _serve(stack: contextlib.AsyncExitStack, tls: dict[str, ssl.SSLContext]) -> dict[str, Receiver]:
    receivers = {mode: Receiver() for mode in HOSTILE}
    for mode, receiver in receivers.items():
        await stack.enter_async_context(receiver.serve(tls.get(mode)))
        receiver.mode = mode if mode != "wrong name" else "well"
    return receivers


def table(number: int, mode: str, port: int) -> str:
    scheme, more = ("https", 'tls_ca = "ca.pem"\n') if mode == "wrong name" else ("http", "")
    url = f"{scheme}://localhost:{port}/" if more else f"{scheme}://127.0.0.1:{port}/"
    return f'[targets.{number}]\nmethod = "post-raw"\nurl = "{url}"\n{SETTINGS}{more}'


async def _outcome(plc: Peer, number: int) -> tuple[int, int]:
    status = await plc.inputs(1000 * number, 11)
    return status[10], status[1]


async def misbehave(folder: Path, tries: int) -> Row:
    """Let ten receivers misbehave for as long as `tries` times a hundred strings take."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    wrong, right = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("elsewhere.example").configure_cert(wrong)
    ca.issue_cert("localhost").configure_cert(right)
    async with contextlib.AsyncExitStack() as hostile, Receiver().serve() as good:
        receivers = await _serve(hostile, {"wrong name": wrong})
        numbers = dict(zip(HOSTILE, range(11, 11 + len(HOSTILE)), strict=True))
        plant = Plant(folder, good)
        tables = [table(numbers[mode], mode, receiver.port) for mode, receiver in receivers.items()]
        plant.config.write_text(plant.config.read_text() + "\n" + "\n".join(tables))
        async with plant.running(), peer(plant.address) as plc:
            before = psutil.Process(plant.process.pid).memory_info().rss
            for number in numbers.values():
                for string in range(STRINGS):
                    assert (await plc.ask(fc16(1000 * number, f"{number}:{string}")))[0] == 16
            # Each has been asked, and the registers say what it did.
            for mode, expected in HOSTILE.items():
                async with asyncio.timeout(20):
                    while await _outcome(plc, numbers[mode]) != expected:
                        await asyncio.sleep(0.05)
            arrived = len(good.arrived)
            # The good one goes on meanwhile.
            await plant.under_load(100 * tries)
            await until(lambda: len(good.arrived) >= arrived + 100 * tries, 60)
            grown = psutil.Process(plant.process.pid).memory_info().rss - before
            assert grown < GROWTH, f"{grown >> 20} MiB more"
            assert not receivers["hangs"].arrived
            await hostile.aclose()
            async with contextlib.AsyncExitStack() as mended:
                for mode, receiver in receivers.items():
                    receiver.mode = "well"
                    await mended.enter_async_context(receiver.serve(right if mode == "wrong name" else None))
                await _emptied(plc, numbers.values())
                await plant.recovered()
        lost = _lost(plant, receivers, numbers)
    return plant.judged("ten hostile receivers beside a good one", len(HOSTILE), lost)


def _lost(plant: Plant, receivers: dict[str, Receiver], numbers: dict[str, int]) -> int:
    lost = 0
    log = plant.log()
    for mode, receiver in receivers.items():
        number = numbers[mode]
        wanted = [f"{number}:{string}" for string in range(STRINGS)]
        if mode == "redirects in circles":
            # Followed so often, then given up: dead letters, with their reason.
            lost += STRINGS - log.count(f'"target":{number},"status":302')
        else:
            lost += list(dict.fromkeys(receiver.arrived)) != wanted
    return lost


DRAWN = {
    21: 'method = "post-raw"\npayload = "$VALUE"',
    22: 'method = "put"\npayload = "$VALUE"\nfollow_redirects = true',
    23: 'method = "slack"\npayload = "$VALUE"\nrate = 1000',
    24: 'method = "teams"\npayload = "$VALUE"',
    25: 'method = "mattermost"\npayload = "$VALUE"\nparallel = 4',
}
"""Targets whose receiver draws its responses."""


async def draw_responses(folder: Path, tries: int) -> Row:
    """Let five targets get drawn responses, 20 messages each a try: each message ends, and the others lose nothing."""
    written = 20 * tries
    async with Receiver().serve() as drawing, Receiver().serve() as good:
        drawing.mode = "draws"
        plant = Plant(folder, good)
        common = (
            f'url = "http://127.0.0.1:{drawing.port}/"\ntimeout = 0.5\nbackoff = 0.01\nbackoff_max = 0.05\nattempts = 3'
        )
        tables = [f"[targets.{number}]\n{settings}\n{common}\n" for number, settings in DRAWN.items()]
        plant.config.write_text(plant.config.read_text() + "\n".join(["", *tables]))
        async with plant.running(), peer(plant.address) as plc:
            before = psutil.Process(plant.process.pid).memory_info().rss
            for message in range(written):
                for number in DRAWN:
                    assert (await plc.ask(fc16(1000 * number, f"{number}:{message}")))[0] == 16
                assert await plc.ask(b"\x02\0\0\0\x01") == b"\x02\x01\x01", "not healthy any more"
            await plant.under_load(50 * tries)
            await plant.recovered()
            await _emptied(plc, DRAWN)
            ended = [await _ended(plc, number) for number in DRAWN]
            grown = psutil.Process(plant.process.pid).memory_info().rss - before
            assert grown < GROWTH, f"{grown >> 20} MiB more"
    log = plant.log()
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
    return plant.judged(
        "responses of every byte and Unicode category", drawing.asked, written * len(DRAWN) - sum(ended)
    )


async def _emptied(plc: Peer, numbers: Iterable[int]) -> None:
    """Wait until nothing waits for these targets; for others there may, as their PLCs write on."""
    async with asyncio.timeout(PATIENCE):
        for number in numbers:
            while (await plc.inputs(1000 * number + 8, 1))[0]:
                await asyncio.sleep(0.05)


async def _ended(plc: Peer, number: int) -> int:
    """Return how many messages of a target were delivered or given up."""
    status = await plc.inputs(1000 * number, 8)
    return (status[4] << 16 | status[5]) + (status[6] << 16 | status[7])
