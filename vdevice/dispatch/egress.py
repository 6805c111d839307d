"""Where requests may go: what a name resolves to is looked at for every connection, so that it cannot change. Pure.

An IPv4 address may hide in an IPv6 one: mapped and compatible (RFC 4291, 2.5.5), translated (RFC 2765, 2.1), behind NAT64
(RFC 6052 and 8215), 6to4 (RFC 3056), Teredo (RFC 4380) or ISATAP (RFC 5214). The unspecified addresses 0.0.0.0 and :: lead
to this machine itself, as Linux and others connect them.
"""

import functools
import ipaddress
from collections.abc import Iterator, Sequence

from vdevice.config.schema import Network

_IN_THE_LAST_32_BITS = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP = 0x5EFE

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOOPBACKS: tuple[Address, ...] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


class DeniedError(OSError):
    """Each address of the host is in a network that is denied."""


@functools.lru_cache(maxsize=1024)
def meanings(address: str) -> frozenset[str]:
    """Return an address and those that hide in it; a zone (%eth0) does not count. Raises ValueError for what is none."""
    found: set[Address] = set()
    to_do: list[Address] = [ipaddress.ip_address(address.partition("%")[0])]
    while to_do:
        one = to_do.pop()
        if one not in found:
            found.add(one)
            to_do += _LOOPBACKS if one.is_unspecified else _hidden(one)
    return frozenset(str(one).partition("%")[0] for one in found)


def is_denied(address: str, networks: Sequence[Network]) -> bool:
    """Tell whether an address, or one that hides in it, is in one of the networks."""
    return any(one in network for one in meanings(address) for network in networks)


def _hidden(address: Address) -> Iterator[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return
    bits = int(address)
    yield from (one for one in (address.sixtofour, *(address.teredo or ())) if one is not None)
    if bits >> 1 and any(address in network for network in _IN_THE_LAST_32_BITS):
        yield ipaddress.IPv4Address(bits & 0xFFFF_FFFF)
    if address in _LOCAL_NAT64:
        # RFC 6052, 2.2: prefixes of 48, 56 and 64 bits, with an octet of zeros in the bits 64 to 71.
        without_octet = (bits >> 64 << 56) | (bits & 0xFF_FFFF_FFFF_FFFF)
        for prefix in (48, 56, 64):
            yield ipaddress.IPv4Address(without_octet >> (120 - prefix - 32) & 0xFFFF_FFFF)
    if bits >> 32 & 0xFCFF_FFFF == _ISATAP:
        yield ipaddress.IPv4Address(bits & 0xFFFF_FFFF)
