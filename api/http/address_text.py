"""Strict parsers of hosts, ports, origins, addresses and networks (pure).

They decide about access, which must not depend on how lenient the parsers of a Python version are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_HOST_LENGTH: Final = 253

_LABEL: Final = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC_END: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{0,5}))?")
_ORIGIN: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/]+)", re.IGNORECASE | re.ASCII)
_OCTET: Final = re.compile("0|[1-9][0-9]{0,2}")
_GROUP: Final = re.compile("[0-9a-f]{1,4}")

_MAPPED: Final = bytes(10) + b"\xff\xff"
"""The prefix of IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2)."""


@dataclass(frozen=True, slots=True)
class Authority:
    """`HOST[:PORT]`: a name or an address in lower case, without brackets; None for no port."""

    host: str
    port: int | None


def parse_authority(text: str) -> Authority | None:
    """Parse `HOST[:PORT]` without userinfo (RFC 3986 section 3.2.2). Return None for anything else."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host, port = match["host"].lower(), match["port"]
    if port and int(port) > 65535:
        return None
    if host.startswith("["):
        host = host[1:-1]
        if ":" not in host or parse_address(host) is None:
            return None
    elif not is_host_name(host) and parse_address(host) is None:
        return None
    return Authority(host, int(port) if port else None)


def parse_origin(text: str) -> tuple[str, Authority] | None:
    """Parse `SCHEME://HOST[:PORT]` (RFC 6454 section 6.2) into scheme and authority, or return None."""
    match = _ORIGIN.fullmatch(text)
    authority = parse_authority(match["authority"]) if match else None
    return (match["scheme"].lower(), authority) if match and authority else None


def is_host_name(text: str) -> bool:
    """Return whether a text is a host name in lower case: labels of letters, digits, `-`, `_` (RFC 1123 section 2.1).

    A name whose last label is a number is not: some parsers read it as an address.
    """
    return len(text) <= MAX_HOST_LENGTH and bool(_NAME.fullmatch(text)) and not _NUMERIC_END.fullmatch(text)


def parse_address(text: str) -> bytes | None:
    """Return the 4 or 16 bytes of an address (RFC 5952, RFC 6943 section 3.1.1), None for anything else.

    An IPv4-mapped address has 4 bytes. Zones (`%eth0`) and leading zeros of octets are refused.
    """
    if ":" not in text:
        return _ipv4(text)
    head, double, tail = text.lower().partition("::")
    before, after = _groups(head, is_last=not double), _groups(tail, is_last=True)
    if before is None or after is None:
        return None
    missing = 16 - len(before) - len(after)
    if (missing < 2) if double else (missing != 0):
        return None
    address = before + bytes(missing) + after
    return address[12:] if address.startswith(_MAPPED) else address


def _ipv4(text: str) -> bytes | None:
    octets = text.split(".")
    if len(octets) != 4 or not all(_OCTET.fullmatch(octet) and int(octet) < 256 for octet in octets):
        return None
    return bytes(map(int, octets))


def _groups(text: str, *, is_last: bool) -> bytes | None:
    """Parse groups of an IPv6 address; with `is_last` the last one may be an IPv4 address."""
    if not text:
        return b""
    address = b""
    groups = text.split(":")
    for number, group in enumerate(groups, 1):
        if _GROUP.fullmatch(group):
            address += int(group, 16).to_bytes(2, "big")
        elif is_last and number == len(groups) and (octets := _ipv4(group)) is not None:
            address += octets
        else:
            return None
    return address if len(address) <= 16 else None


def is_loopback(text: str) -> bool:
    """Return whether a text is a loopback address: 127.0.0.0/8 or ::1."""
    address = parse_address(text)
    return address is not None and (address == bytes(15) + b"\x01" or (len(address) == 4 and address[0] == 127))


def client_network(text: str) -> str:
    """Return the part of an address that identifies a client: all of IPv4, the first 64 bits of IPv6, as hex."""
    address = parse_address(text)
    if address is None:
        return text
    return address.hex() if len(address) == 4 else address[:8].hex()


@dataclass(frozen=True, slots=True)
class Network:
    """All addresses that share the first `bits` bits with `address`."""

    address: bytes
    bits: int

    def __contains__(self, address: bytes) -> bool:
        shift = 8 * len(self.address) - self.bits
        return len(address) == len(self.address) and (
            int.from_bytes(address, "big") >> shift == int.from_bytes(self.address, "big") >> shift
        )


def parse_network(text: str) -> Network | None:
    """Parse `ADDRESS` or `ADDRESS/BITS` (RFC 4632 section 3.1). Return None for anything else."""
    written, slash, bits = text.partition("/")
    address = parse_address(written)
    if address is None:
        return None
    length = 8 * len(address)
    if not slash:
        return Network(address, length)
    if not re.fullmatch("[0-9]{1,3}", bits) or int(bits) > length:
        return None
    return Network(address, int(bits))


def is_within(text: str, networks: Sequence[Network]) -> bool:
    """Return whether a text is an address in one of these networks."""
    address = parse_address(text) if networks else None
    return address is not None and any(address in network for network in networks)
