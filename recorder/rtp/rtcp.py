"""Parse and build RTCP: what a recorder sends (RR, NACK, PLI, REMB) and what a publisher reads."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.rtp.sender_report import PACKET_TYPE as SENDER_REPORT
from rokuga.recorder.rtp.sender_report import SenderReport, parse_sender_report

RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
GOODBYE: Final = 203
TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206

NACK_FORMAT: Final = 1
PLI_FORMAT: Final = 1
FIR_FORMAT: Final = 4
APPLICATION_FORMAT: Final = 15

MAX_NACKED: Final = 256
"""Sequence numbers in one NACK, which then has at most 1,036 bytes."""

MAX_PACKETS: Final = 64
"""RTCP packets in a compound. libwebrtc sends a report, a description, and a few feedback packets."""

MAX_BLOCKS: Final = 31
"""Report blocks or sources in one packet: their count has 5 bits (RFC 3550 section 6.4.1)."""

MAX_TEXT_BYTES: Final = 255
"""An SDES item's length has 8 bits (RFC 3550 section 6.5)."""


class RtcpError(ValueError):
    """The bytes are not a compound of RTCP packets."""


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """The report block of one source (RFC 3550 section 6.4.1). `delay` is in 1/65536 s."""

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int
    delay: int


@dataclass(frozen=True, slots=True)
class Nack:
    """Sequence numbers that the peer requests (RFC 4585 section 6.2.1)."""

    media_ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyframeRequest:
    """The peer requests a key frame: PLI (RFC 4585 section 6.3.1) or FIR (RFC 5104 section 4.3.1)."""

    media_ssrc: int


