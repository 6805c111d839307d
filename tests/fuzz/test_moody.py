"""Pipelined requests in front of an outbox that stores, refuses, hangs, is late or breaks as it likes.

Each request gets one response, in order and in time; registers hold what the positively answered writes made of them, and
nothing else; what was answered positively is delivered.
"""

import asyncio
import random
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from tests import seeds
from tests.support import Peer, Recorder, device, peer, until
from vdevice.app import App
from vdevice.errors import OutboxFailingError, OutboxFullError
from vdevice.model import Event, Stored

TIMEOUT = 0.3
SLACK = 1.5
"""Seconds on a busy machine; the point is that it is not for ever."""

BATCHES = 14
PLCS = 3
BLOCK = 100
"""Registers, and coils, that each PLC has for itself."""

MOODS = {"store": 30, "slow": 8, "fail": 3, "full": 3, "never": 1, "late": 1, "raise": 2, "cancel": 1}


def points(plc: int) -> str:
    """Return the points and rules of one PLC: a number, one of two registers, a bit and a coil, each watched."""
    base = BLOCK * plc
    rows = [
        ("number", f'space = "holding"\naddress = {base}\ntype = "uint16"', "write"),
        ("pair", f'space = "holding"\naddress = {base + 2}\ntype = "int32"', "change"),
        ("bit", f'space = "holding"\naddress = {base + 5}\ntype = "bool"\nbit = 3', "rising"),
        ("coil", f'space = "coil"\naddress = {base}\ntype = "bool"', "change"),
    ]
    return "".join(
        f'[[points]]\nname = "{name} {plc}"\n{place}\n'
        f'[[rules]]\nsource = "{name} {plc}"\ntrigger = "{trigger}"\ndestinations = ["target/8"]\n'
        for name, place, trigger in rows
    )


class Moody:
    """The real outbox behind another one that does as it likes."""

    def __init__(self, app: App) -> None:
        self._real = app.outbox
        self._lots = seeds.lots("moods")
        self._tasks: set[asyncio.Task[None]] = set()
        self.moods = dict.fromkeys(MOODS, 0)
        app.unit.writes._outbox = self  # type: ignore[assignment]

    def put(self, events: Sequence[Event], changed_only: frozenset[int]) -> asyncio.Future[list[Stored]]:
        (mood,) = self._lots.choices(list(MOODS), list(MOODS.values()))
        self.moods[mood] += 1
        if mood == "store":
            return self._real.put(events, changed_only)
        if mood == "full":
            raise OutboxFullError("it is full")
        if mood == "raise":
            raise RuntimeError("nobody expects this")
        future: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        if mood != "never":
            task = asyncio.create_task(self._end(future, mood, events, changed_only))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def _end(
        self, future: asyncio.Future[list[Stored]], mood: str, events: Sequence[Event], changed_only: frozenset[int]
    ) -> None:
        await asyncio.sleep(2 * TIMEOUT if mood == "late" else self._lots.random() * TIMEOUT / 8)
        if mood == "cancel":
            future.cancel()
        elif mood == "fail":
            future.set_exception(OutboxFailingError("it failed"))
        else:
            future.set_result(await self._real.put(events, changed_only))


