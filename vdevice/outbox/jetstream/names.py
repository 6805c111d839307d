"""The names in NATS of one device id: streams, bucket, subjects and consumers. Pure; docs/nats.md is their manual.

https://docs.nats.io/nats-concepts/subjects#characters-allowed-and-recommended-for-subject-names
"""

import re

from vdevice.model import TARGETS

_NUMBERS = frozenset(str(number) for number in TARGETS)


def token(device_id: str) -> str:
    """Return a device id as it may stand in subjects, streams and buckets: what else it holds as _ and two hex digits."""
    return re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found.group()):02X}", device_id)


class Names:
    """All names of one device id."""

    def __init__(self, device_id: str) -> None:
        own = token(device_id)
        self.waiting_stream = f"vdevice-waiting-{own}"
        self.dead_stream = f"vdevice-dead-{own}"
        self.done_stream = f"vdevice-done-{own}"
        self.reserve_stream = f"vdevice-reserve-{own}"
        self.bucket = f"vdevice-{own}"
        self.bucket_stream = f"KV_{self.bucket}"
        self.root = f"vdevice.{own}"
        self.reserve = f"{self.root}.reserve"
        self.presence = f"{self.root}.presence"
        self.news = f"{self.root}.news"

    def target(self, number: int | str) -> str:
        """Return the subject of what waits for a target; `*` stands for all, here and below."""
        return f"{self.root}.target.{number}"

    def delayed(self, number: int | str) -> str:
        """Return the subject of what is to wait for a target later."""
        return f"{self.root}.delayed.{number}"

    def accepted(self, number: int | str) -> str:
        """Return the subject of the count of accepted strings."""
        return f"{self.root}.accepted.{number}"

    def dead(self, number: int | str) -> str:
        """Return the subject of the dead letters of a target."""
        return f"{self.root}.dead.{number}"

    def done(self, number: int | str) -> str:
        """Return the subject of what was delivered or discarded."""
        return f"{self.root}.done.{number}"

    def progress(self, number: int | str) -> str:
        """Return the subject of a target's results: its key in the bucket."""
        return f"$KV.{self.bucket}.target.{number}"

    def consumer(self, number: int) -> str:
        """Return the durable consumer of a target."""
        return f"target-{number}"


DELAYED = "delayed"
"""The durable consumer of what is to wait later, of all targets."""


def target_of(subject: str) -> int:
    """Return the target that a subject ends with; 0 where it ends with none."""
    number = subject.rpartition(".")[2]
    return int(number) if number in _NUMBERS else 0
