"""Which addresses are of the public internet, seen through the ways in which IPv6 carries IPv4."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""Translation within a network, wherever the IPv4 address is in it (RFC 8215)."""

_IPV4_AT_THE_END: Final = (
    IPv6Network("::/96"),  # compatible (RFC 4291 section 2.5.5.1)
    IPv6Network("::ffff:0:0/96"),  # mapped (RFC 4291 section 2.5.5.2)
    IPv6Network("::ffff:0:0:0/96"),  # translated (RFC 2765 section 2.1)
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052 section 2.1)
)


def is_public(text: str) -> bool:
    """Whether an address and the IPv4 address in it are those of one public host. Raises ValueError for no address.

    A network with a translator, or a tunnel, takes the IPv4 address out: a private one is as reachable through it.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address in LOCAL_NAT64 or address.is_site_local or address.is_multicast:
        return False
    inner = _carried(address)
    return is_public(str(inner)) if inner is not None else address.is_global


def _carried(address: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that an IPv6 one carries; Teredo, which carries two, is private as a whole."""
    if any(address in network for network in _IPV4_AT_THE_END):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour
