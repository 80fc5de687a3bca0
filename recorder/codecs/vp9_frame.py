"""VP9 frames: the uncompressed header (VP9 bitstream specification, section 6.2), and superframes (annex B)."""

from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs.bits import BitReader
from rokuga.recorder.codecs.depacketizer import PayloadError

Sizes = list[tuple[int, int]]
"""Width and height of the pictures in the eight reference slots; (0, 0) where unknown."""

_SYNC_CODE: Final = 0x498342
_SRGB: Final = 7
_FEATURE_BITS: Final = (9, 7, 2, 0)  # of a segment's quantizer, loop filter, reference and skip; signs included
_MAX_HEADER_BYTES: Final = 256  # the longest possible one is shorter than 150


@dataclass(slots=True)
class FrameHeader:
    """The fields of an uncompressed header that are used here.

    `refresh` is the mask of reference slots that the frame replaces. Sizes are pixels, 0 if they are those of an
    unknown slot; then `end`, the header's length in bits without trailing bits, is 0 as well. `show_bit` is the
    position of show_frame.
    """

    is_keyframe: bool = False
    shows_existing: bool = False
    is_shown: bool = True
    width: int = 0
    height: int = 0
    refresh: int = 0
    show_bit: int = 0
    end: int = 0


def is_keyframe(data: bytes) -> bool:
    """Return whether frame_type is that of a key frame. Raises PayloadError if this is not a VP9 frame."""
    first = data[0]
    if first & 0xC0 != 0x80:
        raise PayloadError("a VP9 frame without its frame marker")
    if first & 0x30 != 0x30:
        return first & 0x0C == 0
    if first & 0x08:
        raise PayloadError("a VP9 frame of an unknown profile")
    return first & 0x06 == 0


def is_as_large_as_its_reference(data: bytes) -> bool:
    """Return whether this is a shown inter frame with the size of its first reference, as nearly all are."""
    first = data[0]
    if first & 0xCE != 0x86 or first & 0x30 == 0x30:
        return False
    found_ref_shift = 3 if first & 0x01 else 1  # after reset_frame_context, which error_resilient_mode leaves out
    return bool(int.from_bytes(data[:4], "big") >> found_ref_shift & 1) and len(data) >= 4


def read_frame_header(data: bytes, sizes: Sizes) -> FrameHeader:
    """Parse an uncompressed header. Raises PayloadError."""
    bits = BitReader(data[:_MAX_HEADER_BYTES])
    if bits.read(2) != 2:
        raise PayloadError("a VP9 frame without its frame marker")
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3 and bits.read(1):
        raise PayloadError("a VP9 frame of an unknown profile")
    if bits.read(1):
        width, height = sizes[bits.read(3)]
        return FrameHeader(shows_existing=True, width=width, height=height)
    header = FrameHeader(is_keyframe=not bits.read(1), show_bit=bits.position)
    header.is_shown = bool(bits.read(1))
    error_resilient = bits.read(1)
    if header.is_keyframe:
        _read_sync_code(bits)
        _skip_color_config(bits, profile)
        header.refresh = 0xFF
        header.width, header.height = _read_size(bits)
        _skip_render_size(bits)
    else:
        _read_inter_part(bits, header, profile, error_resilient, sizes)
    if not header.width:
        return header
    if not error_resilient:
        bits.read(2)  # refresh_frame_context, frame_parallel_decoding_mode
    bits.read(2)  # frame_context_idx
    _skip_loop_filter(bits)
    bits.read(8)  # base_q_idx
    for _ in range(3):
        if bits.read(1):
            bits.read(5)
    _skip_segmentation(bits)
    _skip_tile_info(bits, header.width)
    bits.read(16)  # header_size_in_bytes, of the compressed header
    header.end = bits.position
    return header


