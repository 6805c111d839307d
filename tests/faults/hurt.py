"""A real device in a process of its own, whose clock and name server are in the hands of a test.

The file HURT holds two words: seconds that the clock is ahead, and whether names resolve. Names below `.plant` are this
machine. `python -m tests.faults.hurt FILE run …` is `vdevice run …`.
"""

import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from vdevice.cli import main

_file = Path(sys.argv.pop(1))
_real_time = time.time


def _hurt() -> tuple[float, bool]:
    ahead, names = _file.read_text("ascii").split()
    return float(ahead), names == "resolve"


class _Loop(uvloop.Loop):
    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        if not str(host).endswith(".plant"):
            return await super().getaddrinfo(host, port, **options)
        if not _hurt()[1]:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return await super().getaddrinfo("127.0.0.1", port, **options)


time.time = lambda: _real_time() + _hurt()[0]
uvloop.new_event_loop = _Loop
main()
