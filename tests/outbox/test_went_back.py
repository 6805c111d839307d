"""Streams and bucket that were deleted, purged or put back to an older copy, apart or together.

Nothing is called delivered that was not, nothing new is dropped, and whoever runs recovers by itself.
"""

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.brokers import NatsServer, nats_server
from tests.outbox.test_jetstream import DELIVERED, config_of, state, waiting
from tests.support import event_of, until
from vdevice.board import Board
from vdevice.config import Config
from vdevice.errors import VdeviceError
from vdevice.model import Stored
from vdevice.outbox.jetstream.names import Names
from vdevice.outbox.jetstream.outbox import NatsOutbox

DEVICE = "press"
NAMES = Names(DEVICE)
WHAT = {
    "what waits": [NAMES.waiting_stream],
    "the bucket": [NAMES.bucket_stream],
    "all of it": [NAMES.waiting_stream, NAMES.bucket_stream, NAMES.dead_stream, NAMES.done_stream],
}


class Device:
    """An outbox that delivers what it is offered; `arrived` is what was sent, in order."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.arrived: list[str] = []
        self.delivers = True
        self.outcome = DELIVERED
        self._offered: asyncio.Queue[Stored] = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Device"]:
        async with NatsOutbox(self.config, Board(), "all") as self.outbox, asyncio.TaskGroup() as group:
            self.outbox.serve(self.config.targets.values(), self._offer)
            work = [group.create_task(self._deliver()), group.create_task(self._probe())]
            yield self
            for task in work:
                task.cancel()

    def _offer(self, stored: list[Stored]) -> None:
        for item in stored:
            self._offered.put_nowait(item)

    async def _deliver(self) -> None:
        while True:
            stored = await self._offered.get()
            await until(lambda: self.delivers, 60)
            if not self.outbox.holds(stored):
                continue
            self.arrived.append(stored.event.value)
            await insisting(lambda stored=stored: self.outbox.finish(stored, self.outcome, time.time()))  # type: ignore[misc]

    async def _probe(self) -> None:
        while True:
            with contextlib.suppress(VdeviceError):
                await self.outbox.probe()
            await asyncio.sleep(0.1)

    async def write(self, *values: str) -> None:
        """Write as a PLC does: again, until it is answered."""
        for value in values:
            await insisting(lambda value=value: self.outbox.put([event_of(value)]))  # type: ignore[misc]

    async def idle(self) -> None:
        """Wait until nothing is pending, as a PLC sees it."""
        await until(lambda: self.pending == 0, 20)

    @property
    def pending(self) -> int:
        accepted, *ended = state(self.outbox)
        return accepted - sum(ended)


async def insisting(ask: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await ask()  # type: ignore[misc]
            except VdeviceError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "nats" / "js" / "jetstream" / "$G" / "streams"


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "before it starts"])
@pytest.mark.parametrize("to", ["an older copy", "nothing"])
@pytest.mark.parametrize("what", WHAT)
async def test_what_is_answered_after_the_store_went_back_arrives(
    what: str, to: str, *, runs: bool, tmp_path: Path, store: Path
) -> None:
    copy = tmp_path / "copy"
    with nats_server(tmp_path / "nats") as server:

        def go_back() -> None:
            server.stop(signal.SIGKILL)
            for name in WHAT[what]:
                shutil.rmtree(store / name)
                if to == "an older copy":
                    shutil.copytree(copy / name, store / name)
            server.start()

        device = Device(config_of(server, DEVICE))
        async with device.running():
            await device.write("a", "b", "c")
            await device.idle()
            server.stop(signal.SIGKILL)
            shutil.copytree(store, copy)
            server.start()
            await device.write("d", "e", "f", "g", "h")
            await device.idle()
            if runs:
                await asyncio.to_thread(go_back)
                await device.write("i", "j", "k", "l", "m", "n")
                await until(lambda: device.arrived[-1] == "n")
                await device.idle()
        if not runs:
            go_back()
        async with device.running():
            await device.write("o", "p", "q", "r", "s", "t")
            await until(lambda: device.arrived[-1] == "t")
            await device.idle()
    written = "abcdefgh" + "ijklmn" * runs + "opqrst"
    # What was delivered may come again; what was answered comes, and in order.
    assert "".join(dict.fromkeys(device.arrived)) == written


async def test_a_stream_that_lost_its_end_keeps_nobody_waiting(tmp_path: Path, store: Path) -> None:
    copy = tmp_path / "copy"
    with nats_server(tmp_path / "nats") as server:
        device = Device(config_of(server, DEVICE))
        async with device.running():
            await device.write("a")
            await device.idle()
            server.stop(signal.SIGKILL)
            shutil.copytree(store, copy)
            server.start()
            device.delivers = False
            await device.write("lost 1", "lost 2", "lost 3")
            server.stop(signal.SIGKILL)
            shutil.rmtree(store / NAMES.waiting_stream)
            shutil.copytree(copy / NAMES.waiting_stream, store / NAMES.waiting_stream)
            server.start()
            device.delivers = True
            await device.idle()
            # One may have been on its way; what was not sent is not called delivered.
            accepted, delivered, failed, _ = state(device.outbox)
            assert (accepted, delivered + failed) == (4, 4)
            assert delivered == len(set(device.arrived))
            assert failed >= 2


@pytest.mark.parametrize("api", ["STREAM.PURGE", "STREAM.DELETE"])
async def test_what_was_purged_or_deleted_while_running_is_counted_as_failed_and_logged(
    api: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_server(tmp_path / "nats") as server:
        device = Device(config_of(server, DEVICE))
        async with device.running():
            await device.write("a")
            await device.idle()
            device.delivers = False
            await device.write("b", "c", "d", "e")
            await device.outbox._broker.api(f"{api}.{NAMES.waiting_stream}")
            # The first was on its way.
            device.delivers = True
            await device.idle()
            assert state(device.outbox)[1:3] == (len(set(device.arrived)), 5 - len(set(device.arrived)))
            assert state(device.outbox)[2] >= 3
            await device.write("f")
            await until(lambda: device.arrived[-1] == "f")
            await device.idle()
            assert state(device.outbox)[0] == 6
    assert "messages are gone" in capsys.readouterr().out


@pytest.mark.parametrize("api", ["STREAM.PURGE", "STREAM.DELETE"])
@pytest.mark.parametrize("stream", [NAMES.bucket_stream, NAMES.dead_stream, NAMES.done_stream])
async def test_results_that_are_taken_away_are_written_again(api: str, stream: str, tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        device = Device(config_of(server, DEVICE))
        async with device.running():
            await device.write("a", "b", "c")
            await device.idle()
            await device.outbox._broker.api(f"{api}.{stream}")
            await device.write("d", "e")
            await until(lambda: device.arrived == list("abcde"))
            await device.idle()
            assert state(device.outbox) == (5, 5, 0, 0)
        async with device.running():
            assert state(device.outbox) == (5, 5, 0, 0)


async def test_a_text_that_repeats_one_which_is_gone_is_stored(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        device = Device(config_of(server, DEVICE))
        device.delivers = False
        async with device.running():
            assert len(await device.outbox.put([event_of("on")], frozenset({7}))) == 1
            assert len(await device.outbox.put([event_of("off")], frozenset({7}))) == 1
            assert len(await device.outbox.put([event_of("off")], frozenset({7}))) == 0
            await device.outbox._broker.api(f"STREAM.PURGE.{NAMES.waiting_stream}")
            await until(lambda: state(device.outbox)[2] >= 1, 20)
            assert len(await device.outbox.put([event_of("off")], frozenset({7}))) == 1
            device.delivers = True
            await until(lambda: device.arrived[-1:] == ["off"])


async def test_two_devices_agree_after_the_stream_was_deleted(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        one, two = Device(config_of(server, DEVICE)), Device(config_of(server, DEVICE))
        async with one.running(), two.running():
            one.delivers = two.delivers = False
            await asyncio.gather(one.write(*"abc"), two.write(*"def"))
            await one.outbox._broker.api(f"STREAM.DELETE.{NAMES.waiting_stream}")
            one.delivers = two.delivers = True
            await asyncio.gather(one.write(*"ghi"), two.write(*"jkl"))
            await until(lambda: set("ghijkl") <= {*one.arrived, *two.arrived})
            await one.idle()
            await two.idle()
            await until(lambda: state(one.outbox) == state(two.outbox))
            accepted, delivered, failed, _ = state(one.outbox)
            assert accepted == 12
            assert delivered == len({*one.arrived, *two.arrived})
            assert failed == 12 - delivered


async def test_what_others_wrote_into_streams_and_bucket_ends_nothing(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        device = Device(config_of(server, DEVICE))
        async with device.running():
            client = device.outbox._broker.client
            for subject in (NAMES.accepted(7), NAMES.progress(7), NAMES.target(7), NAMES.dead(7), NAMES.presence):
                for data in (b"", b"\xff\xfe", b"[]", b'{"accepted": "x"}', b'{"ended_last": ["x", "-"]}'):
                    await client.publish(subject, data)
            for subject in (NAMES.accepted("x"), NAMES.accepted(99), NAMES.progress("x"), NAMES.progress(0)):
                await client.publish(subject, b"{}")
            await client.flush()
            await device.write("a", "b")
            await until(lambda: device.arrived == ["a", "b"], 20)
            await device.idle()
        async with device.running():
            await device.write("c")
            await until(lambda: device.arrived[-1] == "c")
        assert await asyncio.to_thread(waiting, device.config) == []


async def test_what_cannot_be_encoded_fails_alone(nats: NatsServer) -> None:
    device = Device(config_of(nats, f"encode {time.time()}"))
    async with device.running():
        good = [device.outbox.put([event_of(str(n))]) for n in range(3)]
        bad = [device.outbox.put([event_of(value)]) for value in ("\ud800", "x" * 2_000_000)]
        good += [device.outbox.put([event_of(str(n))]) for n in range(3, 6)]
        assert all(len(stored) == 1 for stored in await asyncio.gather(*good))
        assert all(isinstance(error, VdeviceError) for error in await asyncio.gather(*bad, return_exceptions=True))
        await device.idle()
        assert device.outbox._room.arriving == 0


async def test_a_server_that_hangs_fails_each_write_before_its_client_gives_up(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        device = Device(config_of(server, DEVICE))
        async with device.running():
            await device.write("before")
            server.send(signal.SIGSTOP)
            try:
                started = time.monotonic()
                puts = [device.outbox.put([event_of(str(n))] * 60) for n in range(40)]
                async with asyncio.timeout(device.config.modbus.answer_timeout):
                    failed = await asyncio.gather(*puts, return_exceptions=True)
            finally:
                server.send(signal.SIGCONT)
            assert all(isinstance(error, VdeviceError) for error in failed)
            assert time.monotonic() - started < device.config.modbus.answer_timeout
            await device.write("after")
            await until(lambda: device.arrived[-1] == "after", 20)