def hidden(data: bytes, header: FrameHeader) -> bytes:
    """Return the same frame with show_frame 0.

    All but a key frame then have an intra_only bit two places later (0 here: a shown frame is never intra_only), so
    the rest of the uncompressed header moves by one bit.
    """
    old_length = (header.end + 7) // 8
    value = int.from_bytes(data[:old_length], "big") >> 8 * old_length - header.end
    value &= ~(1 << header.end - header.show_bit - 1)
    end = header.end
    if not header.is_keyframe:
        moved = header.end - header.show_bit - 2  # after show_frame and error_resilient_mode
        value = value >> moved << moved + 1 | value & (1 << moved) - 1
        end += 1
    length = (end + 7) // 8
    return (value << 8 * length - end).to_bytes(length, "big") + data[old_length:]


def superframe(frames: list[bytes]) -> bytes:
    """Join 2 to 8 frames, with the index by which a decoder splits them."""
    width = (max(len(frame) for frame in frames).bit_length() + 7) // 8
    marker = bytes((0xC0 | width - 1 << 3 | len(frames) - 1,))
    lengths = b"".join(len(frame).to_bytes(width, "little") for frame in frames)
    return b"".join((*frames, marker, lengths, marker))


def _read_sync_code(bits: BitReader) -> None:
    if bits.read(24) != _SYNC_CODE:
        raise PayloadError("a VP9 intra frame without its sync code")


def _skip_color_config(bits: BitReader, profile: int) -> None:
    if profile >= 2:
        bits.read(1)  # 10 or 12 bits
    if bits.read(3) != _SRGB:
        bits.read(1)
        if profile & 1:
            bits.read(3)
    elif profile & 1:
        bits.read(1)
    else:
        raise PayloadError("a VP9 frame in RGB of a profile that has none")


def _read_size(bits: BitReader) -> tuple[int, int]:
    return bits.read(16) + 1, bits.read(16) + 1


def _skip_render_size(bits: BitReader) -> None:
    if bits.read(1):
        bits.read(32)


def _read_inter_part(bits: BitReader, header: FrameHeader, profile: int, error_resilient: int, sizes: Sizes) -> None:
    intra_only = 0 if header.is_shown else bits.read(1)
    if not error_resilient:
        bits.read(2)  # reset_frame_context
    if intra_only:
        _read_sync_code(bits)
        if profile:
            _skip_color_config(bits, profile)
        header.refresh = bits.read(8)
        header.width, header.height = _read_size(bits)
        _skip_render_size(bits)
        return
    header.refresh = bits.read(8)
    references = [bits.read(4) >> 1 for _ in range(3)]
    for reference in references:
        if bits.read(1):
            header.width, header.height = sizes[reference]
            break
    else:
        header.width, header.height = _read_size(bits)
    _skip_render_size(bits)
    bits.read(1)  # allow_high_precision_mv
    if not bits.read(1):
        bits.read(2)  # interpolation filter


def _skip_loop_filter(bits: BitReader) -> None:
    bits.read(9)  # level, sharpness
    if bits.read(1) and bits.read(1):
        for _ in range(6):
            if bits.read(1):
                bits.read(7)


def _skip_segmentation(bits: BitReader) -> None:
    if not bits.read(1):
        return
    if bits.read(1):  # update_map
        _skip_probabilities(bits, 7)
        if bits.read(1):  # temporal_update
            _skip_probabilities(bits, 3)
    if bits.read(1):  # update_data
        bits.read(1)
        for _ in range(8):
            for width in _FEATURE_BITS:
                if bits.read(1):
                    bits.read(width)


def _skip_probabilities(bits: BitReader, count: int) -> None:
    for _ in range(count):
        if bits.read(1):
            bits.read(8)


def _skip_tile_info(bits: BitReader, width: int) -> None:
    superblocks = (width + 63) // 64
    least = 0
    while 64 << least < superblocks:
        least += 1
    most = 1
    while superblocks >> most >= 4:
        most += 1
    for _ in range(most - 1 - least):
        if not bits.read(1):
            break
    if bits.read(1):
        bits.read(1)  # tile_rows_log2
