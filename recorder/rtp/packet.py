"""RTP packets from and to the wire (RFC 3550 section 5.1), and retransmissions unwrapped (RFC 4588 section 4)."""

import struct
from typing import Final

from rokuga.recorder.media import RtpPacket

HEADER_BYTES: Final = 12
_HEADER: Final = struct.Struct("!BBHII")
_EXTENSION: Final = struct.Struct("!HH")


class RtpError(ValueError):
    """The bytes are not an RTP packet."""


def is_rtcp(data: bytes) -> bool:
    """Return whether a packet on a shared port is RTCP, by its second byte (RFC 5761 section 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


def parse_rtp(data: bytes, arrival_ns: int) -> RtpPacket:
    """Parse one decrypted packet; CSRCs, header extension and padding are skipped. Raises RtpError."""
    size = len(data)
    if size < HEADER_BYTES:
        raise RtpError(f"{size} bytes are no RTP header")
    begin, first, second = HEADER_BYTES, data[0], data[1]
    if first != 0x80:
        begin, size = _payload_bounds(data, first, size)
    return RtpPacket(
        second & 0x7F,
        second > 0x7F,
        data[2] << 8 | data[3],
        data[4] << 24 | data[5] << 16 | data[6] << 8 | data[7],
        data[8] << 24 | data[9] << 16 | data[10] << 8 | data[11],
        data[begin:size],
        arrival_ns,
    )


def _payload_bounds(data: bytes, first: int, size: int) -> tuple[int, int]:
    """Return where the payload begins and ends in a packet with CSRCs, a header extension or padding."""
    if first >> 6 != 2:
        raise RtpError(f"RTP version {first >> 6}")
    begin = HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        begin += 4
        if begin > size:
            raise RtpError("the header extension is cut short")
        begin += data[begin - 2] << 10 | data[begin - 1] << 2
    if begin > size:
        raise RtpError("the header is longer than the packet")
    if first & 0x20:
        padding = data[size - 1] if size > begin else 0
        if not 0 < padding <= size - begin:
            raise RtpError(f"{padding} bytes of padding in {size - begin} bytes")
        size -= padding
    return begin, size


def unwrap_rtx(packet: RtpPacket, payload_type: int, ssrc: int) -> RtpPacket:
    """Return the packet that an RTX packet carries, with its own payload type and SSRC (RFC 4588 section 4).

    A packet without a payload, a bandwidth probe, is returned unchanged. Raises RtpError if the original sequence
    number is cut short.
    """
    payload = packet.payload
    if len(payload) < 2:
        if not payload:
            return packet
        raise RtpError("an RTX packet without an original sequence number")
    sequence = payload[0] << 8 | payload[1]
    return RtpPacket(payload_type, packet.marker, sequence, packet.timestamp, ssrc, payload[2:], packet.arrival_ns)


def build_rtp(packet: RtpPacket, extensions: bytes | None = None) -> bytes:
    """Write a packet; `extensions` is a one-byte-header block (RFC 8285 section 4.2), padded here to 32 bits."""
    first = 0x80 if extensions is None else 0x90
    header = _HEADER.pack(
        first,
        packet.marker << 7 | packet.payload_type,
        packet.sequence & 0xFFFF,
        packet.timestamp & 0xFFFFFFFF,
        packet.ssrc,
    )
    if extensions is None:
        return header + packet.payload
    padded = extensions + bytes(-len(extensions) % 4)
    return b"".join((header, _EXTENSION.pack(0xBEDE, len(padded) // 4), padded, packet.payload))
