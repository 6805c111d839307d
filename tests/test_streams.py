"""Writing from a thread: nobody waits, nothing fails, and what is not written is counted in its place."""

import os
import re
import threading
import time

import pytest

from tests import seeds
from vdevice import streams
from vdevice.streams import ThreadWriter


def dropped(count: int) -> bytes:
    return b"dropped %d\n" % count


def held(lines: list[bytes]) -> list[int]:
    """Return the numbers that arrived; what is missing between two must be what was counted there."""
    arrived: list[int] = []
    following, missing = 0, 0
    for line in lines:
        if counted := re.fullmatch(rb"dropped (\d+)", line):
            missing += int(counted[1])
            continue
        number = int(line.split()[0])
        assert number == following + missing, f"{missing} were counted, {number - following} are missing"
        arrived.append(number)
        following, missing = number + 1, 0
    return arrived


def test_each_line_arrives_in_order_or_is_counted_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUEUE_BYTES", 20_000)
    lots = seeds.lots("streams")
    source, sink = os.pipe()
    writer = ThreadWriter(sink, dropped)
    read = bytearray()

    def reader() -> None:
        while data := os.read(source, lots.randint(1, 60_000)):
            read.extend(data)
            if lots.random() < 0.3:
                time.sleep(lots.random() * 0.02)

    thread = threading.Thread(target=reader)
    thread.start()
    for number in range(6000):
        writer.write(b"%d %s\n" % (number, b"x" * lots.randint(0, 300)))
        if lots.random() < 0.01:
            time.sleep(lots.random() * 0.005)
    writer.finish(10)
    # One more, so that what was counted at the end has a place.
    writer.write(b"6000\n")
    writer.finish(10)
    os.close(sink)
    thread.join(10)
    os.close(source)
    arrived = held(bytes(read).splitlines())
    assert arrived[-1] == 6000
    assert 100 < len(arrived) < 6000, "some arrive, and not all fit"


def test_a_pipe_that_nobody_reads_takes_no_time_and_bounded_memory() -> None:
    source, sink = os.pipe()
    writer = ThreadWriter(sink, dropped)
    line = b"0 " + b"x" * 1000 + b"\n"
    started = time.monotonic()
    for _ in range(20_000):
        writer.write(line)
    assert time.monotonic() - started < 5, "20 MB"
    assert writer._queued <= streams.QUEUE_BYTES
    started = time.monotonic()
    writer.finish(0.1)
    assert 0.1 <= time.monotonic() - started < 5
    # It flows again: the count comes behind what was kept.
    read, count = bytearray(), None
    while count is None:
        read += os.read(source, 1 << 16)
        count = re.search(rb"dropped (\d+)\n$", bytes(read))
    assert read.count(line) + int(count[1]) == 20_000
    os.close(source)
    os.close(sink)


def test_a_reader_that_left_a_full_disk_and_a_closed_stream_fail_nobody() -> None:
    source, sink = os.pipe()
    os.close(source)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (sink, full, 9999):
        writer = ThreadWriter(descriptor, dropped)
        assert writer.write(b"one\ntwo\n") == 8
        writer.finish(10)
        assert writer._queued == 0
    os.close(sink)
    os.close(full)


def test_a_stream_that_somebody_made_non_blocking_gets_everything() -> None:
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    writer = ThreadWriter(sink, dropped)
    lines = b"".join(b"%d %s\n" % (number, b"x" * 100) for number in range(3000))
    writer.write(lines)
    read = bytearray()
    while len(read) < len(lines):
        read += os.read(source, 1 << 16)
    assert held(bytes(read).splitlines()) == list(range(3000))
    os.close(source)
    os.close(sink)
