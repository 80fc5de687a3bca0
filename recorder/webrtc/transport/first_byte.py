"""Which protocol a datagram on the media port is of, by its first byte (RFC 7983 section 7). Pure."""

from typing import Final

STUN: Final = 1
DTLS: Final = 2
SRTP: Final = 3
"""SRTP and SRTCP; their second byte tells them apart (RFC 5761 section 4)."""
UNSUPPORTED: Final = 0
"""ZRTP, TURN channels, and what RFC 7983 does not assign."""


def _protocol(first: int) -> int:
    if first < 4:
        return STUN
    if 19 < first < 64:
        return DTLS
    return SRTP if 127 < first < 192 else UNSUPPORTED


PROTOCOL_OF: Final = bytes([_protocol(first) for first in range(256)])
"""The protocol of each first byte: a look-up costs less than the comparisons."""
