"""What a dispatcher has taken, and until when it is surely its own.

The server gives a message to another dispatcher LEASE seconds after the last sign that the first one works on it. A process
that was stopped (SIGSTOP, a snapshot of its machine, a disk that stalls) does not notice; so it looks at a clock that goes on
meanwhile before it sends anything. Pure but for that clock.
"""

import time
from typing import NamedTuple

import msgspec
from nats.aio.msg import Msg

from vdevice.model import Stored
from vdevice.outbox.jetstream.documents import name_of

LEASE = 5.0
"""Seconds after which the server gives a message to another dispatcher, unless the one that has it renews."""

FRESH = LEASE - 0.5
"""Seconds after a renewal during which an attempt may begin."""

PAUSE = 1.0
"""Seconds between two looks at the clock from which on the process counts as stopped meanwhile."""

ERA = 1 << 48
"""What is added to sequences once the stream has begun anew, so that no two messages of a process have the same."""


def now() -> float:
    """Return seconds of a clock that is never set, and goes on while the machine is suspended where the system has one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Held(NamedTuple):
    """A message that was taken; its lease is `renewed`, in seconds of `now()`."""

    message: Msg
    stored: Stored
    name: str
    renewed: float


class Leases:
    """All that is held, by the sequence that the dispatcher knows: the stream's, and ERA for each time that it began anew."""

    def __init__(self) -> None:
        self.held: dict[int, Held] = {}
        self._era = 0
        self._looked = now()
        self._stopped_at, self._old_until = 0.0, 0.0

    def look(self) -> None:
        """Note that the process runs; to be called several times a second."""
        moment = now()
        if moment - self._looked > PAUSE:
            # What came in before it stopped may be handled only now: its lease began then.
            self._stopped_at, self._old_until = self._looked, moment + PAUSE
        self._looked = moment

    def begin_anew(self) -> None:
        """Tell from now on the stream's sequences from those before."""
        self._era += ERA

    def hold(self, seq: int, message: Msg, stored: Stored) -> Stored | None:
        """Hold a message of a stream sequence; return it as it is known from now on, None if it is held already."""
        name = name_of(seq, stored.event.id)
        known = self.held.get(self._era + seq)
        if known and known.name != name:
            self.begin_anew()
            known = None
        place = self._era + seq
        own = known.stored if known else msgspec.structs.replace(stored, seq=place)
        began = self._stopped_at if now() < self._old_until else self._looked
        self.held[place] = Held(message, own, name, began)
        return own if known is None else None

    def has(self, stored: Stored) -> bool:
        """Tell whether a message is this process's to send now; one whose lease ran out is let go, for whoever gets it next."""
        held = self.held.get(stored.seq)
        if held and now() - held.renewed <= FRESH:
            return True
        self.held.pop(stored.seq, None)
        return False

    def may_be_anothers(self, place: int) -> bool:
        """Tell whether the lease of a message has run out."""
        held = self.held.get(place)
        return held is None or now() - held.renewed > FRESH

    def renewed(self, place: int, moment: float) -> None:
        """Note that the server heard that a message is worked on."""
        if held := self.held.get(place):
            self.held[place] = held._replace(renewed=max(held.renewed, moment))

    def is_of_now(self, place: int) -> bool:
        """Tell whether a message is of the stream as it is now."""
        return place >= self._era