@dataclass(frozen=True, slots=True)
class Remb:
    """The peer's estimate of the bit rate that it can receive (draft-alvestrand-rmcat-remb-03 section 2.2)."""

    bit_rate_bps: int
    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Sources that end (RFC 3550 section 6.6)."""

    ssrcs: tuple[int, ...]


RtcpMessage = SenderReport | Nack | KeyframeRequest | Remb | Goodbye


def parse_rtcp(data: bytes, *, only_reports: bool = False) -> list[RtcpMessage]:
    """Parse a compound packet; messages of other types are skipped. Raises RtcpError.

    With `only_reports` all but sender reports are skipped: a NACK may contain 8,000 sequence numbers.
    """
    messages: list[RtcpMessage] = []
    begin = packets = 0
    while begin < len(data):
        packets += 1
        if packets > MAX_PACKETS:
            raise RtcpError(f"a compound of more than {MAX_PACKETS} RTCP packets")
        if begin + 4 > len(data):
            raise RtcpError("an RTCP header is cut short")
        first, packet_type = data[begin], data[begin + 1]
        end = begin + 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
        if first >> 6 != 2 or end > len(data):
            raise RtcpError("an RTCP packet of another version, or cut short")
        if packet_type == SENDER_REPORT or not only_reports:
            body = _without_padding(data[begin + 4 : end], padded=bool(first & 0x20))
            messages += _read(packet_type, first & 0x1F, body)
        begin = end
    return messages


def _without_padding(body: bytes, *, padded: bool) -> bytes:
    if not padded:
        return body
    if not body or not 0 < body[-1] <= len(body):
        raise RtcpError("more padding than RTCP packet")
    return body[: -body[-1]]


def _read(packet_type: int, count: int, body: bytes) -> Sequence[RtcpMessage]:
    if packet_type == SENDER_REPORT:
        if len(body) < 24:
            raise RtcpError("a sender report is cut short")
        return [parse_sender_report(body)]
    if packet_type == GOODBYE:
        if len(body) < 4 * count:
            raise RtcpError("a goodbye is cut short")
        return [Goodbye(_words(body[: 4 * count]))]
    if packet_type in {TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK}:
        if len(body) < 8:
            raise RtcpError("a feedback packet is cut short")
        return _read_feedback(packet_type, count, body)
    return []


def _read_feedback(packet_type: int, message_format: int, body: bytes) -> Sequence[RtcpMessage]:
    media_ssrc = int.from_bytes(body[4:8], "big")
    rest = body[8:]
    if (packet_type, message_format) == (TRANSPORT_FEEDBACK, NACK_FORMAT):
        return [Nack(media_ssrc, tuple(_nacked(rest)))]
    if (packet_type, message_format) == (PAYLOAD_FEEDBACK, PLI_FORMAT):
        return [KeyframeRequest(media_ssrc)]
    if (packet_type, message_format) == (PAYLOAD_FEEDBACK, FIR_FORMAT):
        return [KeyframeRequest(int.from_bytes(rest[at : at + 4], "big")) for at in range(0, len(rest) - 7, 8)]
    if (packet_type, message_format) == (PAYLOAD_FEEDBACK, APPLICATION_FORMAT) and rest[:4] == b"REMB":
        if len(rest) < 8 or len(rest) < 8 + 4 * rest[4]:
            raise RtcpError("a REMB is cut short")
        mantissa = (rest[5] & 3) << 16 | rest[6] << 8 | rest[7]
        return [Remb(mantissa << (rest[5] >> 2), _words(rest[8 : 8 + 4 * rest[4]]))]
    return []


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"!{len(data) // 4}I", data)


def _nacked(pairs: bytes) -> Iterable[int]:
    """Yield the sequence numbers of pairs of a packet id and a bitmask of the 16 that follow it."""
    for at in range(0, len(pairs) - 3, 4):
        first, mask = struct.unpack_from("!HH", pairs, at)
        yield first
        for place in range(16):
            if mask >> place & 1:
                yield first + place + 1 & 0xFFFF


def build_receiver_report(own_ssrc: int, blocks: Sequence[ReportBlock]) -> bytes:
    """Write a receiver report of the first MAX_BLOCKS blocks (RFC 3550 section 6.4.2)."""
    blocks = blocks[:MAX_BLOCKS]
    parts = [struct.pack("!BBHI", 0x80 | len(blocks), RECEIVER_REPORT, 1 + 6 * len(blocks), own_ssrc)]
    for block in blocks:
        lost = max(-0x800000, min(block.cumulative_lost, 0x7FFFFF)) & 0xFFFFFF
        parts.append(
            struct.pack(
                "!IIIIII",
                block.ssrc,
                block.fraction_lost << 24 | lost,
                block.highest_sequence & 0xFFFFFFFF,
                min(block.jitter, 0xFFFFFFFF),
                block.last_sr,
                min(block.delay, 0xFFFFFFFF),
            )
        )
    return b"".join(parts)


def build_nack(own_ssrc: int, media_ssrc: int, sequences: Sequence[int]) -> bytes:
    """Write a NACK for the first MAX_NACKED sequence numbers, which are in the order of the stream."""
    pairs: list[list[int]] = []
    for sequence in sequences[:MAX_NACKED]:
        place = (sequence - pairs[-1][0] & 0xFFFF) - 1 if pairs else 16
        if 0 <= place < 16:
            pairs[-1][1] |= 1 << place
        else:
            pairs.append([sequence & 0xFFFF, 0])
    header = struct.pack("!BBHII", 0x80 | NACK_FORMAT, TRANSPORT_FEEDBACK, 2 + len(pairs), own_ssrc, media_ssrc)
    return header + b"".join(struct.pack("!HH", *pair) for pair in pairs)


def build_pli(own_ssrc: int, media_ssrc: int) -> bytes:
    """Write a PLI."""
    return struct.pack("!BBHII", 0x80 | PLI_FORMAT, PAYLOAD_FEEDBACK, 2, own_ssrc, media_ssrc)


def build_remb(own_ssrc: int, bit_rate_bps: int, ssrcs: Sequence[int]) -> bytes:
    """Write a REMB: the bit rate of all `ssrcs` together."""
    exponent = max(0, bit_rate_bps.bit_length() - 18)
    mantissa = bit_rate_bps >> exponent
    head = struct.pack("!BBHII", 0x80 | APPLICATION_FORMAT, PAYLOAD_FEEDBACK, 4 + len(ssrcs), own_ssrc, 0)
    estimate = struct.pack("!BBH", len(ssrcs), exponent << 2 | mantissa >> 16, mantissa & 0xFFFF)
    return b"".join((head, b"REMB", estimate, struct.pack(f"!{len(ssrcs)}I", *ssrcs)))


def build_source_description(ssrc: int, cname: str) -> bytes:
    """Write an SDES packet with one CNAME item (RFC 3550 section 6.5.1), cut to MAX_TEXT_BYTES."""
    text = cname.encode()[:MAX_TEXT_BYTES]
    chunk = struct.pack("!IBB", ssrc, 1, len(text)) + text
    chunk += bytes(4 - len(chunk) % 4)
    return struct.pack("!BBH", 0x81, SOURCE_DESCRIPTION, len(chunk) // 4) + chunk


def build_goodbye(ssrcs: Sequence[int]) -> bytes:
    """Write a BYE for the first MAX_BLOCKS sources."""
    ssrcs = ssrcs[:MAX_BLOCKS]
    return struct.pack(f"!BBH{len(ssrcs)}I", 0x80 | len(ssrcs), GOODBYE, len(ssrcs), *ssrcs)
