"""Log lines: readable on a terminal, JSON elsewhere, one line an event in its life, to standard error.

Whoever logs passes event id, target number and words; values, URLs and secrets are never passed.
"""

import asyncio
import contextlib
import functools
import logging
import sys
import time
import traceback
from collections import deque
from typing import BinaryIO, Literal

import msgspec
import structlog

from vdevice import streams
from vdevice.clean import clean
from vdevice.terminal import visible, visible_json, write_traceback

_encode = msgspec.json.Encoder(enc_hook=str).encode

GATHER = 0.02
"""Seconds that a JSON line may wait for others."""

DROPPED = "log lines dropped: nobody read them, or they could not be written"

RECENT: deque[bytes] = deque(maxlen=300)
"""The last lines, as JSON, for the page."""

LogFormat = Literal["auto", "console", "json"]


def configure(form: LogFormat = "auto", *, quiet: bool = False, detached: bool = False) -> None:
    """Set up logging for this process; `quiet` keeps warnings and errors only.

    `detached` is for what runs on: all that goes to standard error is written from a thread, and never waited for.
    """
    on_terminal = form == "console" or (form == "auto" and sys.stderr.isatty())
    if detached:
        streams.detach("stderr", _console_dropped if on_terminal else _dropped)
    # pymodbus' own lines may hold frames, so payload.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    # aiohttp logs a traceback with the bytes of whatever is no HTTP.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Words("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if on_terminal:
        processors: list[structlog.typing.Processor] = [
            structlog.processors.add_log_level,
            _remembered,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            # The default shows the variables of each frame, so payload.
            _made_visible,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=write_traceback),
        ]
        structlog.configure(
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
        return
    lines = _Lines(sys.stderr.buffer, quiet=quiet)
    structlog.configure(
        processors=[],
        wrapper_class=lambda _logger, processors, context: lines,  # type: ignore[arg-type] # noqa: ARG005 (structlog's words)
        logger_factory=lambda *_names: None,
        cache_logger_on_first_use=True,
    )


def _remembered(_logger: object, _name: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    shown = {key: value for key, value in line.items() if key not in {"event", "level"}}
    RECENT.append(_rendered(time.time(), str(line["level"]), str(line["event"]), shown))
    return line


def _made_visible(_logger: object, _name: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave nothing in a line that steers the terminal; what is no string is printed by its repr, which escapes."""
    return {key: visible(value) if isinstance(value, str) else value for key, value in line.items()}


class _Words(logging.Formatter):
    """The lines of libraries, which may repeat what came from outside."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record), lines=True)


def _dropped(count: int) -> bytes:
    """Return the line that says how many lines nobody read."""
    RECENT.append(line := _rendered(time.time(), "warning", DROPPED, {"lines": count}))
    return line


def _console_dropped(count: int) -> bytes:
    _dropped(count)
    return f"{time.strftime('%H:%M:%S')} [warning  ] {DROPPED} lines={count}\n".encode()


class _Lines:
    """Renders and writes the lines of a moment together, as JSON.

    A system call a line is dear where thousands come in a second, and so is the rendering where a string is on its way: both
    are done when that moment is over. What is passed must not change meanwhile.
    """

    def __init__(self, file: BinaryIO, *, quiet: bool) -> None:
        self._file = file
        self._quiet = quiet
        self._lines: deque[tuple[float, str, str, dict[str, object]]] = deque()
        self._waiting = False
        streams.at_end(self._flush)

    def debug(self, event: str, **line: object) -> None:
        """Log nothing: this is for whoever configures another logger."""

    def info(self, event: str, **line: object) -> None:
        """Log what happens all the time."""
        if not self._quiet:
            self._add("info", event, line)

    def warning(self, event: str, **line: object) -> None:
        """Log what somebody may want to mend."""
        self._add("warning", event, line)

    def error(self, event: str, **line: object) -> None:
        """Log what somebody must mend."""
        self._add("error", event, line)

    def exception(self, event: str, **line: object) -> None:
        """Log an error of our own, with its traceback."""
        line["exception"] = traceback.format_exc()
        self._add("error", event, line)

    def _add(self, level: str, event: str, line: dict[str, object]) -> None:
        self._lines.append((time.time(), level, event, line))
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
        rendered = []
        # One by one until there is none: a thread that logs may take lines at the same time.
        with contextlib.suppress(IndexError):
            while True:
                rendered.append(_rendered(*self._lines.popleft()))
        RECENT.extend(rendered)
        with contextlib.suppress(OSError, ValueError):
            self._file.write(b"".join(rendered))
            self._file.flush()


def _rendered(now: float, level: str, event: str, line: dict[str, object]) -> bytes:
    line["event"], line["level"] = event, level
    line["timestamp"] = f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"
    try:
        encoded = _encode(line)
    except (ValueError, OverflowError, RecursionError):
        # Lone surrogates and numbers beyond 64 bits are no JSON; a line that cannot be written must not stop what logs it.
        encoded = _encode({clean(str(key)): clean(str(value)) for key, value in line.items()})
    # A person may read JSON lines on a terminal, too.
    plain = encoded.isascii() and b"\x7f" not in encoded
    return (encoded if plain else visible_json(encoded.decode()).encode()) + b"\n"


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
