"""The sequence parameter set of H.264 (ITU-T H.264 section 7.3.2.1.1), read for the size of its pictures."""

from typing import Final

from rokuga.recorder.codecs.bits import BitReader
from rokuga.recorder.codecs.depacketizer import PayloadError

_PROFILES_WITH_CHROMA_FORMAT: Final = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
_CROP_UNITS: Final = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}  # by ChromaArrayType (table 6-1)
_MAX_MACROBLOCKS: Final = 1024  # a side of 16384 pixels, the most that WebM players take


def without_emulation_prevention(data: bytes) -> bytes:
    """Remove the 3 of each 00 00 03 (section 7.4.1)."""
    return data.replace(b"\x00\x00\x03", b"\x00\x00")


def read_sps_id(unit: bytes) -> int:
    """Return seq_parameter_set_id of an SPS NAL unit."""
    return BitReader(without_emulation_prevention(unit[4:32])).unsigned_golomb()


def read_size(unit: bytes) -> tuple[int, int]:
    """Return width and height in pixels of the cropped picture of an SPS NAL unit. Raises PayloadError."""
    bits = BitReader(without_emulation_prevention(unit[1:]))
    profile = bits.read(8)
    bits.read(16)  # constraint flags, level_idc
    bits.unsigned_golomb()  # seq_parameter_set_id
    chroma = _read_chroma(bits) if profile in _PROFILES_WITH_CHROMA_FORMAT else 1
    bits.unsigned_golomb()  # log2_max_frame_num_minus4
    _skip_picture_order_count(bits)
    bits.unsigned_golomb()  # max_num_ref_frames
    bits.read(1)
    columns, rows = bits.unsigned_golomb() + 1, bits.unsigned_golomb() + 1
    fields = 2 - bits.read(1)  # frame_mbs_only_flag
    rows *= fields
    if fields == 2:
        bits.read(1)
    bits.read(1)  # direct_8x8_inference_flag
    if columns > _MAX_MACROBLOCKS or rows > _MAX_MACROBLOCKS:
        raise PayloadError("an H.264 picture of more than 16384 pixels")
    width, height = 16 * columns, 16 * rows
    if bits.read(1):
        unit_x, unit_y = _CROP_UNITS[chroma]
        left, right, top, bottom = (bits.unsigned_golomb() for _ in range(4))
        width -= unit_x * (left + right)
        height -= unit_y * fields * (top + bottom)
    if width <= 0 or height <= 0:
        raise PayloadError("an H.264 picture that is cropped to nothing")
    return width, height


def _read_chroma(bits: BitReader) -> int:
    """Read from chroma_format_idc to the scaling lists; return ChromaArrayType."""
    chroma = bits.unsigned_golomb()
    if chroma > 3:
        raise PayloadError("an H.264 sequence of an unknown chroma format")
    lists = 12 if chroma == 3 else 8
    if chroma == 3 and bits.read(1):  # separate_colour_plane_flag
        chroma = 0
    bits.unsigned_golomb()
    bits.unsigned_golomb()  # bit depths
    bits.read(1)
    if bits.read(1):
        for i in range(lists):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if i < 6 else 64)
    return chroma


def _skip_scaling_list(bits: BitReader, length: int) -> None:
    last = 8
    for _ in range(length):
        last = (last + bits.signed_golomb()) % 256
        if not last:
            return  # the rest repeats


def _skip_picture_order_count(bits: BitReader) -> None:
    kind = bits.unsigned_golomb()
    if kind == 0:
        bits.unsigned_golomb()
    elif kind == 1:
        bits.read(1)
        bits.signed_golomb()
        bits.signed_golomb()
        cycle = bits.unsigned_golomb()
        if cycle > 255:
            raise PayloadError("an H.264 sequence with an impossible order of pictures")
        for _ in range(cycle):
            bits.signed_golomb()
