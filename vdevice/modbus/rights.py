"""What a client may write, and how fast it may ask, worked out once for each connection. Pure but for the clock.

What its address may write stands in [modbus.clients], what the role of its certificate may in [modbus.tls.roles]; who has
both may write what both permit.

Who may not write gets exception 01, as the Modbus/TCP Security Protocol Specification (v2.1, 2018) has it for a request that
its role is not authorized for; reading is for everyone who may connect.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from vdevice.config import Config
from vdevice.config.schema import Permits, Point

T = TypeVar("T")
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
NOTHING = Rights(frozenset(), frozenset())


def rights_of(config: Config, address: str, role: str | None = None) -> Rights:
    """Return the rights of the client at an address; whom no entry fits may write everything.

    `role` is that of its certificate, empty where that names none, and None without TLS. Where there are roles in the
    config, one that is not among them may write nothing.
    """
    client = config.client_of(address)
    rights = _rights(client, config.points) if client else EVERYTHING
    if role is None:
        return rights
    # A listener that is gone from the config goes on until the restart; who is still on it writes nothing.
    roles = config.modbus.tls.roles if config.modbus.tls else None
    if roles == {}:
        return rights
    of_role = _rights(roles[role], config.points) if roles and role in roles else NOTHING
    return Rights(_both(rights.targets, of_role.targets), _both(rights.places, of_role.places))


def _both(one: frozenset[T] | None, other: frozenset[T] | None) -> frozenset[T] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _rights(permits: Permits, points: Sequence[Point]) -> Rights:
    if permits.read_only:
        return NOTHING
    targets = None if permits.targets is None else frozenset(permits.targets)
    if permits.points is None:
        return Rights(targets)
    places = [
        (point.space, at) for point in points if point.name in permits.points for at in range(point.address, point.end)
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
