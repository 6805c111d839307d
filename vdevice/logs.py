"""Log lines: readable on a terminal, JSON elsewhere, one line an event in its life, to standard error.

Whoever logs passes event id, target number and words; values, URLs and secrets are never passed.
"""

import asyncio
import atexit
import contextlib
import functools
import logging
import sys
import time
from typing import BinaryIO, Literal, cast

import msgspec
import structlog

_encode = msgspec.json.Encoder(enc_hook=str).encode

GATHER = 0.02
"""Seconds that a JSON line may wait for others."""

LogFormat = Literal["auto", "console", "json"]


def configure(form: LogFormat = "auto", *, quiet: bool = False) -> None:
    """Set up logging for this process; `quiet` keeps warnings and errors only."""
    # pymodbus' own lines may hold frames, so payload.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    if form == "console" or (form == "auto" and sys.stderr.isatty()):
        processors: list[structlog.typing.Processor] = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
        factory: object = structlog.PrintLoggerFactory(sys.stderr)
    else:
        processors = [_json_line]
        factory = structlog.BytesLoggerFactory(cast("BinaryIO", _Gathered(sys.stderr.buffer)))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=factory,  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


def _json_line(logger: object, method: str, line: structlog.typing.EventDict) -> bytes:
    """Render a line as JSON: what structlog's own processors for level, time and rendering do, at half their price."""
    if "exc_info" in line:
        line = structlog.processors.format_exc_info(logger, method, line)
    now = time.time()
    line["level"] = "error" if method == "exception" else method
    line["timestamp"] = f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"
    return _encode(line)


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class _Gathered:
    """Writes the lines of a moment together: a system call a line is dear where thousands come in a second."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self._waiting = False
        self.write = self._lines.append
        atexit.register(self._flush)

    def flush(self) -> None:
        """Write soon; at once where no event loop runs."""
        if self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._flush()
            return
        self._waiting = True
        loop.call_later(GATHER, self._flush)

    def _flush(self) -> None:
        self._waiting = False
        lines = b"".join(self._lines)
        self._lines.clear()
        with contextlib.suppress(OSError, ValueError):
            self._file.write(lines)
            self._file.flush()
