"""A NATS whose account or server has no room left: nothing new is taken, what waits is delivered, and all recovers."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.brokers import nats_server
from tests.outbox.test_jetstream import FAILED, config_of, state
from tests.outbox.test_went_back import NAMES, Device
from tests.support import event_of, until
from vdevice.errors import OutboxFullError
from vdevice.model import EventState
from vdevice.outbox.jetstream.letters import opened as opened_letters
from vdevice.outbox.jetstream.protocol import BrokerError, Message

ACCOUNT = "accounts { A: { jetstream: { max_file: 4MB }, users: [{user: a, password: a}] } }\nno_auth_user: a"
LIMITS = {"the account's": (ACCOUNT, ""), "the server's": ("", "max_file_store: 4MB")}
TEXT = "x" * 1800


@pytest.mark.parametrize("outcome", ["delivered", "given up"])
@pytest.mark.parametrize("limit", LIMITS)
async def test_a_full_store_refuses_what_is_new_and_delivers_what_waits(
    limit: str, outcome: str, tmp_path: Path
) -> None:
    settings, server_limits = LIMITS[limit]
    with nats_server(tmp_path / "nats", settings, limits=server_limits) as server:
        device = Device(config_of(server, "press"))
        if outcome == "given up":
            device.outcome = FAILED
        device.delivers = False
        async with device.running():
            board = device.outbox._board
            answered = 0
            with pytest.raises(OutboxFullError):
                while True:
                    await device.outbox.put([event_of(TEXT)])
                    answered += 1
            assert answered > 500
            assert board.outbox_full
            with pytest.raises(OutboxFullError):
                await device.outbox.put([event_of(TEXT)])
            device.delivers = True
            await until(lambda: len(device.arrived) == answered, 60)
            await device.idle()
            ended = (answered, 0) if outcome == "delivered" else (0, answered)
            assert state(device.outbox) == (answered, *ended, 0)
            assert not board.outbox_failing
            if outcome == "given up":
                # A dead letter takes the room of the message that it was, until somebody discards it.
                await asyncio.to_thread(discard_half, device)
            await until(lambda: not board.outbox_full, 20)
            device.arrived.clear()
            await device.write("again")
            await until(lambda: device.arrived == ["again"])


def discard_half(device: Device) -> None:
    with opened_letters(device.config) as letters:
        dead = letters.select([EventState.FAILED], None, -1)
        assert letters.discard(dead[: len(dead) // 2]) == len(dead) // 2


async def test_a_result_that_cannot_be_recorded_is_flagged_and_recorded_when_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_server(tmp_path / "nats", limits="max_file_store: 4MB") as server:
        device = Device(config_of(server, "press"))
        device.delivers = False
        async with device.running():
            board, broker = device.outbox._board, device.outbox._broker
            await device.write("a")
            # Somebody else takes all that there is, the reserve, too.
            await broker.api("STREAM.CREATE.other", {"name": "other", "subjects": ["other"], "storage": "file"})
            await fill(device)
            device.delivers = True
            await until(lambda: board.outbox_failing, 30)
            assert device.arrived == ["a"]
            assert state(device.outbox)[1] == 0
            await broker.api("STREAM.DELETE.other")
            await until(lambda: not board.outbox_failing, 20)
            await device.idle()
            assert state(device.outbox) == (1, 1, 0, 0)
            await device.write("b")
            await until(lambda: device.arrived == ["a", "b"])
    assert "results cannot be recorded" in capsys.readouterr().out


async def fill(device: Device) -> None:
    """Take all room, also what the reserve gives up, until it stays so."""
    broker, times = device.outbox._broker, 0
    while times < 5:
        purged = (await broker.api(f"STREAM.PURGE.{NAMES.reserve_stream}"))["purged"]
        times = 0 if purged else times + 1
        for size in (500_000, 50_000, 1000, 1):
            with contextlib.suppress(BrokerError):
                while True:
                    await broker.publish_bare(Message("other", bytes(size)))
                    times = 0
        await asyncio.sleep(0.1)