class Plc:
    """A PLC with registers and coils of its own, which knows what they must be."""

    def __init__(self, number: int) -> None:
        self.base = BLOCK * number
        self.lots = seeds.lots(f"plc {number}")
        self.registers = [0] * 8
        self.coils = [0] * 8
        self.texts: list[bytes] = []
        self.sent = 0

    def request(self) -> bytes:
        lots, at = self.lots, self.lots.randrange(6)
        place, value = self.base + at, lots.randrange(65536)
        match lots.randrange(9):
            case 0:
                return struct.pack(">BHH", 3, self.base, 8)
            case 1:
                return struct.pack(">BHH", 1, self.base, 8)
            case 2 | 3:
                return struct.pack(">BHH", 6, place, value)
            case 4:
                return struct.pack(">BHH", 5, place, lots.choice((0, 0xFF00)))
            case 5:
                count = lots.randint(1, 8 - at)
                return struct.pack(">BHHB", 16, place, count, 2 * count) + lots.randbytes(2 * count)
            case 6:
                return struct.pack(">BHHH", 22, place, lots.randrange(65536), value)
            case 7:
                return struct.pack(">BHHHHB", 23, self.base, 8, place, 1, 2) + lots.randbytes(2)
        self.sent += 1
        text = f"{self.base}:{self.sent:06d}".encode().ljust(12)
        return struct.pack(">BHHB", 16, 7000, 6, 12) + text

    def take(self, pdu: bytes, reply: bytes) -> None:
        """Hold a response against what it must be, and follow what the request did."""
        function = pdu[0]
        assert reply[0] & 0x7F == function, (pdu.hex(), reply.hex())
        if reply[0] & 0x80:
            assert function not in {1, 3}, reply.hex()
            assert reply[1] in {4, 6}, reply.hex()
            return
        place = struct.unpack(">H", pdu[1:3])[0] - self.base
        if function == 16 and pdu[1:3] == struct.pack(">H", 7000):
            self.texts.append(pdu[6:])
        elif function == 16:
            values = struct.unpack(f">{pdu[5] // 2}H", pdu[6:])
            self.registers[place : place + len(values)] = values
        elif function == 6:
            self.registers[place] = struct.unpack(">H", pdu[3:])[0]
        elif function == 22:
            keep, bits = struct.unpack(">HH", pdu[3:])
            self.registers[place] = self.registers[place] & keep | bits & ~keep & 0xFFFF
        elif function == 23:
            self.registers[struct.unpack(">H", pdu[5:7])[0] - self.base] = struct.unpack(">H", pdu[10:])[0]
        elif function == 5:
            self.coils[place] = int(pdu[3] == 0xFF)
        if function in {3, 23}:
            assert list(struct.unpack(">8H", reply[2:])) == self.registers, (pdu.hex(), reply.hex())
        elif function == 1:
            assert [reply[2] >> bit & 1 for bit in range(8)] == self.coils

    async def play(self, connection: Peer) -> None:
        for _ in range(BATCHES):
            batch = [self.request() for _ in range(self.lots.randint(1, 16))]
            started = time.monotonic()
            connection.writer.write(b"".join(connection.frame(pdu) for pdu in batch))
            first = connection.transaction - len(batch) + 1
            for number, pdu in enumerate(batch, first):
                transaction, _, reply = await connection.answer(TIMEOUT + SLACK)
                assert transaction == number
                self.take(pdu, reply)
            assert time.monotonic() - started <= TIMEOUT + SLACK
        for pdu in (struct.pack(">BHH", 3, self.base, 8), struct.pack(">BHH", 1, self.base, 8)):
            self.take(pdu, await connection.ask(pdu))


async def test_each_request_is_answered_in_time_and_what_failed_is_undone(recorder: Recorder, tmp_path: Path) -> None:
    toml = f'[modbus]\nlisten = "127.0.0.1:0"\nanswer_timeout = {TIMEOUT}\n'
    toml += "".join(
        f'[targets.{number}]\nmethod = "post-raw"\nurl = "{recorder.url}/{number}"\npayload = "$VALUE"\n'
        for number in (7, 8)
    )
    toml += "".join(points(number) for number in range(PLCS))
    async with device(toml, tmp_path) as app:
        outbox = Moody(app)
        plcs = [Plc(number) for number in range(PLCS)]

        async def one(plc: Plc) -> None:
            async with peer(app.address) as connection:
                await plc.play(connection)

        async with asyncio.TaskGroup() as group:
            for plc in plcs:
                group.create_task(one(plc))
        assert sum(outbox.moods.values()) > BATCHES
        await until(lambda: app.board.waiting == 0 and not outbox._tasks)
        arrived = set(recorder.bodies())
        assert all(text.rstrip() in arrived or text in arrived for plc in plcs for text in plc.texts)


def test_the_moods_are_drawn() -> None:
    lots = random.Random(1)
    assert {lots.choices(list(MOODS), list(MOODS.values()))[0] for _ in range(1000)} == MOODS.keys()
