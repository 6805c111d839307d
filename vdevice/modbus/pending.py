"""A request that waits for the outbox, and how it ends: stored, not stored, or its time is over.

It ends once, whatever happens inside. Where it was not stored, or nobody knows, its effects are undone before it is answered.
"""

import asyncio
from collections.abc import Callable

import structlog

from vdevice.errors import OutboxFailingError, OutboxLateError
from vdevice.model import Stored

log = structlog.get_logger()


def nothing() -> None:
    """Do nothing: where there is nothing to keep or to undo."""


def too_late(seconds: float) -> str:
    """Return why a request is answered 04 whose time, so many seconds, is over."""
    return f"the outbox did not answer within {seconds:g} s (modbus.answer_timeout)"


class Pending:
    """What is to be answered once `stored` is done: `answer` makes the PDU then.

    `keep` or `undo` is called when it ends, and then `on_end`. `error` is why it was not stored, None where it was.
    """

    __slots__ = ("_keep", "_undo", "answer", "ended", "error", "on_end", "stored")

    def __init__(
        self,
        stored: asyncio.Future[list[Stored]],
        answer: Callable[[], bytes],
        keep: Callable[[], None] = nothing,
        undo: Callable[[], None] = nothing,
    ) -> None:
        self.stored = stored
        self.answer = answer
        self.ended = False
        self.error: BaseException | None = None
        self.on_end: Callable[[], None] = nothing
        self._keep = keep
        self._undo = undo
        stored.add_done_callback(self._done)

    def expire(self, reason: str) -> None:
        """End it now: its time is over. What the outbox says later changes nothing any more; what it has said counts."""
        if self.ended:
            return
        if self.stored.done():
            self._end(_error_of(self.stored))
        else:
            self._end(OutboxLateError(f"{reason}; the message may have been stored all the same"))

    def _done(self, stored: asyncio.Future[list[Stored]]) -> None:
        error = _error_of(stored)
        if not self.ended:
            self._end(error)
        elif error is None and self.error is not None:
            ids = [item.event.id for item in stored.result()]
            log.warning("stored after its request was answered 04", event_ids=ids)

    def _end(self, error: BaseException | None) -> None:
        self.ended, self.error = True, error
        try:
            (self._undo if error else self._keep)()
        except Exception as unexpected:
            self.error = unexpected
            log.exception("the effects of a request were not undone")
        self.on_end()


def _error_of(stored: asyncio.Future[list[Stored]]) -> BaseException | None:
    return OutboxFailingError("the outbox was closed") if stored.cancelled() else stored.exception()
