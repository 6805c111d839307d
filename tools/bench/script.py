"""The forty lines that people write today: pymodbus' stock server and aiohttp's client, nothing kept.

With a file as its third argument each string is appended to it and synced before the answer: the least that keeping takes.
"""

import asyncio
import os
import sys

import aiohttp
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


async def main(port: int, url: str, keep: str = "") -> None:
    """Post each written string; the answer to the PLC does not wait for it."""
    tasks: set[asyncio.Task[None]] = set()
    kept = os.open(keep, os.O_CREAT | os.O_WRONLY | os.O_APPEND) if keep else None
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(text: str) -> None:
            async with session.post(url, data=text.encode()) as response:
                await response.read()

        async def action(
            function: int,
            _address: int,
            _start: int,
            _count: int,
            _registers: list[int],
            values: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            if function in {6, 16} and values:
                data = b"".join(value.to_bytes(2) for value in values)
                if kept is not None:
                    os.write(kept, data)
                    os.fdatasync(kept)
                task = asyncio.create_task(post(data.partition(b"\0")[0].decode()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            return None

        blocks = [SimData(0, count=65_000, datatype=DataType.REGISTERS, values=0)]
        server = ModbusTcpServer(SimDevice(1, blocks, action=action), address=("127.0.0.1", port))
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
