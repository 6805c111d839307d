"""The config file and the certificates of the listener while the device runs: noticed when they change, and read anew.

Files are looked at and read in threads, so that a file on a dead mount or a named pipe in its place holds up nothing. A
config that is wrong in any way is refused as a whole and the old one stays.
"""

import asyncio
import contextlib
import enum
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from vdevice.board import Board
from vdevice.config import Config
from vdevice.config.certificates import server_context
from vdevice.config.load import parse
from vdevice.config.load import read as read_config
from vdevice.errors import ConfigError, Problem, StalledError
from vdevice.threads import in_thread

EVERY_SECONDS = 1.0
"""Between two looks at the files."""

LOOK_SECONDS = 5.0
READ_SECONDS = 5.0
"""How long the files may take to be looked at, and to be read."""

CUT_SECONDS = 60.0
"""How long a file without the targets that have messages waiting must stay so until it is meant: it may have been cut."""

log = structlog.get_logger()

Look = dict[Path, tuple[int, int, int] | None]
"""Of each file its time in ns, size and inode; None where it is not there."""


class Loaded(NamedTuple):
    """What was read: the config, the listener's TLS context, and the files as they were just before."""

    config: Config
    context: ssl.SSLContext | None
    seen: Look


def files_of(config: Config, path: Path | None) -> list[Path]:
    """Return the files that are watched."""
    tls = config.modbus.tls
    return [*([path] if path else []), *((tls.cert, tls.key, tls.client_ca) if tls else ())]


def look(files: Iterable[Path]) -> Look:
    """Return what tells one content of the files from another; a look a second needs no library."""
    found: Look = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found[file] = None
        else:
            found[file] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


async def read(path: Path, before: Config) -> Loaded:
    """Read a config file and the certificates that it names. Raises ConfigError, StalledError."""

    def work() -> Loaded:
        # Looked at before it is read: what changes while it is read is read once more.
        seen = look([path])
        text = read_config(path)
        if not text.strip():
            raise ConfigError([Problem("", f"{path.name} is empty; what was in it before stays")])
        config = parse(text, path.resolve().parent)
        seen |= look(files_of(config, None))
        tls = config.modbus.tls
        try:
            # Read here and not when it is applied: then the files may have changed again.
            context = server_context(tls) if tls and before.modbus.tls else None
        except ValueError as error:
            raise ConfigError([Problem("modbus.tls", str(error))]) from None
        return Loaded(config, context, seen)

    return await in_thread(path.name, READ_SECONDS, work)


class Changes:
    """Tells from a look each second whether the files have another content that has settled."""

    def __init__(self, taken: Look) -> None:
        self._taken = self._last = taken

    def settled(self, seen: Look) -> bool:
        """Return whether the files differ from what was taken, and not from the look before: nobody writes them now."""
        quiet = seen == self._last
        self._last = seen
        return quiet and seen != self._taken

    def are_none(self, seen: Look) -> bool:
        """Return whether the files are what was taken or refused last."""
        return seen == self._taken

    def took(self, seen: Look, files: Iterable[Path]) -> None:
        """Note what was taken, or refused for good, of the files that are watched from now on."""
        known = self._taken | seen
        self._taken = self._last = {file: known.get(file) for file in files}


