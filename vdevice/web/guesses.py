"""How often one may guess a password: who waits for theirs to be checked, and who tried too often. Pure; time is passed in.

A try is counted before it is checked, so that many at once are no more than many one after the other. It is counted for
address and name together: whoever guesses keeps only themselves out, not the others behind the same proxy.
"""

import hashlib
import ipaddress
from collections import Counter, OrderedDict

from vdevice.errors import VdeviceError

TRIES, PAUSE = 5, 30.0
"""So many tries for one name from one place, and it waits so many seconds before each further one."""

FORGET = 3600.0
"""Seconds after the last try until it is as if there had been none."""

MOST_PLACES = 4096
"""Places and names that are remembered; the one that tried longest ago makes room."""

QUEUE, QUEUE_OF_ONE = 8, 3
"""Passwords that may wait for their check, in all and from one place: each takes 64 MiB and a core when its turn comes."""


class ThrottledError(VdeviceError):
    """Too many tries, or too many at once."""


class Guesses:
    """The tries of a device's visitors."""

    def __init__(self) -> None:
        self._tries: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._waiting: Counter[str] = Counter()

    def begin(self, address: str, name: str, now: float) -> None:
        """Count a try, which takes a place in the queue until `end`. Raises ThrottledError."""
        place = place_of(address)
        if self._waiting.total() >= QUEUE or self._waiting[place] >= QUEUE_OF_ONE:
            raise ThrottledError("too many sign in at once; try again in a moment")
        key = (place, _short(name))
        count, last = self._tries.get(key, (0, now))
        if now - last >= FORGET:
            count = 0
        if count >= TRIES and now - last < PAUSE:
            raise ThrottledError(f"too many wrong passwords; wait {PAUSE:.0f} s")
        self._tries[key] = (count + 1, now)
        self._tries.move_to_end(key)
        if len(self._tries) > MOST_PLACES:
            self._tries.popitem(last=False)
        self._waiting[place] += 1

    def end(self, address: str) -> None:
        """Give the place in the queue back."""
        place = place_of(address)
        self._waiting[place] -= 1
        if not self._waiting[place]:
            del self._waiting[place]

    def forget(self, address: str, name: str) -> None:
        """Forget the tries for a name: one was right."""
        self._tries.pop((place_of(address), _short(name)), None)

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._tries)


def place_of(address: str) -> str:
    """Return what is taken for one visitor: an IPv4 address, or the /64 of an IPv6 one, which one machine has as a whole."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return _short(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), 64), strict=False))


def _short(text: str) -> str:
    # Somebody's text may be as long as a body.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
