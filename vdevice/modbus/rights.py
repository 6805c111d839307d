"""What a client may write, and how fast it may ask, worked out once for each connection. Pure but for the clock.

What its address may write stands in [modbus.clients], what the role of its certificate may in [modbus.tls.roles]; who has
both may write what both permit.

Who may not write gets exception 01, as the Modbus/TCP Security Protocol Specification (v2.1, 2018) has it for a request that
its role is not authorized for; reading is for everyone who may connect.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from vdevice.config import Config
from vdevice.config.schema import Permits, Point

T = TypeVar("T")
BURST = 1.0
"""Seconds of its rate that a client may use at once."""


class Rights(NamedTuple):
    """The targets that a client may write, and the bits of registers and coils of points; None is all of them."""

    targets: frozenset[int] | None = None
    places: Mapping[tuple[str, int], int] | None = None

    def may_write_target(self, target: int) -> bool:
        """Tell whether a string for a target may be written."""
        return self.targets is None or target in self.targets

    def may_write_points(self, space: str, address: int, count: int, bits: int = -1) -> bool:
        """Tell whether each register or coil of a range may be written; `bits` are those that are written of each."""
        places = self.places
        if places is None:
            return True
        bits &= ALL_BITS
        # A mask that leaves all as it is needs the register as well.
        return all(
            bits & ~places.get((space, at), 0) == 0 and (space, at) in places for at in range(address, address + count)
        )


ALL_BITS = 0xFFFF
EVERYTHING = Rights()
NOTHING = Rights(frozenset(), {})


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
    targets, places = (rights.targets, of_role.targets), (rights.places, of_role.places)
    return Rights(
        _both(*targets, lambda one, other: one & other),
        _both(*places, lambda one, other: {place: bits & other.get(place, 0) for place, bits in one.items()}),
    )


def _both(one: T | None, other: T | None, common: Callable[[T, T], T]) -> T | None:
    """Return what both permit, where None permits all."""
    if one is None or other is None:
        return other if one is None else one
    return common(one, other)


def _rights(permits: Permits, points: Sequence[Point]) -> Rights:
    if permits.read_only:
        return NOTHING
    targets = None if permits.targets is None else frozenset(permits.targets)
    if permits.points is None:
        return Rights(targets)
    mine = [point for point in points if point.name in permits.points]
    places: dict[tuple[str, int], int] = {
        (point.space, at): ALL_BITS for point in mine for at in range(point.address, point.end)
    }
    # Points overlap in the bits of a register only; those that no point names go with the ones that he has.
    for point in points:
        if point.bit is not None and point.name not in permits.points and (point.space, point.address) in places:
            places[point.space, point.address] &= ~(1 << point.bit)
    return Rights(targets, places)


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
