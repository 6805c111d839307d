"""Room in NATS for results and dead letters, kept for the moment when the account or the server has none left.

Without it a full store is a deadlock: a result cannot be recorded, so no message leaves, so no room becomes free. Nobody tells
a client how much a server may keep; so a stream of its own holds some bytes of nothing, which are given up when they are
needed. Until they are back, nothing new is accepted (exception 06), and the log of what was delivered is not kept: it makes
room, too.
"""

from collections.abc import Callable

import structlog

from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.names import Names
from vdevice.outbox.jetstream.protocol import NO_MESSAGE, STORE_FULL, STREAM_FULL, BrokerError, Message

PIECES = 4
PIECE_BYTES = 256 * 1024
"""A MiB: some thousand results at once, or what some thousand dead letters take more than the waiting messages they were."""

log = structlog.get_logger()


class Reserve:
    """The reserve of one device id; `on_change` is told when it is short, or whole again."""

    def __init__(self, broker: Broker, names: Names, on_change: Callable[[bool], None] = lambda _short: None) -> None:
        self.is_short = False
        self._is_refused = False
        self._broker = broker
        self._names = names
        self._on_change = on_change

    async def make_room(self) -> bool:
        """Give up the reserve, else half of the log of deliveries; False where there is neither. Raises BrokerError."""
        self.set_short(short=True)
        # The others shall not take what becomes free.
        await self._broker.tell(f"{self._names.news}.reserve", b"short")
        if await self._purge(self._names.reserve_stream, 0):
            return True
        return await self._cut_log()

    async def _cut_log(self) -> bool:
        """Give up the older half of what is kept for the log only: delivered and discarded; False where there is none."""
        info = await self._broker.api(f"STREAM.INFO.{self._names.done_stream}")
        return await self._purge(self._names.done_stream, int(info["state"]["messages"]) // 2)

    async def _purge(self, stream: str, keep: int) -> bool:
        answer = await self._broker.api(f"STREAM.PURGE.{stream}", {"keep": keep} if keep else {})
        return int(answer.get("purged", 0)) > 0

    async def look(self, pieces: int) -> None:
        """Fill the reserve, of which `pieces` are there, as far as there is room. Raises BrokerError."""
        try:
            for _ in range(pieces, PIECES):
                await self._publish()
            if self._is_refused:
                # More is accepted only when there is some room beside the reserve; a little would be gone at once.
                await self._try()
        except BrokerError as error:
            if error.code in STORE_FULL:
                self.set_short(short=True)
                await self._cut_log()
                return
            # Another process has filled it.
            if error.code not in STREAM_FULL | NO_MESSAGE:
                raise
        self._is_refused = False
        self.set_short(short=False)

    async def _publish(self) -> int:
        size = min(PIECE_BYTES, self._broker.client.max_payload // 2)
        return (await self._broker.publish_bare(Message(self._names.reserve, bytes(size)))).seq

    async def _try(self) -> None:
        await self._broker.delete(self._names.reserve_stream, await self._publish())

    async def refused(self, *, is_sure: bool) -> bool:
        """Note that something was refused, surely or perhaps because there is no room; tell whether so. Raises BrokerError."""
        if not is_sure:
            try:
                await self._try()
            except BrokerError as error:
                is_sure = error.code in STORE_FULL
        if is_sure:
            self._is_refused = True
            self.set_short(short=True)
        return is_sure

    def set_short(self, *, short: bool) -> None:
        """Note whether the reserve is whole."""
        if short != self.is_short:
            self.is_short = short
            if short:
                log.error("NATS is full", reason="its account or server has no room; messages are refused until it has")
            else:
                log.info("NATS has room again")
        self._on_change(short)
