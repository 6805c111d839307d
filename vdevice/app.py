"""Builds the device, or the half of it that its role names, and runs it in one TaskGroup: reload, shutdown in order.

The order of the end: listen no more, answer what was received, let what is being sent end, close the outbox.
"""

import asyncio
import contextlib
import gc
import os
import signal
import ssl
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog

from vdevice import __version__, descriptors, logs, memory
from vdevice.board import Board
from vdevice.clock import Clock
from vdevice.config import Config, load
from vdevice.dispatch.dispatcher import Dispatcher
from vdevice.dispatch.sender import Sender
from vdevice.errors import OutboxFailingError
from vdevice.modbus.connection import Connected
from vdevice.modbus.server import DeviceServer
from vdevice.modbus.unit import Unit
from vdevice.model import Stored
from vdevice.outbox.api import Role, open_outbox
from vdevice.reloading import Reloader
from vdevice.running import noted
from vdevice.web.history import SAMPLES, keep
from vdevice.web.server import Page
from vdevice.web.views import Moment

T = TypeVar("T")
PROBE = 1.0
RETENTION = 60.0
GRACE = 5.0
"""Seconds that a shutdown gives to answers and idle strings, and again to what is being sent."""

LEAST_GRACE = 0.5
"""Seconds for the idle strings, where the answers took all of the time."""

RESOLVER_THREADS = 64
"""Name look-ups under way at once, fewer under a limit of memory: a name server that hangs holds up its own target only."""

GARBAGE = 20_000
"""Objects after which Python looks for garbage that refers to itself; its own 700 costs a twentieth of all CPU."""

log = structlog.get_logger()


class App:
    """A running device; `address` is where it listens, `reload` takes the config file anew.

    In the role of a device it has no dispatcher, in the role of a dispatcher it does not listen.
    """

    def __init__(self, config: Config, path: Path | None = None, role: Role = "all") -> None:
        self.config = config
        self.board = Board()
        self.address = ""
        self.path = path
        self._role = role
        # Bound once: finding the logger is half of what a line costs.
        self._log = log.bind()
        self.outbox = open_outbox(config, self.board, role)
        self.outbox.on_stored = self._log_accepted
        self.sender = Sender(config.delivery)
        self.clock = Clock()
        self.history: deque[Moment] = deque(maxlen=SAMPLES)
        self.page_address = ""
        self.dispatcher = Dispatcher(config, self.outbox, self.board, self.sender, self.clock)
        self.unit = Unit(config, self.outbox, self.board)
        self._server = DeviceServer(config, self.unit, self.board)
        self.saving = asyncio.Lock()
        self.searching = asyncio.Lock()
        self.reloader = Reloader(path, config, self.board, self._apply)
        self._page = Page(self, config.folder) if config.web.enabled and role != "dispatcher" else None
        self._show(config)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["App"]:
        """Run the device while the block runs, and end it in order."""
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(memory.fit_threads(RESOLVER_THREADS), "resolver")
        )
        async with self.outbox, self.sender, contextlib.AsyncExitStack() as stack:
            if self._page:
                self.page_address = await stack.enter_async_context(self._page.running())
            if self._role != "dispatcher":
                self.address = await self._server.start()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(work())
                    for work in (self._probe, self._retain, self._watch_files, self.reloader.run)
                ]
                if self._role != "device":
                    started = asyncio.Event()
                    tasks.append(group.create_task(self.dispatcher.run(started)))
                    await started.wait()
                if self._role != "dispatcher":
                    tasks += [group.create_task(self._server.run()), group.create_task(self.unit.writes.run())]
                tasks.append(group.create_task(keep(self.board, self.history)))
                log.info(
                    "running",
                    version=__version__,
                    role=self._role,
                    modbus=self.address or "off",
                    **({"page": f"http://{self.page_address}/"} if self.page_address else {}),
                    **({"modbus_tls": self.tls_address} if self.tls_address else {}),
                    targets=len(self.config.targets),
                )
                try:
                    yield self
                finally:
                    await self._end()
                    for task in tasks:
                        task.cancel()
            log.info("stopped", waiting=self.board.waiting)

    async def _end(self) -> None:
        # What is accepted from now on is sent after the next start.
        if self._role != "device":
            self.dispatcher.stop()
        if self._role != "dispatcher":
            ends_at = time.monotonic() + GRACE
            await self._server.drain(GRACE)
            await self.unit.writes.finish(max(ends_at - time.monotonic(), LEAST_GRACE))
        if self._role != "device":
            await self.dispatcher.drain(GRACE)

    @property
    def lines(self) -> list[str]:
        """The last lines of the log."""
        return [line.decode() for line in logs.RECENT]

    def look_again(self) -> None:
        """Look at what waits anew before the next attempt; what other processes change is seen within a second."""
        self.outbox.on_outside_change()

    def connected(self) -> list[Connected]:
        """Return the Modbus connections."""
        return self._server.connected()

    @property
    def tls_address(self) -> str:
        """Where the device listens for Modbus/TCP Security; empty where it does not."""
        return self._server.tls_address

    def _log_accepted(self, stored: list[Stored]) -> None:
        for item in stored:
            event = item.event
            self._log.info("accepted", event_id=event.id, target=event.target, client=event.source_connection)

    def _show(self, config: Config) -> None:
        self.board.configure({number: target.enabled for number, target in config.targets.items()})

    async def reload(self) -> bool:
        """Take the config file anew; a wrong one is refused and the old one stays."""
        return await self.reloader.reload()

    def _apply(self, config: Config, context: ssl.SSLContext | None) -> None:
        before, self.config = self.config, config
        self._show(config)
        self.outbox.apply(config)
        self.unit.apply(config)
        if self._role != "device":
            self.dispatcher.apply(config)
        self._server.apply(config, context)
        if config.modbus.max_connections != before.modbus.max_connections:
            descriptors.compare(config)

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE)
            with contextlib.suppress(OutboxFailingError):
                await self.outbox.probe()
                await self._follow_clock()

    async def _watch_files(self) -> None:
        await descriptors.watch(self.board)

    async def _follow_clock(self) -> None:
        jump = self.clock.jump()
        if jump:
            log.warning("clock was set", seconds=round(jump, 1))
            now = time.time()
            await self.outbox.shift(jump, now, self.clock.started)
            self.clock.settle(jump)
            self.dispatcher.shift(jump, now)

    async def _retain(self) -> None:
        while True:
            with contextlib.suppress(OutboxFailingError):
                now, keep = time.time(), self.config.outbox
                delivered, failed = now - keep.keep_delivered * 3600, now - keep.keep_failed * 86_400
                # What seems old may only be a clock that was set.
                while not self.clock.jump() and await self.outbox.purge(delivered, failed):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(RETENTION)


async def run(path: Path, role: Role = "all", ready: Callable[[App], None] | None = None) -> None:
    """Run the device of a config file until SIGINT or SIGTERM. Raises VdeviceError where it cannot start."""
    memory.check()
    descriptors.raise_limit()
    app = App(load(path), path, role)
    descriptors.compare(app.config)
    # What is there now stays; and the events that wait are no garbage, however often one looks.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _signals(loop, stop, app), noted(path, app.config) as note:
        async with app.running():
            if app.address:
                note(app.address, app.tls_address)
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
        signal.SIGHUP: app.reloader.reload_soon,
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
    look_ups = memory.fit_threads(RESOLVER_THREADS)
    if sys.platform != "win32":
        os.environ.setdefault("UV_THREADPOOL_SIZE", str(look_ups))
        import uvloop  # noqa: PLC0415 (not on Windows)

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
