"""Where requests may go: what a name resolves to is looked at for every connection, so that it cannot change. Pure.

An IPv4 address may hide in an IPv6 one: mapped (RFC 4291), behind NAT64 (RFC 6052), 6to4 (RFC 3056) or Teredo (RFC 4380).
"""

import ipaddress
from collections.abc import Sequence

from vdevice.config.schema import Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class DeniedError(OSError):
    """Each address of the host is in a network that is denied."""


def is_denied(address: str, networks: Sequence[Network]) -> bool:
    """Tell whether an address, or one that hides in it, is in one of the networks; a zone (%eth0) does not count."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return any(str(one) in network for one in (found, *_hidden(found)) for network in networks)


def _hidden(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    hidden: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        hidden.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [one for one in hidden if one is not None]
