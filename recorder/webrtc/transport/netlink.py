"""Reads the addresses of this host and their state from the Linux kernel (rtnetlink(7))."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

_HEADER: Final = Struct("=IHHII")
_ADDRESS: Final = Struct("=BBBBi")
_ATTRIBUTE: Final = Struct("=HH")
_FLAGS: Final = Struct("=I")

RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST_DUMP: Final = 0x301
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_FLAGS: Final = 8
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40

MAX_BYTES: Final = 1 << 18
TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class HostAddress:
    """An address of an interface. `flags` are those of linux/if_addr.h."""

    host: str
    flags: int = 0

    @property
    def is_tentative(self) -> bool:
        """Whether another host may have it too: duplicate address detection is running or has failed (RFC 4862)."""
        return bool(self.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))

    @property
    def is_deprecated(self) -> bool:
        """Whether new connections should not use it: its preferred lifetime is over (RFC 4862 section 5.5.4)."""
        return bool(self.flags & IFA_F_DEPRECATED)


def read_host_addresses() -> Sequence[HostAddress]:
    """Return all addresses in the network namespace of this thread. Raises OSError, AttributeError (not Linux)."""
    found: list[HostAddress] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(TIMEOUT_S)
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        asking.send(_HEADER.pack(_HEADER.size + len(body), RTM_GETADDR, NLM_F_REQUEST_DUMP, 1, 0) + body)
        while True:
            for kind, message in messages(asking.recv(MAX_BYTES)):
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError("the kernel does not list its addresses")
                if kind == RTM_NEWADDR and (address := read_address(message)) is not None:
                    found.append(address)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the body of each message in a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size:
            return
        yield kind, data[offset + _HEADER.size : offset + size]
        offset += _padded(size)


def read_address(message: bytes) -> HostAddress | None:
    """Parse the body of an RTM_NEWADDR; return None for one that is neither IPv4 nor IPv6."""
    if len(message) < _ADDRESS.size:
        return None
    family, _, flags, _, _ = _ADDRESS.unpack_from(message)
    attributes: dict[int, bytes] = {}
    offset = _ADDRESS.size
    while offset + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, offset)
        if size < _ATTRIBUTE.size:
            break
        attributes[kind] = message[offset + _ATTRIBUTE.size : offset + size]
        offset += _padded(size)
    if len(attributes.get(IFA_FLAGS, b"")) == _FLAGS.size:
        (flags,) = _FLAGS.unpack(attributes[IFA_FLAGS])
    # Of a point-to-point link IFA_ADDRESS is the other end's.
    raw = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS, b""))
    if (family, len(raw)) not in {(socket.AF_INET, 4), (socket.AF_INET6, 16)}:
        return None
    return HostAddress(socket.inet_ntop(family, raw), flags)


def _padded(size: int) -> int:
    return (size + 3) & ~3
