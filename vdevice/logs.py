"""Log lines: readable on a terminal, JSON elsewhere, one line an event in its life, to standard error.

Whoever logs passes event id, target number and words; values, URLs and secrets are never passed.
"""

import logging
import sys
from typing import Literal

import msgspec
import structlog

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
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=[*shared, stamp, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=factory,  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def _serialize(line: object, **_: object) -> bytes:
    return msgspec.json.encode(line)
