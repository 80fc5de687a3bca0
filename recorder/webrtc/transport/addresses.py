"""Decides which local addresses are bound, and which addresses are offered to peers."""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from aioice.ice import get_host_addresses

from rokuga.recorder.webrtc.transport.netlink import HostAddress, read_host_addresses

LOOPBACK = "127.0.0.1"
_LOOPBACK_6 = bytes(15) + b"\x01"
_MAPPED_IPV4 = bytes(10) + b"\xff\xff"
"""Prefix of an IPv4 address on a socket of both families (RFC 4291 section 2.5.5.2)."""


class AddressError(ValueError):
    """A media address is not an address, a host name or HOST:PORT, or cannot be resolved."""


@dataclass(frozen=True, slots=True)
class MediaAddress:
    """One `media_address`, which is offered. `port` is that of a mapping (Docker, NAT), None for our own."""

    host: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """Sockets are bound to `bind`; `offered` are the candidates: none means all bound addresses."""

    bind: Sequence[str]
    offered: Sequence[MediaAddress]

    def candidates(self, bound: Collection[str]) -> Sequence[MediaAddress]:
        """Return what is offered, where these addresses are bound."""
        return self.offered or [MediaAddress(host) for host in self.bind if host in bound]

    @property
    def is_loopback_only(self) -> bool:
        """Whether no other machine can reach this one, although that was not configured."""
        return not self.offered and all(_is_not_routed(host) for host in self.bind)


def parse_media_address(text: str) -> MediaAddress:
    """Parse `192.0.2.1`, `rec.example.com`, `192.0.2.1:15004`, `2001:db8::1` or `[2001:db8::1]:15004`.

    Raises AddressError, also for the unspecified addresses, which no peer can reach.
    """
    host, separator, port = text.strip().rpartition(":")
    if not separator or (":" in host and not host.endswith("]")):
        host, port = text.strip(), ""
    host = host.removeprefix("[").removesuffix("]")
    if not host or any(character.isspace() or character in "[]/" for character in host):
        raise AddressError(f"{text!r} is not an address, a host name or HOST:PORT")
    if separator and not port and not _is_ipv6(host):
        raise AddressError(f"{text!r} has no port after the colon")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise AddressError(f"{text!r} has no port between 1 and 65535")
    if host in ("0.0.0.0", "::"):
        raise AddressError(f"{text!r} cannot be offered to a peer; leave it out to offer all addresses")
    return MediaAddress(host, int(port) if port else None)


async def plan_addresses(
    media_addresses: Sequence[str], resolve: Callable[[str], Awaitable[Sequence[str]]], hosts: Sequence[str]
) -> AddressPlan:
    """Return what to bind and what to offer; `hosts` are the host's usable addresses. Raises AddressError.

    Without media addresses: all of the host's, loopback only where there is no other. Local media addresses are
    bound; if one is not local (a public address in front of NAT), all of the host's addresses are bound too. One with
    a port may be that of a mapping although it looks local: 127.0.0.1 of a Docker host is not the container's.
    """
    given = [parse_media_address(text) for text in media_addresses]
    offered = [
        MediaAddress(host, address.port)
        for address in given
        for host in ([address.host] if _is_ip(address.host) else await resolve(address.host))
    ]
    local = [address for address in offered if is_local(address.host)]
    is_complete = bool(offered) and len(local) == len(offered) and all(address.port is None for address in local)
    bind = dict.fromkeys([*(address.host for address in local), *([] if is_complete else hosts)])
    return AddressPlan(list(bind), offered)


def host_addresses() -> Sequence[str]:
    """Return all usable addresses of the host that can be bound; loopback where there is no other."""
    try:
        found = read_host_addresses()
    except (OSError, AttributeError):  # not Linux, or a sandbox without netlink
        listed = get_host_addresses(use_ipv4=True, use_ipv6=False) + get_host_addresses(use_ipv4=False, use_ipv6=True)
        found = [HostAddress(host) for host in listed]
    return [host for host in usable(found) if is_local(host)] or [LOOPBACK]


def usable(found: Sequence[HostAddress]) -> list[str]:
    """Return the addresses that can be offered to new clients, IPv4 first.

    That excludes loopback, link-local, tentative and deprecated ones.
    """
    hosts = [
        each.host for each in found if not (each.is_tentative or each.is_deprecated) and not _is_not_routed(each.host)
    ]
    return list(dict.fromkeys(sorted(hosts, key=lambda host: family_of(host) == socket.AF_INET6)))


def is_local(host: str) -> bool:
    """Whether an address can be bound on this host."""
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of a literal address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def network_of(host: str) -> bytes:
    """Return what counts as one remote address: an IPv4 address, or the /64 of IPv6 that one host may use.

    b"" for a text that is no address.
    """
    packed = _packed(host)
    return packed[:8] if len(packed) == 16 else packed


def remote_network_of(host: str) -> bytes:
    """Return `network_of` an address; b"" also for loopback."""
    packed = _packed(host)
    if packed == _LOOPBACK_6 or (len(packed) == 4 and packed[0] == 127):
        return b""
    return network_of(host)


def _packed(host: str) -> bytes:
    plain = host.partition("%")[0]
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in plain else socket.AF_INET, plain)
    except OSError:
        return b""
    return packed.removeprefix(_MAPPED_IPV4)


def _is_not_routed(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return address.is_link_local or address.is_loopback


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_ipv6(host: str) -> bool:
    return _is_ip(host) and ":" in host
