"""Random requests on many connections, most of them nearly right: each answer is the one of an independent model.

`make fuzz` runs a million frames instead of the fifty thousand of the suite.
"""

import asyncio
import os
import random
import struct
from collections import Counter
from pathlib import Path

from tests import seeds
from tests.fuzz import model
from tests.support import Recorder, device, fc16, peer, until

FRAMES = int(os.environ.get("FUZZ_FRAMES", "50000"))
CONNECTIONS = 8
AT_ONCE = 16
EDGES = (0, 1, 49, 50, 64, 65, 101, 164, 201, 264, 265, 301, 364, 398, 399, 400, 898, 899, 900, 901, 949, 950, 999)
COUNTS = (0, 1, 2, 3, 50, 64, 121, 122, 123, 124, 125, 126, 900, 1968, 1969, 2000, 2001, 65535)


def address(lots: random.Random) -> int:
    block = lots.choice((0, 7000, 7000, 8000, 9000, 64_000, 65_000, 1000 * lots.randrange(66)))
    return min(block + lots.choice((*EDGES, 0, 0, lots.randrange(1000))), 65535)


def count(lots: random.Random, most: int) -> int:
    return lots.choice((lots.randint(1, 8), lots.randint(1, most), lots.choice(COUNTS)))


def data(lots: random.Random, size: int) -> bytes:
    text = "".join(lots.choice("aä€😀 \0\n$") for _ in range(size)).encode()[:size].ljust(size, b"\0")
    return lots.choice((text, text, lots.randbytes(size)))


def request(lots: random.Random) -> bytes:
    function = lots.choice((1, 2, 3, 4, 5, 6, 15, 16, 16, 16, 17, 22, 23, 43, lots.randrange(256)))
    if function == 15:
        number = count(lots, 1968)
        size = min(-(-number // 8), 255)
        pdu = struct.pack(">BHHB", 15, address(lots), number, size) + data(lots, size)
    elif function == 16:
        number = count(lots, 123)
        size = min(2 * number, 254)
        pdu = struct.pack(">BHHB", 16, address(lots), number, size) + data(lots, size)
    elif function == 23:
        number = count(lots, 121)
        size = min(2 * number, 254)
        pdu = struct.pack(">BHHHHB", 23, address(lots), count(lots, 125), address(lots), number, size) + data(
            lots, size
        )
    elif function == 43:
        pdu = bytes((43, lots.choice((14, 14, 14, 13)), lots.randrange(6), lots.randrange(9)))
    else:
        pdu = single(lots, function)
    return spoilt(lots, pdu)


def single(lots: random.Random, function: int) -> bytes:
    if function == 17:
        return b"\x11"
    if function == 22:
        return struct.pack(">BHHH", 22, address(lots), lots.randrange(65536), lots.randrange(65536))
    if function == 5:
        return struct.pack(">BHH", 5, address(lots), lots.choice((0, 0xFF00, 0xFF00, 1, 0xFF)))
    return struct.pack(">BHH", function, address(lots), count(lots, 125))


def spoilt(lots: random.Random, pdu: bytes) -> bytes:
    spoil = lots.random()
    if spoil < 0.04:
        pdu = pdu[: lots.randint(1, len(pdu))]
    elif spoil < 0.08:
        pdu += lots.randbytes(lots.choice((1, 2, 4, 250, 511)))
    elif spoil < 0.12 and len(pdu) > 6:
        place = lots.randrange(1, 7)
        pdu = pdu[:place] + bytes((lots.randrange(256),)) + pdu[place + 1 :]
    return pdu[:511]


async def client(place: str, number: int, frames: int, refused: Counter[int]) -> None:
    lots = seeds.lots(f"client {number}")
    async with peer(place) as plc:
        for _ in range(frames // AT_ONCE):
            batch = [(lots.randrange(65536), lots.choice((1, 1, 1, 0, 255, 2)), request(lots)) for _ in range(AT_ONCE)]
            frames_of_batch = [struct.pack(">HHHB", t, 0, len(pdu) + 1, unit) + pdu for t, unit, pdu in batch]
            plc.writer.write(b"".join(frames_of_batch))
            for transaction, unit, pdu in batch:
                answered, answering, reply = await plc.answer(20)
                assert (answered, answering) == (transaction, unit), pdu.hex()
                wanted = model.expected(pdu) if unit in {0, 1, 255} else 0x0B
                got = reply[1] if reply[0] & 0x80 else 0
                assert reply[0] & 0x7F == pdu[0] & 0x7F, (pdu.hex(), reply.hex())
                assert got == wanted, (pdu.hex(), reply.hex())
                target = model.refused_target(pdu, got)
                if target:
                    refused[target] += 1
                assert got or len(reply) == length_of(pdu, reply), (pdu.hex(), reply.hex())


def length_of(pdu: bytes, reply: bytes) -> int:
    """Return how long the positive answer to a request is."""
    function = pdu[0]
    if function in {1, 2}:
        return 2 + -(-int(struct.unpack(">H", pdu[3:5])[0]) // 8)
    if function in {3, 4, 23}:
        return 2 + 2 * int(struct.unpack(">H", pdu[3:5])[0])
    if function == 22:
        return 7
    return 5 if function in {5, 6, 15, 16} else len(reply)


async def noise(place: str) -> None:
    """Send what is no Modbus at all; the device may close, and must go on."""
    lots = seeds.lots("noise")
    for _ in range(40):
        async with peer(place) as plc:
            plc.writer.write(lots.randbytes(lots.randint(1, 600)))
            if lots.random() < 0.5:
                plc.writer.write_eof()
            try:
                async with asyncio.timeout(0.2):
                    while await plc.reader.read(4096):
                        pass
            except (TimeoutError, ConnectionError):
                pass


async def test_every_answer_is_that_of_the_model(recorder: Recorder, tmp_path: Path) -> None:
    toml = "".join(
        f'[targets.{n}]\nmethod = "post-raw"\nurl = "{recorder.url}/"\npayload = "$VALUE"\nenabled = {on}\n'
        for n, on in ((model.ENABLED, "true"), (model.DISABLED, "false"))
    )
    refused: Counter[int] = Counter()
    async with device(f"[outbox]\nmax_messages = 10000000\n{toml}", tmp_path) as app:
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(client(app.address, number, FRAMES // CONNECTIONS, refused))
            group.create_task(noise(app.address))
        await until(lambda: app.board.targets[7].queued == 0, 120)
        await until(lambda: not app.board.connections)
        async with peer(app.address) as plc:
            assert (await plc.ask(fc16(7000, "after all")))[0] == 16
            assert app.board.healthy
            counted = {number: (await plc.inputs(1000 * number + 48, 1))[0] for number in range(1, 65)}
            assert counted == {number: refused[number] & 0xFFFF for number in counted}
            assert counted[model.ENABLED] > 10 < counted[model.DISABLED]
            assert app.board.targets[8].accepted == 0
            await until(lambda: recorder.bodies()[-1] == b"after all")
