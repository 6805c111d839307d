"""What a move carries from one outbox to another. Pure."""

from collections.abc import Mapping

import msgspec

from vdevice.outbox.letters import Row

SAME = "this is the same outbox; name another one"


class Totals(msgspec.Struct, frozen=True, array_like=True):
    """The counters of a target, the digest of its last string in hex, and its last outcome."""

    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    discarded: int = 0
    digest: str = ""
    http_status: int = 0
    error: int = 0
    error_text: str = ""
    latency_ms: int = 0
    finished_at: int = 0
    paused: bool = False


class Contents(msgspec.Struct, frozen=True):
    """The events that wait and the dead letters, oldest first, and the counters of each target that has any."""

    waiting: list[Row]
    failed: list[Row]
    totals: dict[int, Totals]

    def missing(self, found: Mapping[str, str]) -> int:
        """Return how many of the events are not in `found`: values by event id, as they were read back."""
        return sum(found.get(row["id"]) != row["value"] for row in (*self.waiting, *self.failed))
