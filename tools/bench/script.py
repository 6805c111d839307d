"""The forty lines that people write today: pymodbus' stock server and aiohttp's client, nothing kept."""

import asyncio
import sys

import aiohttp
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


async def main(port: int, url: str) -> None:
    """Post each written string; the answer to the PLC does not wait for it."""
    tasks: set[asyncio.Task[None]] = set()
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
                task = asyncio.create_task(post(data.partition(b"\0")[0].decode()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            return None

        blocks = [SimData(0, count=65_000, datatype=DataType.REGISTERS, values=0)]
        server = ModbusTcpServer(SimDevice(1, blocks, action=action), address=("127.0.0.1", port))
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
