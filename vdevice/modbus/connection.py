"""One Modbus/TCP connection: its requests, their limits, and answers in the order of the requests.

Theory of operation. Each connection is one pipeline of requests that were received and not answered yet (`pipeline`).

One timer for each connection watches the oldest request. When `modbus.answer_timeout` is over, whatever holds it up, it is
answered 04: what waits for the outbox is undone, and a write that was not begun is not begun any more.

pymodbus listens; docs/decisions/0001 says why its own request handler is not used.
"""

import asyncio
import socket
import time
from typing import Any, Protocol, cast

import msgspec
from pymodbus.constants import ExcCodes

from vdevice.modbus import frames
from vdevice.modbus.frames import Frame, FrameError
from vdevice.modbus.pipeline import Pipeline
from vdevice.modbus.texts import Client
from vdevice.modbus.tls import role_of
from vdevice.modbus.unit import Unit
from vdevice.modbus.unread import Unread

BUSY_ABOVE = 16
"""Requests of one connection that may wait; further ones get exception 06."""

PAUSE_ABOVE = 64
"""Requests, the refused ones among them, above which a connection is not read."""

TURN = BUSY_ABOVE
"""Requests of one connection that are begun at once; then the other connections get their turn."""

UNREAD_SECONDS = 20.0
"""Without a byte taken by a client that does not read its responses, until its connection ends."""

CLOSING_SECONDS = 5.0
"""The same for a connection that is being closed, and for a client to agree to the end of TLS."""


class Host(Protocol):
    """What a connection asks of its server."""

    unit: Unit

    def admit(self, connection: "Connection") -> str:
        """Take it in, or return why it may not stay."""

    def is_allowed(self, address: str) -> bool:
        """Tell whether an address may connect."""

    def released(self, connection: "Connection") -> None:
        """Forget it."""

    def may_ask(self, client: Client) -> bool:
        """Count a request, and tell whether it is within the client's rate."""

    def tell_closed(self, client: str, kind: str, reason: str) -> None:
        """Log why a connection is closed, unless the same was logged of this client a moment ago."""


NOT_ALLOWED = "its address is not in modbus.allow"


class Connected(msgspec.Struct, frozen=True):
    """A connection as the page shows it: `since` in UTC seconds, `last_error` the last exception code, 0 for none."""

    address: str
    name: str
    role: str
    since: float
    requests: int
    last_error: int


