"""What goes to JetStream and comes back: messages, where they are, and its errors by their number.

https://github.com/nats-io/nats-server/blob/main/server/errors.json has all numbers.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from vdevice.clean import one_line, shorten
from vdevice.errors import OutboxFailingError

MOST_WORDS = 300
"""Characters of what the server says that are kept."""

WRONG_LAST = 10071
"""err_code of JetStream: what was expected to be the last message of a subject is not."""

STREAM_FULL = frozenset({10077, 10122})
"""err_code of JetStream: the stream has as many messages as it may have."""

STORE_FULL = frozenset({10002, 10023, 10047})
"""err_code of JetStream: the account or the server has no room."""

NO_MESSAGE = frozenset({10037, 10057, 10043})
"""err_code of JetStream: there is no such message (any more)."""


class BrokerError(OutboxFailingError):
    """NATS did not do what it was asked for; `code` is the err_code of JetStream, 0 where none answered."""

    def __init__(self, message: str, code: int = 0) -> None:
        self.code = code
        super().__init__(message)


class Message(NamedTuple):
    """A message to publish."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})


class Kept(NamedTuple):
    """A message of a stream."""

    seq: int
    subject: str
    data: bytes


class Published(NamedTuple):
    """Where a message is now: `is_duplicate` says that NATS knew its id, and stored nothing."""

    seq: int
    is_duplicate: bool


def words(error: Exception) -> str:
    """Return what an error of the client or the system says."""
    return said(str(error).removeprefix("nats: ")) or type(error).__name__


def said(text: object) -> str:
    """Return a text of the server as it may stand in the log and in registers."""
    return shorten(one_line(str(text)), MOST_WORDS)
