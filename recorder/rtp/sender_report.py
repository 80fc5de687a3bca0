"""Sender reports (RFC 3550 section 6.4.1): pairs of NTP and RTP time by which tracks are synchronised."""

import struct
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.media import NS_PER_S

PACKET_TYPE: Final = 200
_BODY: Final = struct.Struct("!IIIIII")


@dataclass(frozen=True, slots=True)
class SenderReport:
    """`ntp_ns` is ns since 1900, `rtp_time` as on the wire, `ntp_middle` what a receiver report echoes as LSR."""

    ssrc: int
    ntp_ns: int
    rtp_time: int
    packets: int
    octets: int
    ntp_middle: int


def parse_sender_report(body: bytes) -> SenderReport:
    """Read what follows the common header: at least 24 bytes."""
    ssrc, seconds, fraction, rtp_time, packets, octets = _BODY.unpack_from(body)
    ntp_ns = seconds * NS_PER_S + (fraction * NS_PER_S >> 32)
    return SenderReport(ssrc, ntp_ns, rtp_time, packets, octets, (seconds & 0xFFFF) << 16 | fraction >> 16)


def build_sender_report(ssrc: int, ntp_ns: int, rtp_time: int, packets: int, octets: int) -> bytes:
    """Write a report without report blocks."""
    seconds, rest_ns = divmod(ntp_ns, NS_PER_S)
    fraction = (rest_ns << 32) // NS_PER_S
    header = struct.pack("!BBH", 0x80, PACKET_TYPE, 6)
    return header + _BODY.pack(
        ssrc,
        seconds & 0xFFFFFFFF,
        fraction,
        rtp_time & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