class Connection(asyncio.Protocol):
    """One client's connection. `unique_id`, `listener`, `callback_disconnected` and `close` are what pymodbus asks for."""

    def __init__(self, server: Host) -> None:
        self.unique_id = str(id(self))
        self.listener: Any = None
        self._server = server
        self._unit = server.unit
        self._buffer = bytearray()
        self._pipeline = Pipeline(self._unit, self._stored)
        self._paused = self._not_read = False
        self._more: asyncio.Handle | None = None
        self._write_paused = False
        self._ending = False
        self._speaks_tcp = False
        self._timer: asyncio.TimerHandle | None = None
        self.last_seen = time.monotonic()
        self.since = time.time()
        self.requests = 0
        self.last_error = 0
        self.partial_since: float | None = None
        self._unread = Unread()
        self._closing_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or end it where it may not stay."""
        self._transport = cast("asyncio.Transport", transport)
        self.address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        self._role = role_of(transport.get_extra_info("ssl_object"))
        self._client = self._unit.client(self.address, self._role)
        handle = transport.get_extra_info("socket")
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        reason = self._server.admit(self)
        if reason:
            self._end("not admitted", reason)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget the connection; what it stored stays stored."""
        self._ending = True
        self._unit.closed(self._client)
        self._server.released(self)
        if self._timer and not self._pipeline:
            self._timer.cancel()
        if self._more:
            self._more.cancel()

    def data_received(self, data: bytes) -> None:
        """Queue the frames that are whole."""
        if self._ending:
            return
        self.last_seen = time.monotonic()
        if not self._client.connection:
            # Not before: the end of a client's old connection may be seen after the beginning of its new one.
            self._client = self._unit.opened(self._client)
        self._buffer += data
        self._read()

    def eof_received(self) -> bool:
        """Answer what was received before closing: the client may still read."""
        self._ending = True
        if self._role is not None:
            if self._more:
                self._more.cancel()
                self._more = None
            self._read(turn=len(self._buffer))
        self._close_when_answered()
        # TLS knows no half of a connection.
        return self._role is None

    def pause_writing(self) -> None:
        """Read nothing while the client does not read its answers."""
        self._write_paused = True
        self._regulate()

    def resume_writing(self) -> None:
        """Go on reading."""
        self._write_paused = False
        self._regulate()
        self._read()

    def callback_disconnected(self, _exc: Exception | None) -> None:
        """Pymodbus' word for the end of a listener's connections; `drain` ends ours."""

    def close(self) -> None:
        """Close at once; what was received is executed, and not answered."""
        self._ending = True
        self._transport.close()

    def give_up(self) -> None:
        """Answer 04 what waits still, and close."""
        self._pipeline.expire(float("inf"))
        self.close()

    def abort(self) -> None:
        """End the connection now, whatever its client has not read."""
        self._transport.abort()

    @property
    def unanswered_since(self) -> float | None:
        """When the oldest request without a response came, by the monotonic clock."""
        return self._pipeline.oldest_since

    def finish(self) -> None:
        """Receive nothing more, answer what was received, then close."""
        self._ending = True
        self._transport.pause_reading()
        self._close_when_answered()

    def _end(self, kind: str, reason: str) -> None:
        self._server.tell_closed(self._client.name, kind, reason)
        self.finish()

    def connected(self) -> Connected:
        """Return what the page shows of this connection."""
        return Connected(self.address, self._client.name, self._role or "", self.since, self.requests, self.last_error)

    def renew(self) -> None:
        """Take the client's name, rights and rate, and the time to answer, anew from another config."""
        client = self._unit.client(self.address, self._role)
        self._client = client._replace(connection=self._client.connection)
        self._watch(anew=True)
        if not self._ending and not self._server.is_allowed(self.address):
            self._end("not admitted", NOT_ALLOWED)

    def abort_if_unread(self, now: float, unread: float, closing: float) -> None:
        """End it if its client has read nothing for too long, or lets its end wait; limits in seconds."""
        taken_nothing = self._unread.seconds(self._transport.get_write_buffer_size(), now)
        if not self._transport.is_closing():
            if taken_nothing > unread:
                reason = f"it has read nothing of its responses for {unread:g} s"
                self._server.tell_closed(self._client.name, "not read", reason)
                self._transport.abort()
            return
        if self._closing_since is None:
            self._closing_since = now
        if now - self._closing_since > closing and (taken_nothing > closing or not self._unread):
            self._transport.abort()

    def expire(self, now: float, idle: float, frame: float) -> None:
        """Close if idle or holding half a frame for too long; limits in seconds, 0 = none."""
        self.abort_if_unread(now, UNREAD_SECONDS, CLOSING_SECONDS)
        if self._ending or self._pipeline:
            return
        if frame and self.partial_since and now - self.partial_since > frame:
            self._end("half a frame", f"a frame did not arrive whole within {frame:g} s")
        elif idle and now - self.last_seen > idle:
            self._end("idle", f"idle for {idle:g} s")

    def _go_on(self) -> None:
        self._more = None
        self._read()
        self._regulate()
        if self._ending:
            self._close_when_answered()

    def _read(self, turn: int = TURN) -> None:
        """Queue the whole frames of the buffer while there is room; after a turn of them, the others are served first."""
        if self._more:
            return
        try:
            # A frame for serial lines may also read as the start of a Modbus/TCP frame: a connection's first bytes tell.
            if not self._speaks_tcp:
                frames.check_not_serial(self._buffer)
            while not self._paused:
                frame = frames.take(self._buffer)
                if frame is None:
                    break
                self._speaks_tcp = True
                self.partial_since = None
                self._accept(frame)
                turn -= 1
                if turn <= 0 and self._buffer:
                    self._more = asyncio.get_running_loop().call_soon(self._go_on)
                    # What comes meanwhile stays with the system, which lets the client wait.
                    self._regulate()
                    return
        except FrameError as error:
            self._buffer.clear()
            self._end(error.kind, str(error))
        self.partial_since = (self.partial_since or time.monotonic()) if self._buffer and not self._paused else None

    def _accept(self, frame: Frame) -> None:
        busy = len(self._pipeline) >= BUSY_ABOVE or not self._server.may_ask(self._client)
        refusal = self._unit.refuse(frame.pdu, ExcCodes.DEVICE_BUSY) if busy else None
        self._pipeline.add(frame, self.last_seen, self._client, refusal)
        self._pump()
        self._regulate()
        if self._pipeline and self._timer is None:
            self._watch()

    def _regulate(self) -> None:
        self._paused = self._write_paused or len(self._pipeline) > PAUSE_ABOVE
        not_read = self._paused or self._more is not None
        if not_read == self._not_read:
            return
        self._not_read = not_read
        if not_read:
            self._transport.pause_reading()
        elif not self._ending:
            self._transport.resume_reading()

    def _pump(self) -> None:
        """Answer what is at the head and done."""
        done = self._pipeline.take(self._client)
        for _, answer in done:
            if answer[0] & 0x80:
                self.last_error = answer[1]
        self.requests += len(done)
        if done and not self._transport.is_closing():
            self._transport.write(b"".join(frames.encode(frame, answer) for frame, answer in done))

    def _stored(self) -> None:
        self._pump()
        was_paused = self._paused
        self._regulate()
        if was_paused and not self._paused:
            self._read()
        if self._ending:
            self._close_when_answered()

    def _watch(self, *, anew: bool = False) -> None:
        """Look again when the time of the oldest request is over; the timer of an older one that was answered is left."""
        if self._timer and anew:
            self._timer.cancel()
            self._timer = None
        oldest = self._pipeline.oldest_since
        if oldest is not None and self._timer is None:
            left = oldest + self._unit.answer_timeout - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(max(left, 0.0), self._look)

    def _look(self) -> None:
        self._timer = None
        self._pipeline.expire(time.monotonic() - self._unit.answer_timeout)
        self._watch()

    def _close_when_answered(self) -> None:
        if self._paused:
            # Frames that were received while too many waited are still owed an answer.
            self._paused = False
            self._read()
        if not self._pipeline and not self._more and not self._transport.is_closing():
            self._transport.close()
