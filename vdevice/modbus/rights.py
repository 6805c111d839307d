"""What a client may write, and how fast it may ask: [modbus.clients], worked out once for each client. Pure but for the clock.

Who may not write gets exception 01, as the Modbus/TCP Security Protocol Specification (v2.1, 2018) has it for a request that
its role is not authorized for; reading is for everyone who may connect.
"""

from collections.abc import Sequence
from typing import NamedTuple

from vdevice.config import Config
from vdevice.config.schema import Client, Point

BURST = 1.0
"""Seconds of its rate that a client may use at once."""


class Rights(NamedTuple):
    """The targets that a client may write, and the registers and coils of points; None is all of them."""

    targets: frozenset[int] | None = None
    places: frozenset[tuple[str, int]] | None = None

    def may_write_target(self, target: int) -> bool:
        """Tell whether a string for a target may be written."""
        return self.targets is None or target in self.targets

    def may_write_points(self, space: str, address: int, count: int) -> bool:
        """Tell whether each register or coil of a range may be written."""
        places = self.places
        return places is None or all((space, at) in places for at in range(address, address + count))


EVERYTHING = Rights()


def rights_of(config: Config, address: str) -> Rights:
    """Return the rights of the client at an address; whom no entry fits may write everything."""
    client = config.client_of(address)
    return _rights(client, config.points) if client else EVERYTHING


def _rights(client: Client, points: Sequence[Point]) -> Rights:
    if client.read_only:
        return Rights(frozenset(), frozenset())
    targets = None if client.targets is None else frozenset(client.targets)
    if client.points is None:
        return Rights(targets)
    places = [
        (point.space, at) for point in points if point.name in client.points for at in range(point.address, point.end)
    ]
    return Rights(targets, frozenset(places))


class Bucket:
    """A client's rate: requests a second, with what it did not use of the last second on top."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._left = max(rate * BURST, 1.0)
        self.used_at = 0.0

    def take(self, now: float) -> bool:
        """Use one request at `now` (seconds of a clock that only goes forward); False where there is none left."""
        most = max(self.rate * BURST, 1.0)
        self._left = min(self._left + (now - self.used_at) * self.rate, most) if self.used_at else most
        self.used_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
