"""A limit of the address space (ulimit -v, LimitAS= of systemd): fewer threads with smaller stacks fit into it.

libuv ends the process without a word where it cannot start its threads, each of which takes 8 MiB of address space; so what it
may start is worked out before.
"""

import sys
import threading

from vdevice.errors import VdeviceError

MIB = 1 << 20
LEAST = 128 * MIB
"""Below this nothing works well; measured: device and page start within 100 MiB."""

OWN = 200 * MIB
"""What the device takes beside the threads for name look-ups; a check of a password alone takes 64 MiB."""

LIBUV_STACK = 8 * MIB
STACK = 2 * MIB
"""Of a thread of Python's own, where there is a limit; what is nested as deep as Python permits fits in."""

FEWEST = 4


def limit() -> int | None:
    """Return how many bytes of address space this process may have, None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 (not on Windows)

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def threads(wanted: int, most: int | None) -> int:
    """Return how many threads for name look-ups fit into a limit in bytes: they take half of what is left beside the device."""
    return wanted if most is None else max(min((most - OWN) // 2 // LIBUV_STACK, wanted), FEWEST)


def fit_threads(wanted: int) -> int:
    """Return how many threads for name look-ups there may be, and let Python's own have smaller stacks under a limit."""
    most = limit()
    if most is not None:
        threading.stack_size(STACK)
    return threads(wanted, most)


def check() -> None:
    """Raise VdeviceError where the limit is too low for a device."""
    most = limit()
    if most is not None and most < LEAST:
        raise VdeviceError(
            f"the limit of memory is {most // MIB} MiB (ulimit -v, LimitAS= in systemd), "
            f"and a device needs {LEAST // MIB} MiB; raise it"
        )
