"""Handlers of the device itself: connections, the last hour, log, file, backup, and who has access."""

import contextlib
import tempfile
from pathlib import Path
from typing import BinaryIO

import structlog

from vdevice import descriptors
from vdevice.config import Config
from vdevice.config.edit import tag_of
from vdevice.config.redact import without_secrets
from vdevice.errors import VdeviceError
from vdevice.outbox import archive, files
from vdevice.threads import in_thread
from vdevice.web.call import FILE_SECONDS, ApiError, Call
from vdevice.web.views import (
    Count,
    NewToken,
    Session,
    System,
    Text,
    TokenMade,
    TokenRow,
)

BACKUP_SECONDS = 600.0
"""How long a backup may take."""

log = structlog.get_logger()


async def read(call: Call) -> System:
    """Return connections, the last hour, the last lines of the log, and the outbox."""
    device = call.device
    oldest = await call.letters(lambda letters: letters.oldest()) if device.board.waiting else 0.0
    return System(
        device.connected(),
        list(device.history),
        device.lines,
        await in_thread("the size of the outbox", FILE_SECONDS, lambda: _outbox_bytes(device.config)),
        oldest,
        _limits(device.config),
        device.address,
        device.tls_address,
    )


def _limits(config: Config) -> dict[str, str]:
    """Return the limits that hold now, by the settings' own names; those that are off are left out."""
    modbus = config.modbus
    timeouts = ("idle_timeout", "frame_timeout", "answer_timeout")
    names = ("max_connections", "max_connections_per_address", *timeouts, "rate")
    limits = {f"modbus.{name}": f"{value:g}" for name in names if (value := getattr(modbus, name))}
    if modbus.allow:
        limits["modbus.allow"] = ", ".join(map(str, modbus.allow))
    if limits.get("modbus.max_connections", "") != str(most := descriptors.most_connections(config)):
        limits["connections that open files permit"] = str(most)
    if (used := descriptors.in_use()) is not None:
        limits["open files"] = f"{used} of {descriptors.limit()}"
    return {**limits, "outbox.max_messages": str(config.outbox.max_messages)}


def _outbox_bytes(config: Config) -> int:
    """Return the size of the outbox's files, without those that were set aside; 0 for one in NATS."""
    file = config.outbox_file
    if config.outbox.is_nats:
        return 0
    return sum(_size(files.part(file, end)) for end in files.ENDS)


def _size(file: Path) -> int:
    # The log of the database goes away when the last connection to it ends.
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


async def file(call: Call) -> Text:
    """Return vdevice.toml without its secrets."""
    _, text = await call.file()
    return Text(without_secrets(text)[0], tag_of(text))


async def backup(call: Call) -> BinaryIO:
    """Return a zip of config and outbox, without secrets, in a file without a name: what `vdevice backup` writes."""
    _, text = await call.file()

    def work() -> BinaryIO:
        with contextlib.ExitStack() as stack:
            kept = stack.enter_context(tempfile.TemporaryFile(prefix="vdevice-"))
            archive.save(call.device.config, text, kept)
            kept.seek(0)
            stack.pop_all()
        return kept

    log.info("audit", who=call.who.name, address=call.address, what="backup")
    try:
        return await in_thread("the backup", BACKUP_SECONDS, work)
    except OSError as error:
        raise VdeviceError(
            f"the backup cannot be written ({error.strerror}); see the disk of temporary files"
        ) from None


async def session(call: Call) -> Session:
    """Return who is signed in."""
    return Session(call.who.name, call.who.role, call.access.is_open)


async def tokens(call: Call) -> list[TokenRow]:
    """Return the tokens that were made."""
    return [TokenRow(token.name, token.role, token.created_at) for token in call.access.users.tokens]


async def new_token(call: Call) -> TokenMade:
    """Make a token, which is shown only now."""
    given = call.take(NewToken)
    if not given.name.strip():
        raise ApiError(422, "name says what the token is for")
    try:
        token = await call.access.aside(lambda: call.access.new_token(given.name, given.role, call.who.user))
    except VdeviceError as error:
        raise ApiError(409, str(error)) from None
    log.info("audit", who=call.who.name, address=call.address, what="token made", token=given.name)
    return TokenMade(token)


async def revoke(call: Call) -> Count:
    """Take a token back."""
    count = int(await call.access.aside(lambda: call.access.revoke(call.match["name"])))
    log.info("audit", who=call.who.name, address=call.address, what="token revoked", token=call.match["name"])
    return Count(count)
