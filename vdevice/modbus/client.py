"""Our Modbus client, for the command line, the demo and the tools: pymodbus' client with errors in plain words."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.transport import CommParams, CommType

from vdevice.errors import DeviceError
from vdevice.model import TARGETS
from vdevice.registers import layout

EXCEPTIONS = {
    1: "01: it does not know this function, or this client may not write there",
    2: "02: there is no such register, or the target is not configured",
    3: "03: the value is wrong, not text of the target's encoding, or its length cannot be",
    4: "04: the target is disabled, or the outbox cannot be written",
    6: "06: the outbox has no room for this target, or too many requests wait; write again",
    11: "0B: it has another unit id",
}
POLL = 0.05


class DeviceClient:
    """A connected client of one device."""

    def __init__(self, client: AsyncModbusTcpClient, unit: int) -> None:
        self._client = client
        self._unit = unit

    async def write(self, target: int, data: bytes, *, commit: bool = False) -> None:
        """Write a whole string, two bytes a register, with as many FC16 as it takes; `commit` ends it with its length.

        Raises DeviceError.
        """
        block = target * 1000
        for start in range(0, len(data), 2 * layout.LONGEST_WRITE):
            await self.write_registers(block + start // 2, data[start : start + 2 * layout.LONGEST_WRITE])
        if commit:
            await self.write_registers(block + layout.COMMIT, len(data).to_bytes(2))

    async def write_registers(self, address: int, data: bytes) -> None:
        """Write registers, two bytes each, with one FC16. Raises DeviceError."""
        words = [int.from_bytes(data[index : index + 2]) for index in range(0, len(data), 2)]
        self._check(await self._ask(lambda: self._client.write_registers(address, words, device_id=self._unit)))

    async def target(self, target: int) -> dict[str, int | str]:
        """Return the status registers of a target by name. Raises DeviceError."""
        return layout.parse_target_status(await self._status(target * 1000))

    async def full(self) -> list[int]:
        """Return the targets whose last write found no room in the outbox. Raises DeviceError."""
        ask, first = self._client.read_discrete_inputs, layout.DISCRETE_BLOCKS[3]
        answer = await self._ask(lambda: ask(first, count=len(TARGETS), device_id=self._unit))
        self._check(answer)
        return [number for number, bit in zip(TARGETS, answer.bits, strict=False) if bit]

    async def device(self) -> dict[str, int | str]:
        """Return the status registers of the device by name. Raises DeviceError."""
        return layout.parse_device_status(await self._status(0))

    async def wait(self, target: int, seconds: float) -> dict[str, int | str] | None:
        """Return the status of a target once nothing of it is pending, or None after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            status = await self.target(target)
            # With 65,536 waiting the two counters, which are 16 bits, are equal as well.
            if status["accepted_seq"] == status["finished_seq"] and status["queued"] == 0:
                return status
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(POLL)

    async def _status(self, address: int) -> list[int]:
        ask = self._client.read_input_registers
        answer = await self._ask(lambda: ask(address, count=layout.STATUS, device_id=self._unit))
        self._check(answer)
        return list(answer.registers)

    async def _ask(self, ask: Callable[[], Awaitable[ModbusPDU]]) -> ModbusPDU:
        try:
            return await ask()
        except ModbusException:
            raise DeviceError("the device does not answer; check its address and its log") from None

    def _check(self, answer: ModbusPDU) -> None:
        if answer.isError():
            code = answer.exception_code
            raise DeviceError(f"the device answers exception {EXCEPTIONS.get(code, f'{code:02X}')}")


class _Client(AsyncModbusTcpClient):
    """A pymodbus client with TLS around the frames of Modbus/TCP; its own one for TLS ignores their length."""

    def __init__(self, host: str, port: int, seconds: float, tls: ssl.SSLContext | None) -> None:
        kind = CommType.TLS if tls else CommType.TCP
        self.comm_params = CommParams(
            comm_type=kind,
            host=host,
            port=port,
            sslctx=tls,
            comm_name="device",
            reconnect_delay=0,
            timeout_connect=seconds,
        )
        super().__init__(host, framer=FramerType.SOCKET, timeout=seconds, retries=0)


@contextlib.asynccontextmanager
async def connect(
    host: str,
    port: int,
    unit: int = 1,
    timeout: float = 3,  # noqa: ASYNC109 (of each request)
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[DeviceClient]:
    """Connect to a device. Raises DeviceError where none answers."""
    # Its own lines hold frames, so payload, and say nothing that our sentence does not.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    client = _Client(host, port, timeout, tls)
    try:
        if not await client.connect():
            certificates = ", and the certificates" if tls else ""
            raise DeviceError(
                f"no device answers on {host}:{port}; start it with `vdevice run`, or check --host and --port{certificates}"
            )
        yield DeviceClient(client, unit)
    finally:
        client.close()
