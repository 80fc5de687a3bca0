"""Parse AV1 OBUs and the parts of their headers that a file needs (AV1 specification, sections 5.3 to 5.9)."""

from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs.bits import BitReader
from rokuga.recorder.codecs.depacketizer import PayloadError

SEQUENCE_HEADER: Final = 1
TEMPORAL_DELIMITER: Final = 2
FRAME_HEADER: Final = 3
FRAME: Final = 6
TILE_LIST: Final = 8

_SELECT: Final = 2
_MAX_SEQUENCE_HEADER_BYTES: Final = 512
_BT709, _SRGB, _IDENTITY = 1, 13, 0


@dataclass(slots=True)
class Obu:
    """One OBU: `stored` is the OBU with obu_size, `payload` what follows its header."""

    type: int
    payload: bytes
    stored: bytes


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    """The largest size of a sequence's frames in pixels, and its four bytes of av1C (AV1-ISOBMFF section 2.3.3)."""

    width: int
    height: int
    is_reduced: bool
    av1c: bytes


def read_leb128(data: bytes, offset: int) -> tuple[int, int]:
    """Return a leb128 number of at most 32 bits (section 4.10.5) and the offset after it."""
    value = 0
    for i in range(8):
        if offset + i >= len(data):
            raise PayloadError("an AV1 length that is cut short")
        byte = data[offset + i]
        value |= (byte & 0x7F) << 7 * i
        if not byte & 0x80:
            if value >> 32:
                break
            return value, offset + i + 1
    raise PayloadError("an AV1 length of more than 32 bits")


def leb128(value: int) -> bytes:
    """Return a leb128 number in as few bytes as possible."""
    out = bytearray()
    while value >> 7:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_obu(data: bytes) -> Obu:
    """Parse a complete OBU, with or without obu_size. Raises PayloadError if that is not the size of `data`."""
    if not data:
        raise PayloadError("an empty AV1 OBU")
    head = data[0]
    if head & 0x80:
        raise PayloadError("an AV1 OBU with its forbidden bit set")
    offset = 2 if head & 0x04 else 1
    if offset > len(data):
        raise PayloadError("an AV1 OBU header that is cut short")
    obu_type = head >> 3 & 15
    if head & 0x02:
        size, start = read_leb128(data, offset)
        if start + size != len(data):
            raise PayloadError("an AV1 OBU of another size than it says")
        return Obu(obu_type, data[start:], data)
    payload = data[offset:]
    header = bytes((head | 0x02,)) + data[1:offset]
    return Obu(obu_type, payload, header + leb128(len(payload)) + payload)


def is_shown_key_frame(payload: bytes) -> bool:
    """Return whether a frame header (section 5.9.2) is of a shown key frame; not for reduced still pictures."""
    if not payload:
        raise PayloadError("an AV1 frame header that is cut short")
    return payload[0] & 0xF0 == 0x10  # show_existing_frame 0, frame_type 0, show_frame 1


def read_sequence_header(payload: bytes) -> SequenceHeader:
    """Parse a sequence header (section 5.5). Raises PayloadError."""
    bits = BitReader(payload[:_MAX_SEQUENCE_HEADER_BYTES])
    profile = bits.read(3)
    if profile > 2:
        raise PayloadError("an AV1 sequence of an unknown profile")
    bits.read(1)  # still_picture
    reduced = bits.read(1)
    level, tier = (bits.read(5), 0) if reduced else _read_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    _skip_tools(bits, reduced)
    colour = _read_color_config(bits, profile)
    av1c = bytes((0x81, profile << 5 | level, tier << 7 | colour, 0))
    return SequenceHeader(width, height, bool(reduced), av1c)


def _read_operating_points(bits: BitReader) -> tuple[int, int]:
    """Return seq_level_idx and seq_tier of operating point 0."""
    delay_bits = 0
    if bits.read(1):  # timing_info_present_flag
        bits.read(64)
        if bits.read(1):  # equal_picture_interval
            bits.unsigned_golomb()
        if bits.read(1):  # decoder_model_info_present_flag
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_display_delay = bits.read(1)
    first = (0, 0)
    for i in range(bits.read(5) + 1):
        bits.read(12)  # operating_point_idc
        level = bits.read(5)
        tier = bits.read(1) if level > 7 else 0
        if i == 0:
            first = (level, tier)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
    return first


def _skip_tools(bits: BitReader, reduced: int) -> None:
    """Skip from frame_id_numbers_present_flag to enable_restoration."""
    if not reduced and bits.read(1):
        bits.read(7)
    bits.read(3)  # 128x128 superblocks, filter_intra, intra_edge_filter
    if not reduced:
        bits.read(4)  # interintra, masked, warped, dual filter
        has_order_hint = bits.read(1)
        if has_order_hint:
            bits.read(2)
        screen_content = _SELECT if bits.read(1) else bits.read(1)
        if screen_content and not bits.read(1):
            bits.read(1)  # seq_force_integer_mv
        if has_order_hint:
            bits.read(3)
    bits.read(3)  # superres, cdef, restoration


def _read_color_config(bits: BitReader, profile: int) -> int:
    """Return the seven bits of av1C with depth, monochrome, subsampling and sample position (section 5.5.2)."""
    high_depth = bits.read(1)
    twelve_bit = bits.read(1) if profile == 2 and high_depth else 0
    mono = 0 if profile == 1 else bits.read(1)
    description = (bits.read(8), bits.read(8), bits.read(8)) if bits.read(1) else None
    position = 0
    if mono:
        bits.read(1)
        x = y = 1
    elif description == (_BT709, _SRGB, _IDENTITY):
        x = y = 0
    else:
        bits.read(1)
        if profile == 2:
            x = bits.read(1) if twelve_bit else 1
            y = bits.read(1) if twelve_bit and x else 0
        else:
            x = y = 1 - profile
        if x and y:
            position = bits.read(2)
    return high_depth << 6 | twelve_bit << 5 | mono << 4 | x << 3 | y << 2 | position
