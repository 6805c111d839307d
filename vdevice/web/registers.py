"""Handlers that speak Modbus for a person: registers read, and written as a PLC would, and the map."""

import struct
from collections.abc import Sequence
from typing import Literal

from vdevice import sheets
from vdevice.config import Config
from vdevice.modbus.texts import Client
from vdevice.registers import layout
from vdevice.web.call import ApiError, Call
from vdevice.web.views import ModbusAnswer, Registers, RegisterWrite, Text

MOST_READ, MOST_WRITTEN = 125, 123
WORDS = {
    1: "this client may not write there",
    2: "there is no such register, or the target is not configured",
    3: "the value is wrong, or not text of the target's encoding",
    4: "the target is disabled, or the outbox cannot be written",
    6: "the outbox has no room for this target; write again",
}


def _client(call: Call) -> Client:
    return Client(call.address, call.device.config.client_name(call.address))


async def _ask(call: Call, pdu: bytes) -> bytes:
    return await call.device.unit.handle(call.device.config.modbus.unit_id, pdu, _client(call))


async def read(call: Call) -> Registers:
    """Return registers: `space` holding or input, `address`, `count` up to 1,000; those that cannot be read are -1."""
    space: Literal["holding", "input"] = "holding" if call.query.get("space") == "holding" else "input"
    address, count = call.number("address", 0, 0, 65_535), call.number("count", 50, 1, 1000)
    function = 3 if space == "holding" else 4
    values: list[int] = []
    for start in range(address, min(address + count, 65_536), 50):
        several = min(50, address + count - start, 65_536 - start)
        values += await _read(call, function, start, several)
    names = _names(call.device.config, space, range(address, address + len(values)))
    return Registers(space, address, values, names)


def _names(config: Config, space: str, addresses: range) -> list[str]:
    points = {
        at: point.name for point in config.points if point.space == "holding" for at in range(point.address, point.end)
    }
    names = []
    for address in addresses:
        block, offset = divmod(address, 1000)
        status = offset - 950 if space == "holding" else offset
        if space == "holding" and status < 0:
            text = {layout.COMMIT: "commit"}.get(offset, "text" if offset < layout.COMMIT else "")
            names.append(text if block else points.get(offset, ""))
        else:
            rows = layout.TARGET_STATUS if block else layout.DEVICE_STATUS
            names.append(next((row.name for row in rows if 0 <= status - row.offset < row.count), ""))
    return names


async def _read(call: Call, function: int, start: int, count: int) -> Sequence[int]:
    answer = await _ask(call, struct.pack(">BHH", function, start, count))
    if answer[0] == function:
        return struct.unpack(f">{count}H", answer[2:])
    if count == 1:
        return (-1,)
    half = count // 2
    return (*await _read(call, function, start, half), *await _read(call, function, start + half, count - half))


async def write(call: Call) -> ModbusAnswer:
    """Write holding registers with FC16, as a PLC would; a positive answer means that what it completed is on disk."""
    given = call.take(RegisterWrite)
    if not 0 < len(given.values) <= MOST_WRITTEN or not all(0 <= value <= 0xFFFF for value in given.values):
        raise ApiError(422, f"values are 1 to {MOST_WRITTEN} numbers from 0 to 65535")
    if not 0 <= given.address <= 65_535:
        raise ApiError(422, "address is a number from 0 to 65535")
    count = len(given.values)
    head = struct.pack(">BHHB", 16, given.address, count, 2 * count)
    answer = await _ask(call, head + struct.pack(f">{count}H", *given.values))
    code = answer[1] if answer[0] & 0x80 else 0
    return ModbusAnswer(code, WORDS.get(code, f"exception {code:02X}") if code else "done")


async def sheet(call: Call) -> Text:
    """Return the register map of this device, in the format of the path, as `vdevice map` prints it."""
    make = sheets.FORMATS.get(call.match["form"])
    if make is None:
        raise ApiError(404, f"formats are {', '.join(sheets.FORMATS)}")
    return Text(make(call.device.config))
