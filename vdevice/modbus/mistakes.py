"""What clients ask for that is not there, in the log: exceptions 01, 02, 03 and 0B by function, address, quantity or unit.

Drivers that look for where a device begins and ends ask for such things on purpose. So each client has one line a minute for
each exception and function, and what it costs to make one is spent only then. What a request carries is never shown.
"""

import time
from collections.abc import Callable

import structlog
from pymodbus.constants import ExcCodes

from vdevice.config import Config
from vdevice.modbus import pdu
from vdevice.model import POINTS
from vdevice.registers import layout
from vdevice.repeats import Repeats

_FROM_ZERO = "addresses count from 0, so that 40001 is 0"
_COILS = f"points are the coils 0 to {POINTS - 1}; there are no others"
_READABLE = {
    1: _COILS,
    2: f"discrete inputs are 0 to {layout.DISCRETES - 1}",
    3: f"holding registers are read at 0 to {POINTS - 1} (points), and the last {layout.STATUS} of each block "
    f"(status); a text cannot be read; {_FROM_ZERO}",
    4: f"input registers are 0 to {layout.INPUTS - 1}",
    5: _COILS,
    15: _COILS,
    22: f"only the points, 0 to {POINTS - 1}, are written bit by bit",
    43: "there is no such object; ask for the basic ones",
}

_EVENT = "request refused"

log = structlog.get_logger()


class Mistakes:
    """Says in the log what a client asked for that is not there, once in a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._repeats = Repeats()
        self._clock = clock

    def tell(self, request: bytes, code: ExcCodes, client: str, reason: Callable[[], str]) -> None:
        """Log a request PDU that got an exception, unless the same client had the same one a moment ago."""
        function = request[0] if request[0] in pdu.FUNCTIONS and code is not ExcCodes.GATEWAY_NO_RESPONSE else 0
        about = f"exception {code:02X} to {client}" + (f", function {function}" if function else "")
        kept_back = self._repeats.count((_EVENT, about, 0), self._clock())
        if kept_back is not None:
            more = {"not_logged": kept_back} if kept_back else {}
            log.warning(_EVENT, client=client, code=f"{code:02X}", **_shown(request), reason=reason(), **more)

    def tell_due(self, now: float) -> None:
        """Log how many lines were kept back of what is over, at `now` of its clock."""
        self._repeats.tell_due(log.warning, now)


def _shown(request: bytes) -> dict[str, int]:
    """Return what a request PDU, which may be cut, asks for; nothing of what it carries."""
    function, shown = request[0], {"function": request[0]}
    if function not in pdu.FUNCTIONS - {17, 43}:
        return shown
    words = [int.from_bytes(request[place : place + 2]) for place in range(1, min(len(request) - 1, 8), 2)]
    names: tuple[str, ...] = ("address",) if function in {5, 6, 22} else ("address", "quantity")
    if function == 23:
        names = ("read_address", "read_quantity", "address", "quantity")
    return shown | dict(zip(names, words, strict=False))


def of_unit(unit_id: int, right: int) -> str:
    """Return what to do about a request to another unit id."""
    return f"unit id {unit_id} is not this device's: use {right} (modbus.unit_id), 0 or 255"


def of_request(request: bytes, code: ExcCodes, config: Config) -> str:
    """Return what is wrong with a request PDU that got exception 01, 02 or 03, and what to do."""
    function, shown = request[0], _shown(request)
    if code is ExcCodes.ILLEGAL_ADDRESS:
        return _wrong_address(request, shown, config)
    if code is ExcCodes.ILLEGAL_FUNCTION:
        return "the device has no such function; use 1 to 6, 15, 16, 17, 22, 23 or 43/14"
    limits = {"quantity": pdu.QUANTITIES.get(function, 0), "read_quantity": pdu.READ_WRITE_READS}
    for name, most in limits.items():
        if name in shown and not 1 <= shown[name] <= most:
            return f"{name} {shown[name]}: function {function} takes 1 to {most} at once"
    if function == 5 and len(request) == 5:
        return "a coil is written with 0x0000 or 0xFF00"
    return (
        "its length does not fit the function, the quantity or the byte count; see how the program builds the request"
    )


def _wrong_address(request: bytes, shown: dict[str, int], config: Config) -> str:
    function = request[0]
    if function in _READABLE:
        return _READABLE[function]
    if function == 23:
        place = shown["read_address"], shown["read_quantity"]
        if not layout.is_points(*place) and layout.mirror_block(*place) is None:
            return _READABLE[3]
    number = pdu.written_target(request)
    if not number:
        return f"no target is written here: the text of target n begins at register n * 1000; {_FROM_ZERO}"
    target, first = config.targets.get(number), number * 1000
    if target is None:
        return f"targets.{number} is not in the config: add it, or write to a target that is there; {_FROM_ZERO}"
    if target.completion == "request":
        return f"a text of target {number} is one write that begins at register {first} (completion = request)"
    return (
        f"a text of target {number} begins at register {first} and ends before {first + layout.TEXT}; "
        f"{first + layout.COMMIT} alone is written with completion = commit; {_FROM_ZERO}"
    )
