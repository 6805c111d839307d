"""The Modbus/TCP server: where it listens, who may come in, and how it ends.

pymodbus listens; docs/decisions/0001 says why its own request handler is not used, and `connection` what is used instead.
"""

import asyncio
import ssl
import time
from typing import Any, cast

import structlog
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from vdevice.board import Board
from vdevice.config import Config
from vdevice.descriptors import most_connections
from vdevice.modbus.connection import NOT_ALLOWED, Connected, Connection
from vdevice.modbus.listening import address_of, listening
from vdevice.modbus.rights import Bucket
from vdevice.modbus.texts import Client
from vdevice.modbus.tls import TlsListener
from vdevice.modbus.unit import Unit
from vdevice.repeats import Repeats

FORGET = 60.0
"""Seconds without a request after which a client's rate is forgotten."""

LAST_SECONDS = 1.0
"""Without a byte taken by a client, until the stop does not wait for it any more."""

SWEEP = 0.5
"""Seconds between two looks for connections that are idle or hold half a frame too long."""

log = structlog.get_logger()


class DeviceServer(ModbusTcpServer):
    """Listens with pymodbus, and gives each connection a queue of our own."""

    def __init__(self, config: Config, unit: Unit, board: Board) -> None:
        listen = config.modbus.listen
        # The datastore is never asked: the unit answers.
        nothing = SimDevice(1, [SimData(0, datatype=DataType.REGISTERS, values=0)])
        super().__init__(nothing, address=(listen.host, listen.port))
        self.unit = unit
        self._config = config
        self._most = most_connections(config)
        self._board = board
        self._open: set[Connection] = set()
        self._buckets: dict[str, Bucket] = {}
        tls = config.modbus.tls
        self._closed = Repeats()
        self._tls = TlsListener(tls, lambda: Connection(self), self.why_not, self.tell_closed) if tls else None
        self.tls_address = ""

    def apply(self, config: Config, context: ssl.SSLContext | None) -> None:
        """Go on with other limits and rights, and with other certificates where there are any."""
        self._config, self._most = config, most_connections(config)
        self._buckets.clear()
        if self._tls and context:
            self._tls.apply(context)
        for connection in list(self._open):
            connection.renew()

    def callback_new_connection(self) -> Any:  # noqa: ANN401 (pymodbus wants its own class)
        """Return the protocol of a new connection: pymodbus' hook."""
        return Connection(self)

    async def start(self) -> str:
        """Listen, and return the address as host:port. Raises VdeviceError where that cannot be done."""
        with listening("modbus.listen", self._config.modbus.listen):
            self.transport = await self.call_create()
        if self._tls:
            self.tls_address = self._tls.start()
        return address_of(cast("asyncio.Server", self.transport).sockets[0])

    def admit(self, connection: Connection) -> str:
        """Take in a new connection, or return why it may not stay."""
        self._open.add(connection)
        self._board.connections[connection.address] += 1
        return self.why_not(connection.address, 0)

    def why_not(self, address: str, more: int = 1) -> str:
        """Return why an address may not have so many connections `more`, nothing where it may."""
        limits = self._config.modbus
        if not self.is_allowed(address):
            return NOT_ALLOWED
        if len(self._open) + more > self._most:
            why = "modbus.max_connections" if self._most == limits.max_connections else "the limit of open files"
            return f"more than {self._most} connections ({why})"
        each = limits.max_connections_per_address
        if each and self._board.connections[address] + more > each:
            return f"more than {each} connections of its address (modbus.max_connections_per_address)"
        return ""

    def is_allowed(self, address: str) -> bool:
        """Tell whether an address may connect, now."""
        allow = self._config.modbus.allow
        return not allow or any(address in network for network in allow)

    def connected(self) -> list[Connected]:
        """Return all connections, the oldest first."""
        return sorted((connection.connected() for connection in self._open), key=lambda one: one.since)

    def may_ask(self, client: Client) -> bool:
        """Count a request of a client, and tell whether it is within its rate."""
        if client.rate is None:
            return True
        bucket = self._buckets.get(client.name)
        if bucket is None:
            bucket = self._buckets[client.name] = Bucket(client.rate)
        return bucket.take(time.monotonic())

    def tell_closed(self, client: str, kind: str, reason: str) -> None:
        """Log why a connection is closed; a client that comes again and again is one line, then a count."""
        about = f"{kind} of {client}"
        self._closed.tell(log.warning, "connection closed", about, time.monotonic(), client=client, reason=reason)

    def released(self, connection: Connection) -> None:
        """Forget a connection that was closed."""
        self._open.discard(connection)
        self.active_connections.pop(connection.unique_id, None)
        self._board.connections[connection.address] -= 1
        if not self._board.connections[connection.address]:
            del self._board.connections[connection.address]

    async def run(self) -> None:
        """Take TLS connections in, and close what is idle or hangs, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            if self._tls:
                group.create_task(self._tls.run())

    async def _sweep(self) -> None:
        """Close idle connections and half frames, for ever."""
        while True:
            await asyncio.sleep(SWEEP)
            try:
                self._look_at_connections(time.monotonic())
            except Exception:
                log.exception("looking for idle connections failed")

    def _look_at_connections(self, now: float) -> None:
        limits = self._config.modbus
        waiting = [since for connection in self._open if (since := connection.unanswered_since) is not None]
        self._board.unanswered_since = min(waiting, default=None)
        for connection in list(self._open):
            connection.expire(now, limits.idle_timeout, limits.frame_timeout)
        for name in [name for name, bucket in self._buckets.items() if now - bucket.used_at > FORGET]:
            del self._buckets[name]
        self._closed.tell_due(log.warning, now)
        self.unit.tell_due(now)

    async def drain(self, seconds: float) -> None:
        """Listen no more, answer what was received, then close all connections, after `seconds` at the latest."""
        # pymodbus' close() would close its connections with their answers still under way.
        cast("Any", self.transport).close()
        if self._tls:
            self._tls.close()
        for connection in list(self._open):
            connection.finish()
        deadline = time.monotonic() + seconds
        while self._open and (now := time.monotonic()) < deadline:
            for connection in list(self._open):
                # Who has read nothing for so long is not waited for.
                connection.abort_if_unread(now, LAST_SECONDS, LAST_SECONDS)
            await asyncio.sleep(0.01)
        for connection in list(self._open):
            connection.give_up()
        await asyncio.sleep(0.01)
        for connection in list(self._open):
            connection.abort()
