"""The unit: one request in, one answer out. It knows registers, outbox and board, and no connection.

`begin` does at once what can be done at once. A write that completes a string comes back as a Pending, which ends when the
string is on disk, or cannot be, or when its time is over. Whatever else goes wrong in here is logged and answered 04.
"""

import time
import traceback
from collections.abc import Callable
from typing import cast

import structlog
from pymodbus.constants import ExcCodes
from pymodbus.pdu.device import DeviceInformationFactory, ModbusDeviceIdentification
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse

from vdevice import __version__
from vdevice.board import Board
from vdevice.config import Config
from vdevice.errors import OutboxFullError, VdeviceError
from vdevice.modbus import mistakes, pdu
from vdevice.modbus.mistakes import Mistakes
from vdevice.modbus.pdu import (
    Identify,
    MaskWrite,
    Read,
    ReadWrite,
    Refused,
    Request,
    ServerId,
    WriteBits,
    WriteRegisters,
)
from vdevice.modbus.pending import Pending
from vdevice.modbus.rights import rights_of
from vdevice.modbus.texts import Client
from vdevice.modbus.writes import Writes
from vdevice.outbox.api import Outbox
from vdevice.registers import layout
from vdevice.registers.layout import Space
from vdevice.repeats import Repeats

EVERY_UNIT = frozenset({0, 255})
"""Unit ids that mean the device itself (Messaging on TCP/IP Implementation Guide, 4.4.2)."""

# Both are untyped in pymodbus.
_device_information = cast("Callable[[object, int, int], dict[int, str]]", DeviceInformationFactory.get)
_new_identity = cast("Callable[..., object]", ModbusDeviceIdentification)

log = structlog.get_logger()


class _Control:
    """What pymodbus' device information reads."""

    def __init__(self, device_id: str, url: str) -> None:
        self.Identity = _new_identity(  # pymodbus' name
            info_name={
                "VendorName": "vdevice",
                "ProductCode": "vdevice",
                "MajorMinorRevision": __version__,
                "VendorUrl": url,
                "ProductName": "Virtual device: registers to webhooks",
                "UserApplicationName": device_id,
            }
        )


