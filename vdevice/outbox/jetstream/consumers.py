"""The consumers that let messages out of the stream, and what they let out."""

import contextlib
from collections.abc import AsyncIterator

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.names import Names

log = structlog.get_logger()


async def event_of(message: Msg, target: int) -> documents.Waiting | None:
    """Return the event in a message of a target; what is none is taken out of the stream, with a line in the log."""
    reason = "it is for another target"
    try:
        event = documents.waiting_decoder.decode(message.data)
    except documents.NOT_OURS as error:
        reason = str(error)
    else:
        if event.target == target:
            return event
    log.error("not an event", subject=message.subject, seq=message.metadata.sequence.stream, reason=reason)
    await message.term()
    return None


async def make_consumer(broker: Broker, names: Names, config: dict[str, object]) -> None:
    """Make a durable consumer, or change its settings. Raises BrokerError."""
    name, subject = config["durable_name"], config["filter_subject"]
    request = {"stream_name": names.waiting_stream, "config": config}
    await broker.api(f"CONSUMER.CREATE.{names.waiting_stream}.{name}.{subject}", request)


@contextlib.asynccontextmanager
async def subscribed(broker: Broker, names: Names, consumer: str) -> AsyncIterator[JetStreamContext.PullSubscription]:
    """Have a subscription to pull from a consumer. Raises nats.errors.Error."""
    subscription = await broker.client.jetstream().pull_subscribe_bind(consumer, names.waiting_stream)
    try:
        yield subscription
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
