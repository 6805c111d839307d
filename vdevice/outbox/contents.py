"""What a move carries from one outbox to another. Pure."""

from collections.abc import Collection, Mapping

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

    def without(self, known: Collection[str]) -> "Contents":
        """Return what is new where these event ids are known: what is not taken in must not count as accepted there."""
        totals = dict(self.totals)
        for failed, rows in ((0, self.waiting), (1, self.failed)):
            for row in rows:
                if row["id"] in known and (total := totals.get(row["target"])):
                    totals[row["target"]] = msgspec.structs.replace(
                        total, accepted=max(total.accepted - 1, 0), failed=max(total.failed - failed, 0)
                    )
        waiting, dead = ([row for row in rows if row["id"] not in known] for rows in (self.waiting, self.failed))
        return Contents(waiting, dead, totals)

    def missing(self, found: Mapping[str, str]) -> int:
        """Return how many of the events are not in `found`: values by event id, as they were read back."""
        return sum(found.get(row["id"]) != row["value"] for row in (*self.waiting, *self.failed))