class Unit:
    """The device as Modbus sees it."""

    def __init__(self, config: Config, outbox: Outbox, board: Board) -> None:
        self._board = board
        self._repeats = Repeats()
        self._mistakes = Mistakes()
        self.writes = Writes(config, outbox, board)
        self._take(config)

    def apply(self, config: Config) -> None:
        """Go on with another config."""
        self.writes.apply(config)
        self._take(config)

    def _take(self, config: Config) -> None:
        self._config = config
        self._control = _Control(config.device.id, config.device.url)

    def client(self, address: str, role: str | None = None) -> Client:
        """Return the client behind an address, with the role of its certificate where it has one."""
        client = self._config.client_of(address)
        rate = client.rate if client and client.rate else self._config.modbus.rate
        return Client(address, self._config.client_name(address), rights_of(self._config, address, role), rate)

    def opened(self, client: Client) -> Client:
        """Return a client whose connection begins to ask."""
        return self.writes.opened(client)

    def closed(self, client: Client) -> None:
        """Keep what a client's connection staged for its next one."""
        self.writes.closed(client)

    def tell_due(self, now: float) -> None:
        """Log how many lines were kept back of what is over, at `now` of the monotonic clock."""
        self._repeats.tell_due(log.error, now)
        self._mistakes.tell_due(now)
        self.writes.tell_due(now)

    @property
    def answer_timeout(self) -> float:
        """Seconds until a request is answered 04, whatever holds it up."""
        return self._config.modbus.answer_timeout

    async def handle(self, unit_id: int, request: bytes, client: Client) -> bytes:
        """Return the answer PDU to a request PDU."""
        answer = self.begin(unit_id, request, client)
        if isinstance(answer, bytes):
            return answer
        await self.writes.ended(answer)
        return self.end(request[0], answer)

    def begin(self, unit_id: int, request: bytes, client: Client) -> bytes | Pending:
        """Execute a request; what must be on disk first is still under way in the Pending that comes back."""
        if unit_id != self._config.modbus.unit_id and unit_id not in EVERY_UNIT:
            code, right = ExcCodes.GATEWAY_NO_RESPONSE, self._config.modbus.unit_id
            self._mistakes.tell(request, code, client.name, lambda: mistakes.of_unit(unit_id, right))
            return pdu.exception(request[0], code)
        decoded = None
        try:
            decoded = pdu.decode(request)
            return self._execute(decoded, client)
        except Refused as refused:
            # A decoded request that got another exception has a line of its own.
            if decoded is None or refused.code is ExcCodes.ILLEGAL_ADDRESS:
                code, reason = refused.code, refused.reason
                self._mistakes.tell(
                    request, code, client.name, lambda: reason or mistakes.of_request(request, code, self._config)
                )
            # What was decoded is counted where it is executed, which knows the targets of a point's rules.
            return self.refuse(request, refused.code) if decoded is None else pdu.exception(request[0], refused.code)
        except Exception as error:  # noqa: BLE001 (the last line of defence: whatever is wrong inside, the request is answered)
            self.refuse(request, ExcCodes.DEVICE_FAILURE)
            return self._failed(request[0], error)

    def expire(self, pending: Pending) -> None:
        """End a request whose time is over, unless it has ended; its effects are undone."""
        self.writes.expire(pending)

    def refuse(self, request: bytes, code: ExcCodes) -> bytes:
        """Return the exception to a request PDU that is not executed; count it where it would write to a target."""
        target = pdu.written_target(request)
        if target and code is not ExcCodes.ILLEGAL_FUNCTION:
            self._board.refuse(target)
        return pdu.exception(request[0], code)

    def end(self, function: int, pending: Pending) -> bytes:
        """Return the answer to a request that has ended."""
        error = pending.error
        if error is None:
            self._board.answered_in_time()
            try:
                return pending.answer()
            except Exception as unexpected:  # noqa: BLE001 (as in `begin`)
                return self._failed(function, unexpected)
        if not isinstance(error, VdeviceError):
            return self._failed(function, error)
        self._log_once("not stored", str(error))
        full = isinstance(error, OutboxFullError)
        return pdu.exception(function, ExcCodes.DEVICE_BUSY if full else ExcCodes.DEVICE_FAILURE)

    def _failed(self, function: int, error: BaseException) -> bytes:
        """Log an error that nobody expected, with its traceback, and return the answer to its request."""
        trace = "".join(traceback.format_exception(error))
        self._log_once("request failed", f"{type(error).__name__} in function {function}", exception=trace)
        return pdu.exception(function, ExcCodes.DEVICE_FAILURE)

    def _log_once(self, event: str, reason: str, **more: str) -> None:
        """Log an error; a client that causes it again and again is one line, then a count."""
        self._repeats.tell(log.error, event, reason, time.monotonic(), reason=reason, **more)

    def stores(self, request: bytes) -> bool:
        """Tell whether a request PDU may store a string, and reads nothing: others like it may follow it into its commit."""
        return request[0] in {5, 6, 15, 16}

    def writes_anything(self, request: bytes) -> bool:
        """Tell whether a request PDU is a write, alone or with a read."""
        return request[0] in {5, 6, 15, 16, 22, 23}

    def _execute(self, request: Request, client: Client) -> bytes | Pending:
        match request:
            case WriteRegisters():
                return self.writes.registers(request.address, request.data, client, lambda: request.echo)
            case Read():
                self._check_readable(request)
                return self._read(request)
            case ReadWrite():
                self._check_readable(request.read)
                write = request.write
                return self.writes.registers(write.address, write.data, client, lambda: self._read(request.read))
            case WriteBits():
                return self.writes.coils(request.address, request.bits, client, lambda: request.echo)
            case MaskWrite():
                return self.writes.masked(request, client, lambda: request.echo)
            case ServerId():
                return pdu.server_id(self._config.modbus.unit_id, f"vdevice {__version__} {self._config.device.id}")
            case Identify():
                return self._identify(request)

    def _check_readable(self, request: Read) -> None:
        """Raise Refused where an address of the range cannot be read; pure addresses, so that nothing happened yet."""
        space, address, count = request.space, request.address, request.quantity
        end = address + count
        readable = {
            Space.COILS: lambda: layout.is_points(address, count),
            Space.DISCRETE_INPUTS: lambda: end <= layout.DISCRETES,
            Space.INPUT_REGISTERS: lambda: end <= layout.INPUTS,
            Space.HOLDING_REGISTERS: lambda: (
                layout.is_points(address, count) or layout.mirror_block(address, count) is not None
            ),
        }
        if not readable[space]():
            raise Refused(ExcCodes.ILLEGAL_ADDRESS)

    def _read(self, request: Read) -> bytes:
        function, space, address, count = request
        device_id = self._config.device.id
        if space is Space.COILS:
            return pdu.bits(function, self.writes.image.read("coil", address, count))
        if space is Space.DISCRETE_INPUTS:
            return pdu.bits(function, layout.discrete_inputs(self._board, address, count))
        if space is Space.INPUT_REGISTERS:
            return pdu.registers(function, layout.input_registers(self._board, device_id, address, count))
        mirrored = layout.mirror_block(address, count)
        if mirrored is None:
            return pdu.registers(function, self.writes.image.read("holding", address, count))
        block, offset = mirrored
        registers = layout.status(self._board, device_id, block)
        return pdu.registers(function, registers[2 * offset : 2 * (offset + count)])

    def _identify(self, request: Identify) -> bytes:
        code, object_id = request.code, request.object_id
        objects = _device_information(self._control, code, 0)
        if code == 4:
            objects = _device_information(self._control, code, object_id)
            if not objects.get(object_id):
                raise Refused(ExcCodes.ILLEGAL_ADDRESS)
        elif object_id in objects:
            # 6.21: an object id that is not there starts again at the first one.
            objects = {key: value for key, value in objects.items() if key >= object_id}
        return b"\x2b" + ReadDeviceInformationResponse(read_code=code, information=objects).encode()
