"""What the other rooms need of an outbox, whichever keeps the events, and the choice of one by `outbox.url`."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, Self

from vdevice.board import Board
from vdevice.config import Config, Target
from vdevice.errors import VdeviceError
from vdevice.model import Event, EventState, Outcome, Stored
from vdevice.outbox import letters
from vdevice.outbox.letters import Row
from vdevice.outbox.sqlite import SqliteOutbox

Role = Literal["all", "device", "dispatcher"]
"""What a process does: take strings over Modbus, deliver them, or both."""


class Outbox(Protocol):
    """An open outbox. `async with` opens and closes it.

    `on_stored` is called with what was stored for this device; `on_outside_change` when somebody else has changed what
    waits.
    """

    on_stored: Callable[[list[Stored]], None]
    on_outside_change: Callable[[], None]

    async def __aenter__(self) -> Self:
        """Open it."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Close it; what was asked for is done first."""

    def apply(self, config: Config) -> None:
        """Go on with another config."""

    def put(self, events: Sequence[Event], changed_only: frozenset[int] = frozenset()) -> asyncio.Future[list[Stored]]:
        """Store the events of one request, all or none; the future is done once they are safe."""

    def serve(self, targets: Collection[Target], offer: Callable[[list[Stored]], None]) -> None:
        """Offer what waits for these targets from now on, as it comes."""

    def fetch(self, target: int, after: int, limit: int, now: float) -> Awaitable[tuple[list[Stored], float | None]]:
        """Return the next events that wait for a target, in order, behind seq `after`, and when a delayed one is due."""

    def holds(self, stored: Stored) -> bool:
        """Tell whether an event is this process's to send now; one that is not is offered again to whoever is to send it."""

    def retry(self, stored: Stored, outcome: Outcome) -> Awaitable[bool]:
        """Record a failed attempt whose event goes on waiting; False if it waits no more."""

    def finish(self, stored: Stored, outcome: Outcome, now: float) -> Awaitable[bool]:
        """Record how an event ended; False if it was ended already."""

    def purge(self, delivered_before: float, failed_before: float) -> Awaitable[int]:
        """Delete some events whose time to be kept is over; return how many, 0 when none is left."""

    def shift(self, jump: float, now: float, started: float) -> Awaitable[None]:
        """Let times follow a clock that was set by `jump` seconds to `now`; what ended before `started` has another clock."""

    async def probe(self) -> None:
        """See whether the outbox works, and what others changed. Raises OutboxFailingError."""


class Letters(Protocol):
    """The events of an outbox, for a person: list, show, replay and discard them."""

    def select(
        self,
        states: Sequence[EventState],
        target: int | None = None,
        limit: int = 100,
        *,
        words: str = "",
        among: int = -1,
    ) -> list[Row]:
        """Return the newest events in these states, newest first; a limit of -1 is none.

        With `words`, those of the newest `among` whose value or reason holds them, in capitals or not.
        """

    def oldest(self) -> float:
        """Return since when the oldest string waits (UTC seconds), 0 where none does."""

    def find(self, event_id: str) -> list[Row]:
        """Return the first 100 events whose id starts with `event_id`, by id: the one that is it comes first."""

    def replay(self, rows: Sequence[Row]) -> int:
        """Queue dead letters again, behind all that waits, with the same ids; return how many were dead letters."""

    def discard(self, rows: Sequence[Row], reason: str = "") -> int:
        """End waiting events and dead letters without delivery, for a reason if any; return how many there were."""

    def pause(self, target: int, *, paused: bool) -> bool:
        """Let what waits for a target wait on, or be delivered again; False if it is so already."""


def open_letters(config: Config) -> AbstractContextManager[Letters]:
    """Return the events of the outbox that `outbox.url` names, to be opened. Raises VdeviceError."""
    if config.outbox.is_nats:
        from vdevice.outbox.jetstream import letters as nats_letters  # noqa: PLC0415 (see below)

        return nats_letters.opened(config)
    return letters.opened(config.outbox_file)


def open_outbox(config: Config, board: Board, role: Role) -> Outbox:
    """Return the outbox that `outbox.url` names, to be opened. Raises VdeviceError where the role needs another."""
    if config.outbox.is_nats:
        # Importing it takes a quarter of a second that nobody without NATS should wait.
        from vdevice.outbox.jetstream.outbox import NatsOutbox  # noqa: PLC0415

        return NatsOutbox(config, board, role)
    if role != "all":
        raise VdeviceError(
            f"--role {role} needs an outbox that several processes share; set outbox.url to nats://…, or use --role all"
        )
    return SqliteOutbox(config.outbox_file, board, config.outbox.max_messages, config.modbus.answer_timeout)
