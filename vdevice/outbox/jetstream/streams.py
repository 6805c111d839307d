"""The streams and the bucket of one device id: made where they are missing, changed where a setting has changed."""

from typing import Any, NamedTuple

from vdevice.config.schema import Outbox
from vdevice.model import TARGETS
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.names import Names
from vdevice.outbox.jetstream.protocol import BrokerError
from vdevice.outbox.jetstream.reserve import PIECES

DUPLICATES = 120
"""Seconds for which the id of a message is remembered."""

IN_USE, NOT_FOUND = 10058, 10059
"""err_code of JetStream: the stream is there with other settings; there is no such stream."""


async def make(broker: Broker, names: Names, settings: Outbox) -> None:
    """Make all streams as they are to be. Raises BrokerError."""
    for config in configs(names, settings):
        try:
            await broker.api(f"STREAM.CREATE.{config['name']}", config)
        except BrokerError as error:
            if error.code != IN_USE:
                raise
            await broker.api(f"STREAM.UPDATE.{config['name']}", config)


class Life(NamedTuple):
    """When a stream was made, how far it has come, and how many messages it has."""

    began: str
    last_seq: int
    messages: int


async def lives(broker: Broker, names: Names) -> dict[str, Life]:
    """Return the life of each stream. Raises BrokerError, also where one is missing."""
    found = {}
    for name in (
        names.waiting_stream, names.bucket_stream, names.dead_stream, names.done_stream, names.reserve_stream,
    ):  # fmt: skip
        info = await broker.api(f"STREAM.INFO.{name}")
        found[name] = Life(info["created"], info["state"]["last_seq"], info["state"]["messages"])
    return found


def check_same(made: dict[str, Life], before: dict[str, Life]) -> None:
    """Raise BrokerError where a stream was deleted and made anew meanwhile."""
    for name, life in made.items():
        if life.began != before[name].began:
            raise BrokerError(f"the stream {name} was made anew")


def configs(names: Names, settings: Outbox) -> list[dict[str, Any]]:
    """Return the settings of the streams: what waits, dead letters, what is done, the reserve, the bucket of results."""
    common = {
        "storage": "file",
        "num_replicas": settings.replicas,
        "allow_direct": True,
        "duplicate_window": int(DUPLICATES * 1e9),
    }
    return [
        {
            **common,
            "name": names.waiting_stream,
            "subjects": [names.target("*"), names.delayed("*"), names.accepted("*")],
            "retention": "workqueue",
            "discard": "new",
            # The counts stand in the same stream, so that they change in the batch of the strings that they count.
            "max_msgs": settings.max_messages + len(TARGETS),
            "allow_atomic": True,
            "allow_rollup_hdrs": True,
            "republish": {"src": names.accepted(">"), "dest": f"{names.news}.accepted.>"},
        },
        {
            **common,
            "name": names.dead_stream,
            "subjects": [names.dead("*")],
            "max_age": _age(settings.keep_failed * 24),
        },
        {**common, "name": names.done_stream, "subjects": [names.done("*")], "max_age": _age(settings.keep_delivered)},
        {
            **common,
            "name": names.reserve_stream,
            "subjects": [names.reserve],
            "discard": "new",
            "max_msgs": PIECES + 1,
        },
        {
            **common,
            "name": names.bucket_stream,
            "subjects": [f"$KV.{names.bucket}.>"],
            "max_msgs_per_subject": 1,
            "discard": "new",
            "deny_delete": True,
            "allow_rollup_hdrs": True,
            "republish": {"src": names.progress(">"), "dest": f"{names.news}.progress.>"},
        },
    ]


def _age(hours: float) -> int:
    """Return hours as JetStream has them, in nanoseconds; 0 would mean for ever, and 100 ms is the least it takes."""
    least = DUPLICATES * 1_000_000_000
    return max(int(hours * 3600e9), least)
