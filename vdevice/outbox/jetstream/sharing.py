"""Which dispatcher serves which target. Pure.

Rendezvous hashing (Thaler and Ravishankar, 1998): each target goes to the dispatcher with the highest hash of both, so that
all agree without talking, and the loss of one moves its targets only. It spares rate limits and connections a change of
hands; order does not rest on it, but on the consumer, which lets one message of a target out at a time.
"""

import hashlib
from collections.abc import Collection


def owner(target: int, dispatchers: Collection[str]) -> str | None:
    """Return the dispatcher that serves a target; None where there is none."""
    return max(dispatchers, key=lambda dispatcher: _weight(target, dispatcher), default=None)


def _weight(target: int, dispatcher: str) -> tuple[bytes, str]:
    return hashlib.blake2b(f"{target}/{dispatcher}".encode(), digest_size=8).digest(), dispatcher
