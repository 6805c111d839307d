"""The connection to NATS: it comes up by itself, says when it is up, and does what the outbox asks of JetStream.

JetStream's API is JSON over requests: https://docs.nats.io/reference/reference-protocols/nats_api_reference. Atomic batches
are ADR-50, batched reads ADR-31 (https://github.com/nats-io/nats-architecture-and-design).
"""

import asyncio
import base64
import contextlib
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import nats.errors
import nkeys
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from vdevice.config.schema import Outbox
from vdevice.outbox.jetstream.protocol import NO_MESSAGE, STORE_FULL, BrokerError, Kept, Message, Published, said, words

REQUEST = 1.0
"""Seconds that the server may take to answer."""

AGAIN = 0.5
"""Seconds between two attempts to come up."""

RECONNECT, CONNECT, PING = 0.2, 2, 10
"""Seconds between two attempts at one server, for one attempt, and between two looks whether the server still answers."""

OLDEST_SERVER = (2, 12)
"""The first server with atomic batches."""

READ_AT_ONCE = 256


log = structlog.get_logger()


Hearer = Callable[[Msg], Awaitable[None]]


class Broker:
    """One connection to a NATS server or cluster. `run` keeps it up; `set_up` is awaited each time before it counts as up.

    `hear` has a callback for each subject that is listened to; `reason` says why it is not up.
    """

    def __init__(
        self, settings: Outbox, name: str, set_up: Callable[[], Awaitable[None]], hear: Mapping[str, Hearer]
    ) -> None:
        self.is_up = False
        self.ups = 0
        self.came_up = asyncio.Event()
        self.on_change: Callable[[bool], None] = lambda _up: None
        self.make_room: Callable[[], Awaitable[bool]] = _no_room
        self.client = Client()
        self._settings = settings
        self._name = name
        self._set_up = set_up
        self._hear = hear
        self._look = asyncio.Event()
        self.reason = ""
        self._closed = False

    async def run(self) -> None:
        """Connect, and come up again whenever the connection or the stream was lost, until it is closed."""
        while not self._closed:
            self._look.clear()
            await self._come_up()
            await self._look.wait()

    async def close(self) -> None:
        """Close the connection; what was published is sent first."""
        self.is_up, self._closed = False, True
        self._look.set()
        if self.client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self.client.flush(1)
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.client.close()

    def lost(self, reason: str) -> None:
        """Count as down until it was set up anew."""
        if self.is_up:
            self.is_up = False
            self.came_up.clear()
            log.error("outbox lost", outbox=self._settings.url, reason=reason)
            self.on_change(False)
        self._look.set()

    async def _connect(self) -> None:
        """Connect, trying all servers in turn for as long as it takes. Raises OSError where a file cannot be used."""
        settings = self._settings
        self.client = Client()

        async def disconnected() -> None:
            self.lost("disconnected")

        async def reconnected() -> None:
            self._look.set()

        async def on_error(error: Exception) -> None:
            if not self.is_up:
                self._say("outbox not reachable", error)

        await self.client.connect(
            servers=settings.servers,
            name=self._name,
            error_cb=on_error,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT,  # type: ignore[arg-type]
            connect_timeout=CONNECT,
            ping_interval=PING,
            tls=_tls(settings),
            user_credentials=settings.credentials,
        )
        for subject, hearer in self._hear.items():
            await self.client.subscribe(subject, cb=hearer)

    async def _come_up(self) -> None:
        while not (self.is_up or self._closed):
            try:
                if not self.client.is_connected and not self.client.is_reconnecting:
                    await self._connect()
                self._check_version()
                await self._set_up()
            except (BrokerError, nats.errors.Error, nkeys.NkeysError, OSError, ValueError) as error:
                self._say("outbox not ready", error)
                await asyncio.sleep(AGAIN)
            else:
                self.is_up, self.reason = True, ""
                self.ups += 1
                self.came_up.set()
                log.info("outbox up", outbox=self._settings.url)
                self.on_change(True)

    def _say(self, what: str, error: Exception) -> None:
        reason = words(error)
        if reason != self.reason:
            log.error(what, outbox=self._settings.url, reason=reason)
        self.reason = reason

    def _check_version(self) -> None:
        version = self.client.connected_server_version
        if (version.major, version.minor) < OLDEST_SERVER:
            raise BrokerError(f"the NATS server is {version.major}.{version.minor}; vdevice needs 2.12 or newer")

    def _check_connected(self) -> None:
        # The client keeps what is published meanwhile, and would send it when nobody waits for it any more.
        if not self.client.is_connected:
            raise BrokerError("not connected")

    async def api(self, name: str, request: object = None) -> dict[str, Any]:
        """Ask JetStream's API. Raises BrokerError."""
        return await self._ask(f"$JS.API.{name}", msgspec.json.encode(request or {}))

    async def tell(self, subject: str, data: bytes) -> None:
        """Publish to whoever listens now. Raises BrokerError."""
        self._check_connected()
        try:
            await self.client.publish(subject, data)
        except (nats.errors.Error, OSError) as error:
            raise BrokerError(words(error)) from error

    async def publish(self, message: Message) -> Published:
        """Publish to a stream; return where the message is there. Where there is no room, some is made. Raises BrokerError."""
        try:
            return await self.publish_bare(message)
        except BrokerError as error:
            if error.code not in STORE_FULL or not await self.make_room():
                raise
        return await self.publish_bare(message)

    async def publish_bare(self, message: Message) -> Published:
        """Publish to a stream, if there is room; return where the message is there. Raises BrokerError."""
        answer = await self._ask(*message)
        return Published(int(answer["seq"]), bool(answer.get("duplicate")))

    async def publish_once(self, stream: str, message: Message, message_id: str) -> None:
        """Publish, unless the stream has a message of this Nats-Msg-Id, which holds `message_id`. Raises BrokerError.

        The server remembers an id for a while, also where its message was deleted: that is looked at.
        """
        published = await self.publish(message)
        if published.is_duplicate:
            there = await self.at(stream, published.seq)
            if there is None or message_id.encode() not in there.data:
                await self.publish(message._replace(headers={}))

    async def newest(self, stream: str, subject: str) -> Kept | None:
        """Return the last message of a subject, as the stream's leader has it now, or None. Raises BrokerError."""
        return await self._get(stream, {"last_by_subj": subject})

    async def at(self, stream: str, seq: int) -> Kept | None:
        """Return the message of a sequence, as the stream's leader has it now, or None. Raises BrokerError."""
        return await self._get(stream, {"seq": seq})

    async def _get(self, stream: str, request: dict[str, Any]) -> Kept | None:
        try:
            message = (await self.api(f"STREAM.MSG.GET.{stream}", request))["message"]
        except BrokerError as error:
            if error.code in NO_MESSAGE:
                return None
            raise
        return Kept(int(message["seq"]), message["subject"], base64.b64decode(message.get("data", "")))

    async def delete(self, stream: str, seq: int) -> None:
        """Delete a message, if it is there. Raises BrokerError."""
        try:
            await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
        except BrokerError as error:
            if error.code not in NO_MESSAGE:
                raise

    async def subjects(self, stream: str, subject: str) -> dict[str, int]:
        """Return how many messages a stream has of each subject that fits. Raises BrokerError."""
        info = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
        return info["state"].get("subjects") or {}

    async def batch(self, messages: Sequence[Message]) -> int:
        """Publish to one stream all messages or none; return the last one's sequence. Raises BrokerError."""
        self._check_connected()
        batch = {"Nats-Batch-Id": uuid.uuid4().hex}
        last = len(messages) - 1
        try:
            # Publishing waits, too, where the server reads no more and the buffers are full.
            async with asyncio.timeout(REQUEST):
                for place, message in enumerate(messages[:last]):
                    headers = {**message.headers, **batch, "Nats-Batch-Sequence": str(place + 1)}
                    await self.client.publish(message.subject, message.data, headers=headers)
        except (nats.errors.Error, OSError) as error:
            raise BrokerError(words(error)) from error
        commit = {**messages[last].headers, **batch, "Nats-Batch-Sequence": str(last + 1), "Nats-Batch-Commit": "1"}
        return int((await self._ask(messages[last].subject, messages[last].data, commit))["seq"])

    async def last(self, stream: str, subject: str) -> list[Kept]:
        """Return the last message of each subject that fits. Raises BrokerError."""
        return [kept async for kept in self._read(stream, {"multi_last": [subject]})]

    async def scan(self, stream: str, subject: str, start: int = 1) -> AsyncIterator[Kept]:
        """Yield all messages of the subjects that fit, from sequence `start` on, oldest first. Raises BrokerError."""
        more = True
        while more:
            more = False
            request = {"batch": READ_AT_ONCE, "seq": start, "next_by_subj": subject}
            async for kept in self._read(stream, request):
                start, more = kept.seq + 1, True
                yield kept

    async def _read(self, stream: str, request: dict[str, Any]) -> AsyncIterator[Kept]:
        self._check_connected()
        inbox = self.client.new_inbox()
        try:
            answers = await self.client.subscribe(inbox)
            try:
                await self.client.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(request), inbox)
                while True:
                    before = _cancels()
                    try:
                        answer = await answers.next_msg(REQUEST)
                    finally:
                        _check_cancels(before)
                    headers = answer.headers or {}
                    if "Status" in headers:
                        _check_status(headers)
                        return
                    yield Kept(int(headers["Nats-Sequence"]), headers["Nats-Subject"], answer.data)
            finally:
                await answers.unsubscribe()
        except (nats.errors.Error, OSError) as error:
            raise BrokerError(words(error)) from error

    async def _ask(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        self._check_connected()
        before = _cancels()
        try:
            reply: Msg = await self.client.request(
                subject, data, timeout=REQUEST, headers=dict(headers) if headers else None
            )
            answer: dict[str, Any] = msgspec.json.decode(reply.data)
        except (nats.errors.Error, OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BrokerError(words(error)) from error
        finally:
            _check_cancels(before)
        if "error" in answer:
            refusal = answer["error"]
            raise BrokerError(said(refusal.get("description", "refused")), refusal.get("err_code", 0))
        return answer


async def _no_room() -> bool:
    return False


def _cancels() -> int:
    """Return how often this task was cancelled."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _check_cancels(before: int) -> None:
    """Raise CancelledError where this task was cancelled since: the client may swallow that when its answer comes."""
    if _cancels() > before:
        raise asyncio.CancelledError


def _check_status(headers: dict[str, str]) -> None:
    # 204 ends what was asked for, 404 says that there is none of it.
    if headers["Status"] not in {"204", "404"}:
        raise BrokerError(said(f"NATS answered {headers['Status']} {headers.get('Description', '')}"))


def _tls(settings: Outbox) -> ssl.SSLContext | None:
    """Return the context of TLS. Raises OSError where a file cannot be used."""
    if not (settings.tls_ca or settings.tls_cert or any(s.startswith("tls:") for s in settings.servers)):
        return None
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_cert:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
