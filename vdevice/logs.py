"""Log lines: readable on a terminal, JSON elsewhere, one line an event in its life, to standard error.

Whoever logs passes event id, target number and words; values, URLs and secrets are never passed.
"""

import asyncio
import atexit
import contextlib
import logging
import sys
from typing import BinaryIO, Literal, cast

import msgspec
import structlog

GATHER = 0.02
"""Seconds that a JSON line may wait for others."""

LogFormat = Literal["auto", "console", "json"]


def configure(form: LogFormat = "auto", *, quiet: bool = False) -> None:
    """Set up logging for this process; `quiet` keeps warnings and errors only."""
    # pymodbus' own lines may hold frames, so payload.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    shared: list[structlog.typing.Processor] = [structlog.processors.add_log_level]
    if form == "console" or (form == "auto" and sys.stderr.isatty()):
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        factory: object = structlog.PrintLoggerFactory(sys.stderr)
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(serializer=_serialize)
        factory = structlog.BytesLoggerFactory(cast("BinaryIO", _Gathered(sys.stderr.buffer)))
    structlog.configure(
        processors=[*shared, stamp, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=factory,  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


class _Gathered:
    """Writes the lines of a moment together: a system call a line is dear where thousands come in a second."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting = False
        atexit.register(self._flush)

    def write(self, line: bytes) -> None:
        """Keep a line for the next flush."""
        self._file.write(line)

    def flush(self) -> None:
        """Flush soon; at once where no event loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._flush()
            return
        if not self._waiting:
            self._waiting = True
            loop.call_later(GATHER, self._flush)

    def _flush(self) -> None:
        self._waiting = False
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


def _serialize(line: object, **_: object) -> bytes:
    return msgspec.json.encode(line)
