"""File descriptors: shared out so that nobody takes those of the others, and told where none is left."""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import device, until
from vdevice import descriptors
from vdevice.descriptors import Shares, shares

READ = "import resource; from vdevice.descriptors import raise_limit; raise_limit(); print(*resource.getrlimit(7))"


def read(*limits: str) -> list[str]:
    command = ["prlimit", *limits, sys.executable, "-c", READ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_the_limit_is_raised_as_far_as_the_system_permits() -> None:
    assert read("--nofile=256:3000") == ["3000", "3000"]
    assert read("--nofile=512:512") == ["512", "512"]


@given(st.integers(64, 1 << 20), st.integers(0, 6400))
def test_shares_together_leave_something_for_the_outbox(total: int, outgoing: int) -> None:
    found = shares(total, outgoing)
    assert found.modbus >= total // 4
    assert found.page >= min(total // 16, descriptors.PAGE)
    assert found.modbus + found.page + min(outgoing, total // 4) + min(descriptors.RESERVED, total // 4) <= total


def test_the_defaults_fit_a_usual_limit_and_few_descriptors_are_shared() -> None:
    assert shares(4096, 64).modbus >= 1000
    assert shares(1024, 64) == Shares(576, 128)


@contextlib.contextmanager
def few_files(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_no_descriptor_left_is_logged_and_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    toml = '[web]\nlisten = "127.0.0.1:0"\n'
    async with device(toml, tmp_path) as app, aiohttp.ClientSession(f"http://{app.page_address}") as client:

        async def ready() -> tuple[int, str]:
            async with client.get("/readyz") as one, client.get("/metrics") as other:
                return one.status, await other.text()

        await until(lambda: app.board.healthy)
        assert (await ready())[0] == 200
        async with client.get("/api/v1/system") as found:
            assert " of " in (await found.json())["limits"]["open files"]
        highest = os.open(os.devnull, os.O_RDONLY)
        os.close(highest)
        taken: list[int] = []
        with few_files(highest + 20):
            try:
                with contextlib.suppress(OSError):
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                # The client asks on the connection that it has.
                await until(lambda: app.board.out_of_files)
            finally:
                for handle in taken:
                    os.close(handle)
        assert not app.board.healthy
        await until(lambda: app.board.healthy)
        status, metrics = await ready()
        assert status == 200
        assert "process_open_fds" in metrics
        assert "process_max_fds" in metrics
    said = capfd.readouterr().out
    assert said.count("no file descriptor is left") == 1
    assert "Too many open files" in said
    assert said.count("file descriptors are left again") == 1


async def test_fewer_descriptors_than_connections_is_said_and_holds(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with few_files(1024):
        async with device('[web]\nlisten = "127.0.0.1:0"\n', tmp_path) as app:
            descriptors.compare(app.config)
            assert descriptors.most_connections(app.config) < 1000
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"http://{app.page_address}/api/v1/system") as found,
            ):
                assert int((await found.json())["limits"]["connections that open files permit"]) < 1000
    said = capfd.readouterr().out
    assert "fewer connections than modbus.max_connections" in said
    assert "LimitNOFILE" in said
