"""What the listeners share: where they listen, and one sentence where they cannot."""

import contextlib
import socket
from collections.abc import Iterator

from vdevice.config.schema import Listen
from vdevice.errors import VdeviceError


@contextlib.contextmanager
def listening(setting: str, listen: Listen) -> Iterator[None]:
    """Say in one sentence why the block could not listen. Raises VdeviceError."""
    try:
        yield
    except PermissionError:
        raise VdeviceError(
            f"{setting}: no permission for port {listen.port}; take one above 1023, or allow vdevice to bind it "
            f"(AmbientCapabilities=CAP_NET_BIND_SERVICE in systemd, sysctl net.ipv4.ip_unprivileged_port_start={listen.port}, "
            "or a redirect of the port: docs/plc.md, Port 502)"
        ) from None
    except OSError as error:
        reason = "the port is in use by another program" if error.errno in {98, 48, 10048} else error.strerror
        raise VdeviceError(f"{setting}: cannot listen on {listen} ({reason}); choose another address") from None


def address_of(listener: socket.socket) -> str:
    """Return where a socket listens, as host:port."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
