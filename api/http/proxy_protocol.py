"""The PROXY protocol, versions 1 and 2: a header before the stream that has the address of the client (pure).

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.
"""

import re
from dataclasses import dataclass
from typing import Final

from rokuga.api.http.address_text import parse_address

MAX_HEADER_BYTES: Final = 16 + 520
"""Version 2 with addresses and some extensions; version 1 has at most 107."""

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_BEGIN: Final = b"PROXY "
_MAX_LINE_BYTES: Final = 107
_LINE: Final = re.compile(
    r"PROXY (?:UNKNOWN(?: .*)?|TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5}))"
)


class MalformedProxyHeader(ValueError):
    """A connection begins like the PROXY protocol, but the header is invalid."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """The length of a header, 0 without one, and the client's address, None if it is the proxy itself."""

    length: int
    client: tuple[str, int] | None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the first bytes of a connection; None where more are needed. Raises MalformedProxyHeader."""
    if _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        return _version_2(data)
    if _BEGIN.startswith(data[: len(_BEGIN)]):
        return _version_1(data)
    return ProxyHeader(0, None)


def _version_1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_MAX_LINE_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= _MAX_LINE_BYTES:
            raise MalformedProxyHeader("the line has no end")
        return None
    match = _LINE.fullmatch(line.decode("latin-1"))
    if match is None:
        raise MalformedProxyHeader("the line is not right")
    length = len(line) + 2
    if match[1] is None:
        return ProxyHeader(length, None)
    source, port = match[2], int(match[4])
    is_ipv6 = ":" in source
    if parse_address(source) is None or is_ipv6 != (match[1] == "6") or port > 65535:
        raise MalformedProxyHeader("the address is not right")
    return ProxyHeader(length, (source, port))


def _version_2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length = 16 + int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or length > MAX_HEADER_BYTES:
        raise MalformedProxyHeader("the header is not right")
    if len(data) < length:
        return None
    if command == 0 or transport != 1 or family not in (1, 2):
        return ProxyHeader(length, None)
    size = 4 if family == 1 else 16
    if length < 16 + 2 * size + 4:
        raise MalformedProxyHeader("the addresses are cut off")
    source = data[16 : 16 + size]
    port = int.from_bytes(data[16 + 2 * size : 18 + 2 * size], "big")
    return ProxyHeader(length, (_text(source), port))


def _text(address: bytes) -> str:
    if len(address) == 4:
        return ".".join(map(str, address))
    return ":".join(f"{int.from_bytes(address[i : i + 2], 'big'):x}" for i in range(0, 16, 2))
