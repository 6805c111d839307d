"""Sends a file as the answer, piece by piece, so that it is never in memory as a whole."""

import os
from collections.abc import Mapping
from typing import BinaryIO

import structlog
from aiohttp import web

from vdevice.errors import StalledError
from vdevice.threads import in_thread

PIECE = 256 * 1024
"""Bytes that are read, and sent, at once."""

PIECE_SECONDS = 30.0
"""How long reading a piece may take."""

log = structlog.get_logger()


async def send_zip(request: web.Request, file: BinaryIO, headers: Mapping[str, str]) -> web.StreamResponse:
    """Send an open zip file from its beginning, and close it; where it cannot be read to its end, the connection is cut."""
    with file:
        response = web.StreamResponse(headers=headers)
        response.content_type = "application/zip"
        response.content_length = os.fstat(file.fileno()).st_size
        await response.prepare(request)
        try:
            while piece := await in_thread("the backup", PIECE_SECONDS, lambda: file.read(PIECE)):
                await response.write(piece)
        except (OSError, StalledError) as error:
            # The head said how long it is, so that nobody takes a part for all; another answer cannot follow.
            log.warning("a backup was not sent whole", path=request.path, reason=str(error))
            if request.transport is not None:
                request.transport.abort()
    return response
