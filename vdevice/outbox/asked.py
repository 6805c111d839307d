"""A request to the writer process with whoever waits for it: a future, and what is called before that is done.

What is wrong in a call back must not keep the requests behind it from their results, so it is logged and goes no further.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog

from vdevice.errors import OutboxFailingError, OutboxLateError
from vdevice.outbox.messages import Put, Request

log = structlog.get_logger()


class Asked(NamedTuple):
    """A request without a result yet: `done` takes its result, or None, before its future does."""

    frame: bytes
    kind: type[Request]
    asked_at: float
    seconds: float
    future: asyncio.Future[Any]
    convert: Callable[[Any], Any]
    done: Callable[[Any], None] | None

    @property
    def is_put(self) -> bool:
        """Whether it stores messages."""
        return self.kind is Put


def answer(asked: Asked, raw: Any) -> None:  # noqa: ANN401 (each request has its own result)
    """Give a request the result that the writer sent."""
    try:
        result = asked.convert(raw)
    except Exception as error:
        log.exception("internal error", request=asked.kind.__name__)
        refuse(asked, f"its result cannot be read ({error})")
        return
    _call_done(asked, result)
    if not asked.future.done():
        asked.future.set_result(result)


def refuse(asked: Asked, reason: str) -> None:
    """Fail one request that cannot be done, with an outbox that is as good as it was."""
    _call_done(asked, None)
    _fail(asked.future, OutboxFailingError(f"the outbox cannot do this ({reason})"))


def lose(asked: Asked, reason: str, *, may_be_done: bool) -> None:
    """Fail a request because the outbox fails; where it may be done all the same, with OutboxLateError."""
    _call_done(asked, None)
    kind = OutboxLateError if may_be_done else OutboxFailingError
    _fail(asked.future, kind(f"the outbox cannot be written ({reason}); see the disk it is on"))


def _call_done(asked: Asked, result: Any) -> None:  # noqa: ANN401 (as `answer`)
    """Call back. What is wrong there must not keep the requests behind it from their results."""
    if asked.done:
        try:
            asked.done(result)
        except Exception:
            log.exception("internal error", request=asked.kind.__name__)


def _fail(future: asyncio.Future[Any], error: OutboxFailingError) -> None:
    if not future.done():
        future.set_exception(error)
        # A future that nobody waits for any more (a client that left) is no error of its own.
        future.exception()
