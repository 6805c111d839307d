"""Files that do not answer: a named pipe in the place of a file waits as a dead network mount does, and holds up nothing.

The device runs in a process of its own: one that hangs must fail the test, not hang it.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.support import Recorder, fc16, free_port, listening, peer, start, until
from vdevice.cli.certs import init

SLOWEST = 3.0
"""Seconds that a response may take while files hang, on a machine that is busy; without an answer it is 5."""


class Running:
    """A device in a process of its own, and a PLC that writes all the time."""

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self.folder = folder
        self.config = folder / "vdevice.toml"
        self.address, self.page = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.url = recorder.url
        self.slowest = 0.0
        self.written = 0

    def toml(self, more: str = "", modbus: str = "") -> str:
        return (
            f'[modbus]\nlisten = "{self.address}"\n{modbus}\n[web]\nlisten = "{self.page}"\n'
            f'[targets.7]\nmethod = "post-raw"\nurl = "{self.url}/"\npayload = "$VALUE"\n{more}\n'
        )

    def log(self) -> str:
        return self.config.with_suffix(".log").read_text()

    async def _write(self) -> None:
        async with peer(self.address) as plc:
            while True:
                started = time.monotonic()
                plc.writer.write(plc.frame(fc16(7000, f"{self.written}")))
                assert (await plc.answer(20))[2][0] == 16
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.written += 1
                await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        process = await start(self.config)
        try:
            await listening(self.address)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self._write())
                yield
                task.cancel()
            assert self.slowest < SLOWEST
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(20):
                    code = await process.wait()
            except TimeoutError:
                process.kill()
                raise
        assert code == 0
        assert "Traceback" not in self.log()

    async def goes_on(self, count: int = 20) -> None:
        """Wait until so many more texts were answered."""
        before = self.written
        await until(lambda: self.written >= before + count, 30)


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let named pipes wait whatever the flags of their opening say: as a dead NFS mount does."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nreal = os.open\n"
        "os.open = lambda path, flags, *more, **named: real(path, flags & ~os.O_NONBLOCK, *more, **named)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def hang(file: Path) -> None:
    """Put a named pipe that nobody writes into the place of a file."""
    file.rename(file.with_suffix(".aside"))
    os.mkfifo(file)


def mend(file: Path) -> None:
    """Put the file back, and let go who hangs."""
    pipe = file.with_suffix(".pipe")
    file.rename(pipe)
    file.with_suffix(".aside").replace(file)
    os.utime(file)
    with contextlib.suppress(OSError):
        # Nobody hangs where this fails.
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


async def test_a_pipe_in_place_of_the_config_is_refused_and_the_next_file_taken(
    recorder: Recorder, tmp_path: Path
) -> None:
    device = Running(tmp_path, recorder)
    device.config.write_text(device.toml())
    async with device.running():
        hang(device.config)
        await until(lambda: "it is not a regular file" in device.log(), 30)
        await device.goes_on()
        mend(device.config)
        await until(lambda: "config loaded" in device.log(), 30)


async def test_a_config_on_a_dead_mount_holds_up_nothing_and_is_taken_when_it_is_back(
    recorder: Recorder, tmp_path: Path, mount: None
) -> None:
    device = Running(tmp_path, recorder)
    device.config.write_text(device.toml())
    async with device.running():
        hang(device.config)
        await until(lambda: "vdevice.toml does not answer within 5 s" in device.log(), 30)
        await device.goes_on()
        mend(device.config)
        await until(lambda: "config loaded" in device.log(), 30)


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
async def test_a_certificate_of_the_listener_that_hangs_leaves_the_old_one(
    name: str, recorder: Recorder, tmp_path: Path
) -> None:
    init(tmp_path / "certs", role=["operator"])
    device = Running(tmp_path, recorder)
    files = 'cert = "certs/server.pem"\nkey = "certs/server.key"\nclient_ca = "certs/ca.pem"'
    device.config.write_text(device.toml(modbus=f'[modbus.tls]\nlisten = "127.0.0.1:{free_port()}"\n{files}'))
    async with device.running():
        hang(tmp_path / "certs" / name)
        await until(lambda: "config refused" in device.log(), 30)
        await device.goes_on()
        assert device.log().count("config refused") <= 2, "said once, not each second"
        mend(tmp_path / "certs" / name)
        await until(lambda: "config loaded" in device.log(), 30)


async def test_a_secret_that_hangs_holds_up_neither_plc_nor_page(
    recorder: Recorder, tmp_path: Path, mount: None
) -> None:
    device = Running(tmp_path, recorder)
    (tmp_path / "token").write_text("secret")
    device.config.write_text(device.toml('bearer_token = { file = "token" }'))
    page = f"http://{device.page}/api/v1"
    async with device.running(), aiohttp.ClientSession() as session:
        hang(tmp_path / "token")
        async with session.get(f"{page}/targets/7") as response:
            settings = await response.json()
        settings["settings"]["description"] = "saved while the secret hangs"
        saving = asyncio.create_task(session.put(f"{page}/targets/7", json=settings))
        await device.goes_on()
        async with session.get(f"{page}/state") as response:
            assert response.status == 200, "other views go on"
        assert (await saving).status == 409
        assert "saved while" not in device.config.read_text()
        mend(tmp_path / "token")
        async with asyncio.timeout(30):
            while (await session.put(f"{page}/targets/7", json=settings)).status != 200:
                await asyncio.sleep(0.1)


async def test_a_users_file_that_hangs_lets_nobody_in_and_holds_up_nothing(
    recorder: Recorder, tmp_path: Path, mount: None
) -> None:
    device = Running(tmp_path, recorder)
    device.config.write_text(device.toml())
    async with device.running(), aiohttp.ClientSession() as session:
        users = tmp_path / "vdevice.users.json"
        users.write_text("{}")
        hang(users)
        await asyncio.sleep(0.3)
        asking = [asyncio.create_task(session.get(f"http://{device.page}/api/v1/state")) for _ in range(5)]
        await device.goes_on()
        async with session.get(f"http://{device.page}/readyz") as response:
            assert response.status == 200
        for answer in asking:
            assert (await answer).status == 409
        mend(users)
        async with asyncio.timeout(30):
            while (await session.get(f"http://{device.page}/api/v1/state")).status != 200:
                await asyncio.sleep(0.1)


async def test_a_pipe_in_place_of_a_targets_certificate_holds_up_its_own_target_only(
    recorder: Recorder, tmp_path: Path
) -> None:
    device = Running(tmp_path, recorder)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    target = '[targets.8]\nmethod = "get"\nurl = "https://127.0.0.1:9/"\ntls_ca = "ca.pem"\nbackoff = 0.05\nbackoff_max = 0.1\n'
    device.config.write_text(device.toml(target))
    async with device.running(), peer(device.address) as plc:
        hang(tmp_path / "ca.pem")
        assert (await plc.ask(fc16(8000, "x")))[0] == 16
        await until(lambda: "tls_ca, tls_cert or tls_key cannot be read" in device.log(), 30)
        await device.goes_on()


async def test_uploads_that_hang_hold_up_their_own_targets_only(
    recorder: Recorder, tmp_path: Path, mount: None
) -> None:
    device = Running(tmp_path, recorder)
    (tmp_path / "files").mkdir()
    os.mkfifo(tmp_path / "files/picture")
    uploads = "".join(
        f'[targets.{number}]\nmethod = "post-multipart"\nurl = "{recorder.url}/"\nparameters = [["p", "file:picture"]]\n'
        "timeout = 0.5\nbackoff = 0.05\nbackoff_max = 0.1\nattempts = 1000\n"
        for number in range(10, 30)
    )
    device.config.write_text(device.toml(uploads))
    async with device.running(), peer(device.address) as plc:
        for number in range(10, 30):
            assert (await plc.ask(fc16(1000 * number, "x")))[0] == 16
        await until(lambda: "a file of target/29 still hangs" in device.log(), 30)
        arrived = len(recorder.requests)
        await device.goes_on()
        await until(lambda: len(recorder.requests) >= arrived + 10)
        assert (await plc.inputs(29010, 1)) == [10], "error 10 is a file"


SILENT = """
import fcntl, socket, struct, sys
from pathlib import Path
# In a network of its own nothing is up at first.
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(server, 0x8914, struct.pack("16sH22x", b"lo", 0x41))
server.bind(("127.0.0.1", 53))
Path("up").touch()
server.recv(1)
Path("asked").touch()
sys.stdin.read()
"""
UNSHARED = """
mount --bind resolv.conf /etc/resolv.conf
$PYTHON silent.py & server=$!
until [ -e up ]; do sleep 0.05; done
$PYTHON -m vdevice run & device=$!
until $PYTHON -m vdevice send 7 x >/dev/null 2>&1; do sleep 0.1; done
until [ -e asked ]; do sleep 0.05; done
kill $device; date +%s; wait $device; echo "exit $?"; date +%s
kill $server
"""


async def test_a_name_server_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:2\n")
    (tmp_path / "silent.py").write_text(SILENT)
    (tmp_path / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "127.0.0.1:{free_port()}"\n[web]\nenabled = false\n'
        '[targets.7]\nmethod = "get"\nurl = "http://hangs.example/"\n'
    )
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--map-root-user", "--mount", "--net", "sh", "-c", UNSHARED),
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(100):
        before, code, after = (await process.communicate())[0].decode().splitlines()[-3:]
    assert code == "exit 0"
    # The look-up takes a minute; an attempt under way has five seconds to end.
    assert int(after) - int(before) < 20
