"""Modbus/TCP Security: the listener whose clients show a certificate, and the role that stands in it.

The Modbus/TCP Security Protocol Specification (v2.1, 2018) puts the frames of Modbus/TCP into TLS as they are. pymodbus'
listener is not used here: it could not take another certificate, and keeps count of handshakes that failed for ever.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from vdevice.config.certificates import server_context
from vdevice.config.schema import Tls
from vdevice.descriptors import HANDSHAKES
from vdevice.errors import VdeviceError
from vdevice.modbus.listening import address_of, listening

ROLE = "1.3.6.1.4.1.50316.802.1"
"""The certificate extension that names a role as UTF8String (specification, chapter 8.4)."""

HANDSHAKE = 10.0
"""Seconds that a handshake may take."""

HANDSHAKES_OF_ONE_ADDRESS = 25
"""Handshakes of one address under way at once; above that the oldest one gives its place to the newest."""

NO_FILES = 0.5
"""Seconds until a new connection is taken where the process has no file descriptor left."""

log = structlog.get_logger()


class TlsListener:
    """Listens for TLS connections; `connection` makes the protocol of each one whose handshake succeeded.

    `why_not` returns why an address may not connect, nothing where it may; it is asked before the handshake. `tell_closed` gets
    client, kind and reason of each connection that does not come to be one.
    """

    def __init__(
        self,
        tls: Tls,
        connection: Callable[[], asyncio.Protocol],
        why_not: Callable[[str], str],
        tell_closed: Callable[[str, str, str], None],
    ) -> None:
        self._tls = tls
        self._connection = connection
        self._why_not = why_not
        self._tell_closed = tell_closed
        self._context = _context(tls)
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._closed = False

    def start(self) -> str:
        """Listen, and return the address as host:port. Raises VdeviceError where that cannot be done."""
        listen = self._tls.listen
        with listening("modbus.tls.listen", listen):
            family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
            self._socket = socket.create_server((listen.host, listen.port), family=family, backlog=100)
        self._socket.setblocking(False)
        return address_of(self._socket)

    def apply(self, context: ssl.SSLContext) -> None:
        """Show other certificates to the connections that come; those that are there stay."""
        self._context = context

    def close(self) -> None:
        """Listen no more."""
        self._closed = True
        self._socket.close()

    async def run(self) -> None:
        """Take connections in until `close`."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while not self._closed:
                try:
                    peer, address = await loop.sock_accept(self._socket)
                except OSError:
                    # Closed, or out of file descriptors: the condition above tells.
                    await asyncio.sleep(NO_FILES)
                    continue
                source = str(address[0])
                if self._may_begin(peer, source):
                    task = group.create_task(self._shake_hands(peer, source))
                    self._under_way[task] = source
                    task.add_done_callback(self._under_way.pop)

    def _may_begin(self, peer: socket.socket, address: str) -> bool:
        """Tell whether a handshake may begin; where there are too many, the one that has taken longest ends for it."""
        if reason := self._why_not(address):
            peer.close()
            self._tell_closed(address, "not admitted", reason)
            return False
        of_address = [task for task, source in self._under_way.items() if source == address]
        crowd = of_address if len(of_address) >= HANDSHAKES_OF_ONE_ADDRESS else list(self._under_way)
        if crowd is of_address or len(crowd) >= HANDSHAKES:
            # Who shakes hands does so in a moment; who only keeps the place has the oldest one.
            crowd[0].cancel()
            # One line for all addresses: an attacker has many.
            self._tell_closed(
                "TLS clients", "handshakes", f"more than {len(crowd)} handshakes under way, one by {address}"
            )
        return True

    async def _shake_hands(self, peer: socket.socket, address: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection, peer, ssl=self._context, ssl_handshake_timeout=HANDSHAKE
            )
        except (OSError, EOFError) as error:
            peer.close()
            words = _words(error)
            self._tell_closed(address, words, words)
        except asyncio.CancelledError:
            peer.close()
            raise
        except Exception:
            peer.close()
            log.exception("a TLS connection could not be taken in", client=address)


def role_of(tls: ssl.SSLObject | None) -> str | None:
    """Return the role in the certificate of a connection's client, empty where there is none; None without TLS."""
    return None if tls is None else role_in(tls.getpeercert(binary_form=True) or b"")


def role_in(certificate: bytes) -> str:
    """Return the role in a certificate (DER), empty where there is none that can be read, or more than one."""
    from cryptography import x509  # noqa: PLC0415 (costs memory, and only TLS needs it)

    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        extension = extensions.get_extension_for_oid(x509.ObjectIdentifier(ROLE)).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.InvalidVersion, ValueError):
        return ""
    except Exception:
        # A last line of defence: a certificate that nobody thought of has no role.
        log.exception("the role in a certificate could not be read")
        return ""
    return _utf8_string(extension.value) if isinstance(extension, x509.UnrecognizedExtension) else ""


def _utf8_string(der: bytes) -> str:
    """Return the text of a DER UTF8String of up to 127 bytes (X.690, 8.1.3.4); empty for anything else."""
    if len(der) < 2 or der[0] != 0x0C or der[1] != len(der) - 2 or der[1] > 127:
        return ""
    return der[2:].decode("utf-8", "replace")


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        return server_context(tls)
    except ValueError as error:
        raise VdeviceError(f"modbus.tls.{error}; the files changed after the config was checked") from None


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'handshake failed').lower().replace('_', ' ')}"
    return "TLS: the handshake was not ended"
