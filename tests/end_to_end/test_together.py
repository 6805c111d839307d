"""Two devices and three dispatchers on one NATS: whichever dies, nothing is lost, order holds, the others go on."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests import seeds
from tests.brokers import NatsServer, nats_cluster, nats_server
from tests.support import Peer, Recorder, answer, counting_plc, fc16, free_port, listening, peer, start, until
from vdevice.outbox.jetstream.leases import LEASE

TARGETS = (1, 2, 3, 4)
KILLS = 30
PATIENCE = 60.0
"""Seconds; a bound for dispatchers that take nothing over, not a figure: a busy machine may need longer than the lease."""


class Site:
    """Two devices and three dispatchers of one device id, each a process with a config of its own."""

    def __init__(self, folder: Path, url: str, recorder: Recorder, outbox: str = "", targets: str = "") -> None:
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._folder = folder
        tables = [
            f'[targets.{n}]\nmethod = "post-raw"\nurl = "{recorder.url}/{n}"\npayload = "$VALUE"\nbackoff = 0.05\n{targets}'
            for n in TARGETS
        ]
        for place, address in enumerate([*self.addresses, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"]):
            (folder / f"{place}.toml").write_text(
                f'[modbus]\nlisten = "{address}"\n[outbox]\nurl = "{url}"\n{outbox}\n' + "\n".join(tables)
            )
        self.names = ["device 0", "device 1", "dispatcher 2", "dispatcher 3", "dispatcher 4"]

    async def start(self, name: str) -> None:
        role, _, place = name.partition(" ")
        self.processes[name] = await start(self._folder / f"{place}.toml", role)

    def log(self, name: str) -> str:
        return (self._folder / f"{name.partition(' ')[2]}.log").read_text()

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        await process.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        try:
            for name in self.names:
                await self.start(name)
            for address in self.addresses:
                await listening(address)
            yield self
        finally:
            for process in self.processes.values():
                process.terminate()
                # A test may have failed while it was stopped; it could not end then.
                process.send_signal(signal.SIGCONT)
            ended = [await process.wait() for process in self.processes.values()]
        assert ended == [0] * len(ended)


async def status(address: str, target: int) -> list[int]:
    async with peer(address) as plc:
        return await plc.inputs(target * 1000, 16)


def assert_in_order(recorder: Recorder, answered: dict[int, list[str]]) -> None:
    first_seen = [body.decode() for body in dict.fromkeys(recorder.bodies())]
    for number in TARGETS:
        wanted = set(answered[number])
        assert [value for value in first_seen if value in wanted] == answered[number]


@contextlib.asynccontextmanager
async def load(addresses: Sequence[str], answered: dict[int, list[str]]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in TARGETS:
            # Half of the PLCs prefer each device.
            order = list(addresses) if number % 2 else list(reversed(addresses))
            group.create_task(counting_plc(order, number, answered[number], stop))
        try:
            yield
        finally:
            stop.set()


def count(answered: dict[int, list[str]]) -> int:
    return sum(map(len, answered.values()))


async def all_arrived(recorder: Recorder, answered: dict[int, list[str]]) -> None:
    wanted = {value.encode() for values in answered.values() for value in values}
    await until(lambda: wanted <= set(recorder.bodies()), 60)


async def test_kills_of_devices_and_dispatchers_lose_nothing(recorder: Recorder, tmp_path: Path) -> None:
    answered: dict[int, list[str]] = {number: [] for number in TARGETS}
    lots = seeds.lots("test_together")
    with nats_server(tmp_path / "nats") as server:
        async with Site(tmp_path, server.url, recorder).running() as site:
            async with load(site.addresses, answered):
                for _ in range(KILLS):
                    before = count(answered)
                    await until(lambda before=before: count(answered) > before + 40, 30)  # type: ignore[misc]
                    await asyncio.sleep(lots.random() * 0.3)
                    name = lots.choice(site.names)
                    await site.kill(name)
                    await site.start(name)
            await all_arrived(recorder, answered)
            # Repetitions end; then both devices count the same, and nothing is pending.
            for address in site.addresses:
                await listening(address)
            await same_status(site, settled=True)
    assert_in_order(recorder, answered)
    assert count(answered) > KILLS * 40


async def same_status(site: Site, *, settled: bool = False, seconds: float = 1.0) -> None:
    """Wait until both devices show the same of every target, and if wanted that nothing is pending."""
    deadline = time.monotonic() + (20 if settled else seconds)
    while True:
        shown = [[await status(address, number) for number in TARGETS] for address in site.addresses]
        pending = any(target[14] != target[15] or target[8] for target in shown[0])
        if shown[0] == shown[1] and not (settled and pending):
            return
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(0.05)


async def test_both_devices_show_the_same_within_a_second(recorder: Recorder, tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with (
            Site(tmp_path, server.url, recorder, targets="timeout = 30").running() as site,
            peer(site.addresses[0]) as first,
            peer(site.addresses[1]) as second,
        ):
            for plc in (first, second, first, second):
                await accepted(plc, "x")
                await same_status(site)
            assert (await first.inputs(1000, 16))[14] == 4
            recorder.delay = 4
            await accepted(first, "slow")
            await sending(first)
            await same_status(site)
            assert (await second.inputs(1000, 1))[0] == 3


async def accepted(plc: Peer, value: str) -> None:
    assert (await plc.ask(fc16(1000, value)))[0] == 16


async def sending(plc: Peer) -> None:
    async with asyncio.timeout(2):
        while (await plc.inputs(1000, 1))[0] != 3:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_targets_of_a_dead_or_hanging_dispatcher_are_taken_over_after_its_lease(
    recorder: Recorder, tmp_path: Path, number: signal.Signals
) -> None:
    recorder.delay = 60
    with nats_server(tmp_path / "nats") as server:
        async with (
            Site(tmp_path, server.url, recorder, targets="timeout = 90\ndebug = true").running() as site,
            peer(site.addresses[0]) as plc,
        ):
            await accepted(plc, "held")
            await recorder.wait(1)
            recorder.delay = 0
            await until(lambda: any("held" in site.log(name) for name in site.names[2:]))
            (holder,) = [name for name in site.names[2:] if "held" in site.log(name)]
            site.processes[holder].send_signal(number)
            started = time.monotonic()
            await recorder.wait(2, PATIENCE)
            # Not before: until then it may be under way.
            assert time.monotonic() - started > LEASE / 2
            await settled(plc)
            # Its other targets go on, too.
            for target in TARGETS:
                assert (await plc.ask(fc16(target * 1000, f"next {target}")))[0] == 16
            await recorder.wait(2 + len(TARGETS), PATIENCE)
            process = site.processes.pop(holder)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert recorder.bodies()[:2] == [b"held", b"held"]
    assert sorted(recorder.bodies()[2:]) == [f"next {target}".encode() for target in TARGETS]


async def test_a_dispatcher_that_was_stopped_and_goes_on_sends_nothing_that_another_one_sent(
    recorder: Recorder, tmp_path: Path
) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with (
            Site(tmp_path, server.url, recorder, targets="debug = true").running() as site,
            peer(site.addresses[0]) as plc,
        ):
            recorder.reply = lambda _n: answer(503, Retry_After="2")
            await accepted(plc, "held")
            await recorder.wait(1)
            await until(lambda: any("held" in site.log(name) for name in site.names[2:]))
            (holder,) = [name for name in site.names[2:] if "held" in site.log(name)]
            # It waits for its next attempt, and sleeps over it.
            site.processes[holder].send_signal(signal.SIGSTOP)
            recorder.reply = lambda _n: answer(200)
            await until(lambda: recorder.bodies().count(b"held") == 2, PATIENCE)
            for number in range(20):
                await accepted(plc, f"newer {number}")
            await until(lambda: b"newer 19" in recorder.bodies())
            site.processes[holder].send_signal(signal.SIGCONT)
            # It may see that its lease ran out, or hear first that the message has ended; it sends it in no case.
            for number in range(20):
                await accepted(plc, f"last {number}")
            await until(lambda: b"last 19" in recorder.bodies())
            await settled(plc)
            assert (await plc.inputs(1002, 6))[1::2] == [41, 41, 0]
    assert recorder.bodies().count(b"held") == 2


async def settled(plc: Peer) -> None:
    async with asyncio.timeout(20):
        while len(set((await plc.inputs(1000, 16))[14:])) > 1:
            await asyncio.sleep(0.05)


async def test_without_nats_writes_get_04_at_once_and_all_recovers(recorder: Recorder, tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with Site(tmp_path, server.url, recorder).running() as site, peer(site.addresses[0]) as plc:
            await accepted(plc, "before")
            await recorder.wait(1)
            server.stop(signal.SIGKILL)
            await until_failing(plc)
            for _ in range(20):
                started = time.monotonic()
                assert await plc.ask(fc16(1000, "lost")) == b"\x90\x04"
                assert (await plc.inputs(0, 7))[6] & 2
                assert time.monotonic() - started < 0.5
            server.start()
            await listening(site.addresses[0])
            await accepted(plc, "after")
            await until(lambda: b"after" in recorder.bodies())
            await settled(plc)
    assert set(recorder.bodies()) == {b"before", b"after"}


async def until_failing(plc: Peer) -> None:
    async with asyncio.timeout(5):
        while not (await plc.inputs(0, 7))[6] & 2:
            await asyncio.sleep(0.01)


async def test_a_device_starts_without_nats_and_takes_strings_once_it_is_there(
    recorder: Recorder, tmp_path: Path
) -> None:
    server = NatsServer(tmp_path / "nats")
    site = Site(tmp_path, server.url, recorder)
    await site.start("device 0")
    await site.start("dispatcher 2")
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(ConnectionError):
                    async with peer(site.addresses[0]) as plc:
                        assert await plc.ask(fc16(1000, "early")) == b"\x90\x04"
                        break
                await asyncio.sleep(0.05)
        server.start()
        await listening(site.addresses[0])
        async with peer(site.addresses[0]) as plc:
            await accepted(plc, "late")
        await until(lambda: recorder.bodies() == [b"late"])
    finally:
        for name in ("device 0", "dispatcher 2"):
            await site.kill(name, signal.SIGTERM)
        server.stop(signal.SIGKILL)


async def test_a_cluster_that_loses_a_server_loses_no_string(recorder: Recorder, tmp_path: Path) -> None:
    answered: dict[int, list[str]] = {number: [] for number in TARGETS}
    with nats_cluster(tmp_path / "nats") as servers:
        url = ",".join(server.url for server in servers)
        async with Site(tmp_path, url, recorder, "replicas = 3").running() as site:
            async with load(site.addresses, answered):
                for server in servers:
                    before = count(answered)
                    await until(lambda before=before: count(answered) > before + 200, 60)  # type: ignore[misc]
                    server.stop(signal.SIGKILL)
                    before = count(answered)
                    await until(lambda before=before: count(answered) > before + 200, 60)  # type: ignore[misc]
                    server.start()
                    await asyncio.sleep(2)
            await all_arrived(recorder, answered)
            await same_status(site, settled=True)
    assert_in_order(recorder, answered)
