"""Where a request comes from: the client's address, and the origin that it asked, as the trusted proxies say them.

What is forwarded (`X-Forwarded-For`, `-Host`, `-Proto`) is believed only of the addresses in `web.trusted_proxies`; of
others it says only that somebody stands between.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from vdevice.clean import clean
from vdevice.config.schema import Network, Web
from vdevice.web.call import ApiError

Origin = tuple[str, str, int]
"""Scheme, host in lower case, and port, as RFC 6454 has it."""

PORTS = {"http": 80, "https": 443}
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")


class Asker(msgspec.Struct, frozen=True):
    """Who asks, as far as the network tells; `is_local` is whether it is from this machine, asking for this machine."""

    address: str
    origin: Origin
    is_local: bool

    @property
    def host(self) -> str:
        """The name or address by which this device was asked."""
        return self.origin[1]


def asker_of(request: web.Request, config: Web) -> Asker:
    """Return who asks. Raises ApiError where the request does not say which host it wants."""
    peer = _plain(request.remote or "")
    trusted = _is_one_of(peer, config.trusted_proxies)
    # No browser leaves Host out; HTTP/1.0 may, as some checks of health do.
    address, scheme, host = peer, request.scheme, request.headers.get("Host", "localhost")
    if trusted:
        address = client_of(peer, request.headers.getall("X-Forwarded-For", []), config.trusted_proxies)
        scheme = _last(request, "X-Forwarded-Proto").lower() or scheme
        host = _last(request, "X-Forwarded-Host") or host
    origin = origin_of(f"{scheme}://{clean(host)}")
    if origin is None:
        raise ApiError(400, "the header Host holds no host")
    relayed = any(name in request.headers for name in FORWARDED) and not (trusted and _says_who(request))
    return Asker(address, origin, is_loopback(address) and is_loopback(origin[1]) and not relayed)


def origin_of(text: str) -> Origin | None:
    """Return a whole origin as scheme, host and port; None where it is none, like `null`."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    whole = f"{parts.scheme}://{parts.netloc}".lower() == text.lower()
    if not whole or not host or parts.scheme not in PORTS or "@" in parts.netloc:
        return None
    return parts.scheme, host, PORTS[parts.scheme] if port is None else port


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, and can be no other."""
    try:
        return host == "localhost" or ipaddress.ip_address(_plain(host)).is_loopback
    except ValueError:
        return False


def client_of(peer: str, lines: Iterable[str], proxies: list[Network]) -> str:
    """Return the last address that no trusted proxy has; what stands before it, anybody may have written."""
    address = peer
    for entry in reversed(",".join(lines).split(",")):
        found = _address(entry.strip())
        if not found:
            break
        address = found
        if not _is_one_of(found, proxies):
            break
    return address


def _says_who(request: web.Request) -> bool:
    """Tell whether each entry is an address; else somebody stands between, and nobody says who asked (`unix:`, `unknown`)."""
    return all(_address(entry.strip()) for entry in ",".join(request.headers.getall("X-Forwarded-For", [])).split(","))


def _address(entry: str) -> str:
    # Some proxies write the port behind it: 10.0.0.5:4711, [fd00::5]:4711.
    entry = entry[1:].partition("]")[0] if entry.startswith("[") else entry
    for text in (entry, entry.rpartition(":")[0]):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            continue
        return _plain(text)
    return ""


def _plain(address: str) -> str:
    """Return an IPv4 address that comes in an IPv6 one (::ffff:10.0.0.5) as itself."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str((ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip)


def _is_one_of(address: str, networks: list[Network]) -> bool:
    return any(address in network for network in networks)


def _last(request: web.Request, name: str) -> str:
    """Return what the proxy next to this device wrote into a header to which others may have written, too."""
    return ",".join(request.headers.getall(name, [])).rpartition(",")[2].strip()
