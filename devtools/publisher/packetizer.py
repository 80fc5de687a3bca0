"""Packetizes encoded units into RTP payloads: VP8 (RFC 7741), VP9 (RFC 9628), Opus (RFC 7587). Pure."""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rokuga.devtools.publisher.clip import ClipTrack, ClipUnit

MAX_PAYLOAD_BYTES: Final = 1100
"""With headers, SRTP and RTX a datagram stays under 1,200 bytes, as libwebrtc's do."""

Packetize = Callable[[ClipTrack, ClipUnit, int], Sequence[bytes]]
"""From track, unit and picture number to payloads, in order."""


def _split(data: bytes) -> Sequence[bytes]:
    """Split into pieces of about the same size."""
    count = max(1, -(-len(data) // MAX_PAYLOAD_BYTES))
    size = -(-len(data) // count)
    return [data[begin : begin + size] for begin in range(0, max(len(data), 1), max(size, 1))]


def packetize_vp9(track: ClipTrack, unit: ClipUnit, number: int) -> Sequence[bytes]:
    """Return payloads as libwebrtc's: flexible mode, 15-bit picture id, scalability structure on key frames (4.2)."""
    picture_id = struct.pack("!H", 0x8000 | number & 0x7FFF)
    pieces = _split(unit.data)
    payloads = []
    for place, piece in enumerate(pieces):
        first = 0x91  # I, F, Z
        rest = b""
        if not unit.is_keyframe:
            first |= 0x40  # P
            rest = b"\x02"  # P_DIFF 1, no other follows
        if place == 0:
            first |= 0x08  # B
            if unit.is_keyframe:
                first |= 0x02  # V: one layer, Y, its size
                rest = b"\x10" + struct.pack("!HH", track.width, track.height)
        if place == len(pieces) - 1:
            first |= 0x04  # E
        payloads.append(bytes((first,)) + picture_id + rest + piece)
    return payloads


def packetize_vp8(_track: ClipTrack, unit: ClipUnit, number: int) -> Sequence[bytes]:
    """Return payloads with S on the first packet of partition 0 and a 15-bit picture id on each (section 4.2)."""
    picture_id = struct.pack("!H", 0x8000 | number & 0x7FFF)
    return [
        bytes((0x90 if place == 0 else 0x80, 0x80)) + picture_id + piece
        for place, piece in enumerate(_split(unit.data))
    ]


def packetize_opus(_track: ClipTrack, unit: ClipUnit, _number: int) -> Sequence[bytes]:
    """Return the packet as one payload."""
    return [unit.data]


PACKETIZERS: Final[Mapping[str, Packetize]] = {
    "VP8": packetize_vp8,
    "VP9": packetize_vp9,
    "OPUS": packetize_opus,
}
"""By Sora's codec name."""
