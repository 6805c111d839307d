"""What a handler gets: the device, who asks, and the request's parameters; and what it may answer with beside its struct."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from vdevice import regular
from vdevice.board import Board
from vdevice.clean import clean
from vdevice.config import Config
from vdevice.config.edit import tag_of
from vdevice.config.redact import without_secrets
from vdevice.dispatch.sender import Sender
from vdevice.errors import ConfigError, VdeviceError
from vdevice.modbus.connection import Connected
from vdevice.modbus.unit import Unit
from vdevice.outbox.api import Letters, open_letters
from vdevice.threads import in_thread
from vdevice.web.auth import Access, Who
from vdevice.web.views import Moment

B = TypeVar("B")

FILE_SECONDS, OUTBOX_SECONDS = 5.0, 60.0
"""How long a file beside the config, and what is done with the outbox, may take."""


class Device(Protocol):
    """What the page needs of a running device."""

    config: Config
    path: Path | None
    board: Board
    unit: Unit
    sender: Sender
    history: deque[Moment]
    address: str

    @property
    def tls_address(self) -> str:
        """Where it listens for Modbus/TCP Security; empty where it does not."""

    @property
    def lines(self) -> list[str]:
        """The last lines of its log."""

    def connected(self) -> list[Connected]:
        """Return its Modbus connections."""

    saving: asyncio.Lock
    searching: asyncio.Lock

    def look_again(self) -> None:
        """Look at what waits anew before the next attempt: somebody has just changed the outbox."""

    async def reload(self) -> bool:
        """Take the config file anew; False where it is wrong."""


class ApiError(Exception):
    """An answer that is not the wanted one, as a problem (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str = "", current: str = "") -> None:
        super().__init__(title)
        self.status, self.title, self.detail, self.current = status, title, detail, current


class Call(msgspec.Struct, frozen=True):
    """One request: `match` holds the parts of its path, `query` what follows the ?."""

    device: Device
    access: Access
    who: Who
    address: str
    match: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    def take(self, kind: type[B]) -> B:
        """Return the body as a struct. Raises ApiError."""
        return from_json(self.body, kind)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number of the path or query. Raises ApiError."""
        text = self.match.get(name, self.query.get(name, str(default)))
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        if not least <= number <= most:
            raise ApiError(404 if name in self.match else 422, f"{name} is a number from {least} to {most}")
        return number

    @property
    def target(self) -> int:
        """The number of the target in the path. Raises ApiError."""
        return self.number("number", 0, 1, 64)

    async def letters(self, work: Callable[[Letters], B]) -> B:
        """Do something with the events of the outbox, in a thread of its own."""

        def done() -> B:
            with open_letters(self.device.config) as letters:
                return work(letters)

        return await in_thread("the outbox", OUTBOX_SECONDS, done)

    async def file(self) -> tuple[Path, str]:
        """Return the config file and its text. Raises ApiError."""
        path = self.device.path
        if path is None:
            raise ApiError(409, "this device runs without a config file")
        try:
            return path, await in_thread(path.name, FILE_SECONDS, lambda: regular.read(path).decode("utf-8"))
        except (OSError, UnicodeDecodeError):
            raise ApiError(409, f"{path.name} cannot be read now") from None

    async def unchanged(self, tag: str) -> tuple[Path, str]:
        """Return the config file and its text if it is still the one of `tag`. Raises ApiError with what it is now."""
        path, text = await self.file()
        if tag != tag_of(text):
            words = "vdevice.toml was changed meanwhile; compare, and save again"
            raise ApiError(409, words, current=_shown(text))
        return path, text


def from_json(body: bytes, kind: type[B]) -> B:
    """Return the body of a request as a struct. Raises ApiError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise ApiError(422, "the body is not what it should be", clean(str(error))) from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "the body is not JSON in UTF-8", clean(str(error))) from None


def _shown(text: str) -> str:
    """Return a config as the page may show it."""
    try:
        return without_secrets(text)[0]
    except VdeviceError as error:
        return f"# it cannot be shown: {error}"


def problems_of(error: ConfigError) -> list[dict[str, str]]:
    """Return the problems of a config as the API says them."""
    return [{"path": problem.path, "message": problem.message} for problem in error.problems]
