"""Builds the device and runs it in one TaskGroup: reload on SIGHUP, shutdown in order.

The order of the end: listen no more, answer what was received, let what is being sent end, close the outbox.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog

from vdevice import __version__
from vdevice.board import Board
from vdevice.config import Config, load
from vdevice.dispatch.dispatcher import Dispatcher
from vdevice.dispatch.sender import Sender
from vdevice.errors import ConfigError, OutboxFailingError
from vdevice.modbus.server import DeviceServer
from vdevice.modbus.unit import Unit
from vdevice.outbox.sqlite import SqliteOutbox

T = TypeVar("T")
PROBE = 1.0
RETENTION = 60.0
GRACE = 5.0
"""Seconds that a shutdown gives to answers and to what is being sent, each."""

RESOLVER_THREADS = 64
"""Name look-ups under way at once: a name server that hangs holds up its own target only."""

GARBAGE = 20_000
"""Objects after which Python looks for garbage that refers to itself; its own 700 costs a twentieth of all CPU."""

log = structlog.get_logger()


class App:
    """A running device; `address` is where it listens, `reload` takes the config file anew."""

    def __init__(self, config: Config, path: Path | None = None) -> None:
        self.config = config
        self.board = Board()
        self.address = ""
        self._path = path
        self.outbox = SqliteOutbox(config.outbox_file, self.board, config.outbox.max_messages)
        self.sender = Sender()
        self.dispatcher = Dispatcher(config, self.outbox, self.board, self.sender)
        self.unit = Unit(config, self.outbox, self.board)
        self._server: DeviceServer | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["App"]:
        """Run the device while the block runs, and end it in order."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(RESOLVER_THREADS, "resolver"))
        async with self.outbox, self.sender:
            server = DeviceServer(self.config, self.unit, self.board)
            self._server = server
            self.address = await server.start()
            async with asyncio.TaskGroup() as group:
                started = asyncio.Event()
                dispatching = group.create_task(self.dispatcher.run(started))
                await started.wait()
                tasks = [
                    group.create_task(work)
                    for work in (server.sweep(), self.unit.writes.run(), self._probe(), self._retain())
                ]
                log.info("running", version=__version__, modbus=self.address, targets=len(self.config.targets))
                try:
                    yield self
                finally:
                    await server.drain(GRACE)
                    await self.unit.writes.finish()
                    await self.dispatcher.drain(GRACE)
                    for task in (dispatching, *tasks):
                        task.cancel()
            log.info("stopped", waiting=self.board.waiting)

    def reload(self) -> bool:
        """Take the config file anew; a wrong one is refused and the old one stays."""
        if self._path is None:
            return False
        try:
            config = load(self._path)
        except ConfigError as error:
            for problem in error.problems:
                log.error("config refused", path=problem.path, reason=problem.message)  # noqa: TRY400 (no traceback for a user)
            return False
        for name, new, old in (
            ("modbus.listen", config.modbus.listen, self.config.modbus.listen),
            ("outbox.url", config.outbox.url, self.config.outbox.url),
        ):
            if new != old:
                log.warning("needs a restart", setting=name, until_then=str(old))
        self.config = config
        self.outbox.max_messages = config.outbox.max_messages
        self.unit.apply(config)
        self.dispatcher.apply(config)
        if self._server:
            self._server.apply(config)
        log.info("config loaded", targets=len(config.targets))
        return True

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE)
            with contextlib.suppress(OutboxFailingError):
                await self.outbox.probe()

    async def _retain(self) -> None:
        while True:
            with contextlib.suppress(OutboxFailingError):
                now, keep = time.time(), self.config.outbox
                while await self.outbox.purge(now - keep.keep_delivered * 3600, now - keep.keep_failed * 86_400):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(RETENTION)


async def run(path: Path, ready: Callable[[App], None] | None = None) -> None:
    """Run the device of a config file until SIGINT or SIGTERM. Raises VdeviceError where it cannot start."""
    app = App(load(path), path)
    # What is there now stays; and the events that wait are no garbage, however often one looks.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _signals(loop, stop, app):
        async with app.running():
            if ready:
                ready(app)
            await stop.wait()


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, app: App) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    handlers: dict[int, Callable[[], object]] = {
        signal.SIGINT: stop.set,
        signal.SIGTERM: stop.set,
        signal.SIGHUP: app.reload,
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop, where there is one."""
    factory = None
    if sys.platform != "win32":
        os.environ.setdefault("UV_THREADPOOL_SIZE", str(RESOLVER_THREADS))
        import uvloop  # noqa: PLC0415 (not on Windows)

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
