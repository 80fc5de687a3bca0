"""Whether an address belongs to the public internet, also if it embeds an IPv4 address in an IPv6 one. Pure."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""Translation within a network; where the IPv4 address is in it depends on the network (RFC 8215)."""

_IPV4_IN_LAST_BYTES: Final = (
    IPv6Network("::/96"),  # compatible (RFC 4291 section 2.5.5.1)
    IPv6Network("::ffff:0:0/96"),  # mapped (RFC 4291 section 2.5.5.2)
    IPv6Network("::ffff:0:0:0/96"),  # translated (RFC 2765 section 2.1)
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052 section 2.1)
)


def is_public(text: str) -> bool:
    """Return whether an address, and the IPv4 address embedded in it, is public. Raises ValueError for no address.

    A translator or a tunnel extracts the IPv4 address: a private one is reachable through it.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address in LOCAL_NAT64 or address.is_site_local or address.is_multicast:
        return False
    inner = _embedded(address)
    return is_public(str(inner)) if inner is not None else address.is_global


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the embedded IPv4 address, if any; Teredo, which embeds two, is private as a whole."""
    if any(address in network for network in _IPV4_IN_LAST_BYTES):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour
