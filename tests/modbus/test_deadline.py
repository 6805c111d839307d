"""Whatever holds a request up or fails inside, it is answered in time, and nothing is left of it but a line in the log."""

import asyncio
import contextlib
import os
import secrets
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.brokers import NatsServer
from tests.support import Peer, Recorder, device, fc16, peer, until
from vdevice.app import App
from vdevice.errors import OutboxLateError
from vdevice.model import Event, Stored
from vdevice.outbox.sqlite import SqliteOutbox

TIMEOUT = 0.4
SLACK = 0.3
"""Seconds on a busy machine between the deadline and the answer."""

TOML = """
[modbus]
listen = "127.0.0.1:0"
answer_timeout = {timeout}
[[points]]
name = "count"
space = "holding"
address = 0
type = "uint16"
[[points]]
name = "lamp"
space = "coil"
address = 0
type = "bool"
[[rules]]
source = "count"
trigger = "change"
destinations = ["target/7", "lamp"]
[[rules]]
source = "lamp"
trigger = "rising"
destinations = ["target/7"]
[targets.7]
method = "post-raw"
url = "{url}/7"
payload = "$VALUE"
backoff = 0.05
[targets.8]
method = "post-raw"
url = "{url}/8"
payload = "$VALUE"
completion = "content"
[targets.9]
method = "post-raw"
url = "{url}/9"
payload = "$VALUE"
completion = "idle"
idle_ms = 20
"""


def toml(recorder: Recorder, timeout: float = TIMEOUT) -> str:
    return TOML.format(url=recorder.url, timeout=timeout)


def count(value: int) -> bytes:
    return struct.pack(">BHH", 6, 0, value)


def read(function: int, address: int, quantity: int) -> bytes:
    return struct.pack(">BHH", function, address, quantity)


class Hanging:
    """An outbox in front of the real one whose answers do not come, come late, or that raises."""

    def __init__(self, app: App, put: Callable[[Sequence[Event]], asyncio.Future[list[Stored]]] | None = None) -> None:
        self._app = app
        self._real = app.outbox
        self.asked = 0
        self._put = put or (lambda _events: asyncio.get_running_loop().create_future())
        app.unit.writes._outbox = self  # type: ignore[assignment]

    def put(self, events: Sequence[Event], _changed_only: frozenset[int]) -> asyncio.Future[list[Stored]]:
        self.asked += 1
        return self._put(events)

    def mend(self) -> None:
        self._app.unit.writes._outbox = self._real


async def timed(plc: Peer, pdu: bytes) -> tuple[bytes, float]:
    started = time.monotonic()
    return await plc.ask(pdu), time.monotonic() - started


BOTH = struct.pack(">BHHHHB", 23, 0, 1, 7000, 1, 2) + b"Hi"
"""FC23: write a text to target 7, and read a point."""


@pytest.mark.parametrize("pdu", [fc16(7000, "x"), count(5), fc16(8000, "x\0"), BOTH])
async def test_a_request_whose_storing_never_ends_is_answered_04_in_time(
    recorder: Recorder, tmp_path: Path, pdu: bytes
) -> None:
    async with device(toml(recorder), tmp_path) as app, peer(app.address) as plc:
        outbox = Hanging(app)
        with capture_logs() as lines:
            answer, seconds = await timed(plc, pdu)
        assert answer == bytes((pdu[0] | 0x80, 4))
        assert TIMEOUT - 0.05 <= seconds <= TIMEOUT + SLACK
        (line,) = [line for line in lines if line["event"] == "not stored"]
        assert "did not answer within 0.4 s" in line["reason"]
        assert "may have been stored" in line["reason"]
        # It is not healthy, and says so where a PLC and a probe look.
        assert not app.board.healthy
        assert (await plc.inputs(6, 1))[0] & 2
        assert (await plc.ask(read(2, 0, 1)))[2] == 0
        # All is undone: the same write fires again.
        assert (await plc.ask(read(3, 0, 1)))[2:] == b"\0\0"
        assert (await plc.ask(read(1, 0, 1)))[2:] == b"\0"
        outbox.mend()
        assert (await plc.ask(pdu))[0] == pdu[0]
        assert app.board.healthy
        assert not (await plc.inputs(6, 1))[0] & 2
        await until(lambda: app.board.waiting == 0)
        assert len(recorder.requests) == (2 if pdu == count(5) else 1)


async def test_what_waits_behind_is_answered_in_time_too(recorder: Recorder, tmp_path: Path) -> None:
    """FC23 waits for those before it: it is not begun when its own time is over as well."""
    async with device(toml(recorder), tmp_path) as app, peer(app.address) as plc:
        outbox = Hanging(app)
        started = time.monotonic()
        sent = [BOTH, fc16(7000, "a"), BOTH, read(3, 0, 1), count(3), b"\x16\x00\x00\x00\x00\x00\x07", read(3, 0, 1)]
        plc.writer.write(b"".join(plc.frame(pdu) for pdu in sent))
        answers = [(await plc.answer())[2] for _ in sent]
        assert time.monotonic() - started <= TIMEOUT + SLACK
        assert answers == [b"\x97\4", b"\x90\4", b"\x97\4", b"\3\2\0\0", b"\x86\4", b"\x96\4", b"\3\2\0\0"]
        assert outbox.asked == 1


async def test_many_that_wait_are_undone_to_what_was_before_the_first(recorder: Recorder, tmp_path: Path) -> None:
    async with device(toml(recorder), tmp_path) as app, peer(app.address) as one, peer(app.address) as two:
        assert await one.ask(count(1)) == count(1)
        await until(lambda: app.board.waiting == 0)
        outbox = Hanging(app)
        for plc in (one, two, one, two):
            plc.writer.write(b"".join(plc.frame(count(value)) for value in (2, 3, 4)))
            await asyncio.sleep(0.01)
        for plc in (one, two):
            assert [(await plc.answer())[2] for _ in range(6)] == [b"\x86\4"] * 6
        assert (await one.ask(read(3, 0, 1)))[2:] == b"\0\1"
        outbox.mend()
        # One is what the rule fired with last: no change. Two is one.
        assert await one.ask(count(1)) == count(1)
        assert await two.ask(count(2)) == count(2)
        await until(lambda: app.board.waiting == 0)
        assert [body for body in recorder.bodies() if body != b"true"] == [b"1", b"2"]


async def test_what_is_stored_after_its_time_changes_nothing_but_the_log(recorder: Recorder, tmp_path: Path) -> None:
    async with device(toml(recorder), tmp_path) as app, peer(app.address) as plc:
        late: list[asyncio.Future[list[Stored]]] = []

        def put(_events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
            late.append(asyncio.get_running_loop().create_future())
            return late[-1]

        outbox = Hanging(app, put)
        assert (await timed(plc, count(5)))[0] == b"\x86\4"
        with capture_logs() as lines:
            late[0].set_result([])
            await until(lambda: bool(lines))
        assert lines[0]["event"] == "stored after its request was answered 04"
        assert (await timed(plc, count(6)))[0] == b"\x86\4"
        late[1].set_exception(RuntimeError("nobody looks"))
        late[1].exception()
        await asyncio.sleep(0)
        assert (await plc.ask(read(3, 0, 1)))[2:] == b"\0\0"
        outbox.mend()


class Unforeseen(Exception):  # noqa: N818 (it is not one of ours)
    """What nobody expects."""


def raising(_events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
    raise Unforeseen


def failing(_events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
    future: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
    future.set_exception(Unforeseen())
    return future


def cancelled(_events: Sequence[Event]) -> asyncio.Future[list[Stored]]:
    future: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


@pytest.mark.parametrize("put", [raising, failing, cancelled])
@pytest.mark.parametrize("pdu", [fc16(7000, "x"), count(5), fc16(8000, "x\0")])
async def test_an_error_that_nobody_expects_is_04_and_undone(
    recorder: Recorder, tmp_path: Path, put: Callable[[Sequence[Event]], Any], pdu: bytes
) -> None:
    async with device(toml(recorder), tmp_path) as app, peer(app.address) as plc:
        outbox = Hanging(app, put)
        with capture_logs() as lines:
            answers = {await plc.ask(pdu) for _ in range(20)}
        assert answers == {bytes((pdu[0] | 0x80, 4))}
        (line,) = [line for line in lines if line["event"] in {"request failed", "not stored"}]
        assert put is cancelled or "Unforeseen" in line["exception"]
        assert (await plc.ask(read(3, 0, 1)))[2:] == b"\0\0"
        outbox.mend()
        assert (await plc.ask(pdu))[0] == pdu[0]
        await until(lambda: app.board.waiting == 0)
        assert len(recorder.requests) == (2 if pdu == count(5) else 1)


async def test_an_error_while_a_text_is_read_leaves_it_staged(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> str:
        raise Unforeseen

    commit = '[targets.10]\nmethod = "post-raw"\nurl = "{url}/10"\npayload = "$VALUE"\ncompletion = "commit"\n'
    async with device(toml(recorder) + commit.format(url=recorder.url), tmp_path) as app, peer(app.address) as plc:
        for first, last in ((fc16(8000, "abcd"), fc16(8002, "ef\0")), (fc16(10_000, "abcdef"), fc16(10_900, b"\0\6"))):
            assert (await plc.ask(first))[0] == 16
            with monkeypatch.context() as patched:
                patched.setattr("vdevice.registers.text.decode_ordered", broken)
                assert await plc.ask(last) == b"\x90\4"
            assert (await plc.ask(last))[0] == 16
        await recorder.wait(2)
        assert recorder.bodies() == [b"abcdef", b"abcdef"]


async def test_an_error_while_the_answer_is_made_is_04(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> bytes:
        raise Unforeseen

    async with device(toml(recorder), tmp_path) as app, peer(app.address) as plc:
        monkeypatch.setattr(app.unit, "_read", broken)
        assert await plc.ask(read(4, 0, 1)) == b"\x84\4"
        assert await plc.ask(BOTH) == b"\x97\4"
        monkeypatch.undo()
        assert (await plc.ask(read(4, 0, 1)))[0] == 4


class Stopped:
    """Writers that were stopped as a disk that hangs would stop them."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def stop(self, app: App) -> None:
        assert isinstance(app.outbox, SqliteOutbox)
        assert app.outbox.writer_pid
        self.pids.append(app.outbox.writer_pid)
        os.kill(self.pids[-1], signal.SIGSTOP)

    def go_on(self) -> None:
        for pid in self.pids:
            # The device may have ended it meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.pids.clear()


@pytest.fixture
def writers() -> Iterator[Stopped]:
    """Let what a test stopped go on after it."""
    stopped = Stopped()
    yield stopped
    stopped.go_on()


async def test_a_writer_that_hangs_costs_no_request_its_answer(
    recorder: Recorder, tmp_path: Path, writers: Stopped
) -> None:
    async with device(toml(recorder), tmp_path) as app, peer(app.address) as plc:
        writers.stop(app)
        answer, seconds = await timed(plc, fc16(7000, "x"))
        assert answer == b"\x90\4"
        assert seconds <= TIMEOUT + SLACK
        assert not app.board.healthy
        writers.go_on()
        async with asyncio.timeout(20):
            while (await plc.ask(fc16(7000, "x")))[0] != 16:
                await asyncio.sleep(0.05)
        await until(lambda: app.board.healthy)


async def test_a_broker_that_is_silent_costs_no_request_its_answer(
    recorder: Recorder, tmp_path: Path, nats: NatsServer
) -> None:
    ours = f'[device]\nid = "test {secrets.token_hex(4)}"\n[outbox]\nurl = "{nats.url}"\n'
    async with device(ours + toml(recorder), tmp_path) as app, peer(app.address) as plc:
        assert await plc.ask(count(1)) == count(1)
        nats.send(signal.SIGSTOP)
        try:
            answer, seconds = await timed(plc, count(2))
            assert answer == b"\x86\4"
            assert seconds <= TIMEOUT + SLACK
            assert (await plc.ask(read(3, 0, 1)))[2:] == b"\0\1"
            assert not app.board.healthy
        finally:
            nats.send(signal.SIGCONT)
        async with asyncio.timeout(20):
            while await plc.ask(count(3)) != count(3):
                await asyncio.sleep(0.05)
        await until(lambda: app.board.healthy)


async def test_health_shows_a_request_that_waits_before_its_time_is_over(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdevice.app.GRACE", 0.1)
    async with device(toml(recorder, 60), tmp_path) as app, peer(app.address) as plc, peer(app.address) as other:
        outbox = Hanging(app)
        plc.writer.write(plc.frame(fc16(7000, "x")))
        await until(lambda: app.board.unanswered_seconds > 1.9)
        await until(lambda: not app.board.healthy)
        assert (await other.inputs(6, 1))[0] & 2
        outbox.mend()


async def test_a_shutdown_answers_what_hangs_and_ends_in_time(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vdevice.app.GRACE", 1.0)
    reader: asyncio.StreamReader | None = None
    async with device(toml(recorder, 300), tmp_path) as app:
        outbox = Hanging(app)
        host, _, port = app.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        plc = Peer(reader, writer)
        writer.write(plc.frame(count(5)) + plc.frame(fc16(7000, "x")) + plc.frame(fc16(9000, "idle")))
        await until(lambda: outbox.asked == 3)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert reader is not None
    answers = await reader.read()
    # Two requests that hang, and one that was answered when it was staged.
    assert [answers[at : at + 2] for at in (7, 16)] == [b"\x86\4", b"\x90\4"]
    assert answers[18 + 7 :] == fc16(9000, "idle")[:5]
    writer.close()


async def test_a_text_of_the_page_that_is_not_stored_in_time_shows_in_health_as_a_write_does(
    recorder: Recorder, tmp_path: Path
) -> None:
    async with device(toml(recorder), tmp_path) as app:
        Hanging(app)
        with pytest.raises(OutboxLateError, match=r"modbus\.answer_timeout"):
            await app.unit.writes.string(7, "x", app.unit.client("127.0.0.1"))
        assert not app.board.answering


DELAYED = """
[[points]]
name = "later"
space = "coil"
address = 1
type = "bool"
[[rules]]
source = "count"
trigger = "change"
delay = 0.05
destinations = ["later"]
"""


async def test_a_delayed_write_of_a_request_that_was_not_stored_is_not_done(recorder: Recorder, tmp_path: Path) -> None:
    async with device(toml(recorder) + DELAYED, tmp_path) as app, peer(app.address) as plc:
        outbox = Hanging(app)
        assert await plc.ask(count(5)) == b"\x86\x04"
        assert await plc.ask(read(1, 1, 1)) == b"\x01\x01\x00"
        outbox.mend()
        assert await plc.ask(count(5)) == count(5)
        await until(lambda: app.unit.writes.image.read("coil", 1, 1) == b"\x01")
