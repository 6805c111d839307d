"""File descriptors: every connection takes one, and without a free one neither PLCs get in nor the outbox is opened.

The system's limit is raised at the start as far as it goes, and shared out, so that the page's connections cannot take those
of Modbus, nor both together those of the outbox. Where none is left all the same, the log, the page and /readyz say so.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

import structlog

from vdevice.board import Board
from vdevice.config import Config

WANTED = 65_536
"""Descriptors above which the limit is not raised: nothing here takes more."""

RESERVED = 256
"""For outbox, files, log, name look-ups, and connections that are closed in the moment they come."""

PAGE = 256
"""For the page and its API."""

HANDSHAKES = 100
"""TLS handshakes of Modbus clients that may be under way at once."""

SPARE = 16
"""Free descriptors below which there are none left."""

WATCH_SECONDS = 1.0

log = structlog.get_logger()


class Shares(NamedTuple):
    """How many connections there may be: of Modbus clients, and of the page."""

    modbus: int
    page: int


def raise_limit() -> None:
    """Let this process open as many files as the system permits it."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 (not on Windows)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        # Some systems have a lower limit still, and name none.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def limit() -> int:
    """Return how many files this process may have open; a large number where nothing limits it."""
    if sys.platform == "win32":
        return WANTED
    import resource  # noqa: PLC0415 (not on Windows)

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft


def in_use() -> int | None:
    """Return how many files this process has open; None where the system does not say."""
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return None


def shares(total: int, sockets: int) -> Shares:
    """Share descriptors out, when requests to targets and handshakes take `sockets` of them; of few each gets less."""
    page = min(PAGE, total // 8)
    others = min(RESERVED, total // 4) + min(sockets, total // 4)
    return Shares(max(total - page - others, 1), page)


def shares_of(config: Config) -> Shares:
    """Return the shares of a device with this config."""
    outgoing = sum(target.parallel for target in config.targets.values() if target.enabled)
    return shares(limit(), outgoing + (HANDSHAKES if config.modbus.tls else 0))


def most_connections(config: Config) -> int:
    """Return how many Modbus connections there may be: `modbus.max_connections`, or fewer where descriptors are few."""
    share = shares_of(config).modbus
    return min(config.modbus.max_connections or share, share)


def compare(config: Config) -> None:
    """Say in the log where the system permits fewer connections than the config does."""
    wanted, most = config.modbus.max_connections, most_connections(config)
    if wanted > most:
        log.warning(
            "fewer connections than modbus.max_connections",
            modbus_max_connections=wanted,
            possible=most,
            open_files=limit(),
            reason=f"the system permits {limit()} open files; raise it (LimitNOFILE= in systemd, ulimit -n), "
            f"or set modbus.max_connections to {most}",
        )


async def watch(board: Board) -> None:
    """Show on the board whether descriptors are left, and log it when that changes, for ever."""
    while True:
        reason = _none_left()
        if bool(reason) != board.out_of_files:
            board.out_of_files = bool(reason)
            if reason:
                log.error("no file descriptor is left", reason=reason, open_files=in_use(), limit=limit())
            else:
                log.info("file descriptors are left again", open_files=in_use(), limit=limit())
        await asyncio.sleep(WATCH_SECONDS)


def _none_left() -> str:
    """Return why no more files can be opened, nothing where they can."""
    handles: list[int] = []
    try:
        # The system's own limit may be reached before that of the process; asking is the only sure way to know.
        while len(handles) < SPARE:
            handles.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return (
            f"{error.strerror}: new connections cannot be taken; raise the limit (LimitNOFILE= in systemd, ulimit -n)"
        )
    finally:
        for handle in handles:
            os.close(handle)
    return ""