class Reloader:
    """Keeps the config of a running device the one of its file; `apply` takes a new one, with the listener's TLS context."""

    def __init__(
        self,
        path: Path | None,
        config: Config,
        board: Board,
        apply: Callable[[Config, ssl.SSLContext | None], None],
    ) -> None:
        self._path = path
        self._config = config
        self._board = board
        self._apply = apply
        self._changes = Changes(look(files_of(config, path)))
        self._one_at_a_time = asyncio.Lock()
        self._asked = asyncio.Event()
        self._refused: list[Problem] = []
        self._cut_since: float | None = None

    def reload_soon(self) -> None:
        """Take the file anew at the next moment: for a signal."""
        self._asked.set()

    async def run(self) -> None:
        """Reload when asked, and when a file that the config is made of has changed and settled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._asked.wait()
            asked = self._asked.is_set()
            self._asked.clear()
            files = files_of(self._config, self._path)
            try:
                seen = await in_thread("a file of the config", LOOK_SECONDS, lambda files=files: look(files))  # type: ignore[misc]
            except StalledError as error:
                self._refuse([Problem("", str(error))])
                continue
            except Exception:
                log.exception("looking at the files of the config failed")
                continue
            if self._cut_since is not None and self._changes.are_none(seen):
                # Put back as it was; what is cut the next time has its whole time again.
                self._refused, self._cut_since = [], None
            if (self._changes.settled(seen) or asked) and await self._taken(sure=False) is Taken.REFUSED:
                self._changes.took(seen, files)

    async def reload(self) -> bool:
        """Take the file anew now, because a person said so; False where it is wrong."""
        return await self._taken(sure=True) is Taken.YES

    async def _taken(self, *, sure: bool) -> "Taken":
        if self._path is None:
            return Taken.REFUSED
        async with self._one_at_a_time:
            try:
                loaded = await read(self._path, self._config)
            except ConfigError as error:
                self._refuse(error.problems)
                return Taken.REFUSED
            except StalledError as error:
                self._refuse([Problem("", str(error))])
                return Taken.LATER
            except Exception:
                # A last line of defence: whatever a file holds, the device goes on with the config of before.
                log.exception("config refused", path="", reason="it cannot be read or checked; please report this")
                return Taken.REFUSED
            cut = [] if sure else self._cut(loaded.config)
            if cut:
                self._refuse(cut)
                return Taken.LATER
            return self._take(loaded)

    def _refuse(self, problems: list[Problem]) -> None:
        """Say why the config of before stays, once."""
        if problems != self._refused:
            for problem in problems:
                log.error("config refused", path=problem.path, reason=problem.message)
        self._refused = problems

    def _put_back(self) -> None:
        try:
            self._apply(self._config, None)
        except Exception:
            log.exception("the config of before cannot be applied; restart the device")

    def _cut(self, config: Config) -> list[Problem]:
        """Return the targets that are gone though messages wait for them, until that has been so for long enough."""
        queued = self._board.targets
        missing = [n for n in self._config.targets if n not in config.targets and queued[n].queued]
        now = time.monotonic()
        self._cut_since = (self._cut_since or now) if missing else None
        if self._cut_since is None or now - self._cut_since >= CUT_SECONDS:
            return []
        words = f"is gone and has messages waiting; it is taken away when the file has been like this for {CUT_SECONDS:.0f} s"
        return [Problem(f"targets.{number}", words) for number in missing]

    def _take(self, loaded: Loaded) -> "Taken":
        config, kept = kept_until_restart(loaded.config, self._config)
        try:
            self._apply(config, loaded.context)
        except Exception:
            # A last line of defence: whatever a config does to the device, the one of before goes on.
            log.exception("config refused", path="", reason="it cannot be applied; please report this")
            self._put_back()
            return Taken.REFUSED
        for name, value in kept.items():
            log.warning("needs a restart", setting=name, until_then=value)
        self._config = config
        # Other files than were read where [modbus.tls] needs a restart.
        self._changes.took(loaded.seen, files_of(config, self._path))
        self._refused, self._cut_since = [], None
        log.info("config loaded", targets=len(config.targets))
        return Taken.YES


class Taken(enum.Enum):
    """What became of a changed file."""

    YES = enum.auto()
    REFUSED = enum.auto()
    LATER = enum.auto()


def kept_until_restart(new: Config, old: Config) -> tuple[Config, dict[str, str]]:
    """Return a config with the old values of what only a restart changes, and those settings with their old values."""
    tls = new.modbus.tls
    if tls is None or old.modbus.tls is None:
        tls = old.modbus.tls
    else:
        tls = msgspec.structs.replace(tls, listen=old.modbus.tls.listen)
    outbox = old.outbox
    for name in ("max_messages", "keep_failed", "keep_delivered"):
        outbox = msgspec.structs.replace(outbox, **{name: getattr(new.outbox, name)})
    # The names of its streams hold the id.
    device = msgspec.structs.replace(new.device, id=old.device.id) if old.outbox.is_nats else new.device
    kept = msgspec.structs.replace(
        new,
        device=device,
        modbus=msgspec.structs.replace(new.modbus, listen=old.modbus.listen, tls=tls),
        web=msgspec.structs.replace(new.web, listen=old.web.listen, enabled=old.web.enabled),
        outbox=outbox,
    )
    settings = {
        "device.id": (new.device.id, device.id),
        "modbus.listen": (new.modbus.listen, old.modbus.listen),
        "modbus.tls.listen": (_listen(new), _listen(old)),
        "web.listen": (new.web.listen, old.web.listen),
        "web.enabled": (new.web.enabled, old.web.enabled),
        **{
            f"outbox.{name}": (getattr(new.outbox, name), getattr(outbox, name))
            for name in old.outbox.__struct_fields__
        },
    }
    return kept, {name: str(before) for name, (now, before) in settings.items() if now != before}


def _listen(config: Config) -> str:
    return str(config.modbus.tls.listen) if config.modbus.tls else "off"
