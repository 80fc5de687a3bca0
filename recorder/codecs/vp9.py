"""VP9 over RTP (RFC 9628), and its spatial layers.

A picture with several layer frames is stored as one VP9 superframe with all its layers, in order. An encoder marks
every layer frame as shown, and a decoder that splits superframes (FFmpeg's) would show each of them, in different
sizes. So the frames below the highest one are marked as not shown: they are still decoded and referred to, and every
decoder shows one picture, of the highest layer received. This changes one bit of the frame header (two where
show_frame adds the intra_only bit). Pictures of one layer frame are stored byte for byte.
Layers that do not refer to each other (the S modes, simulcast within one SSRC) cannot be decoded together, since a
key frame replaces all references: of these only the highest is stored.
"""

from itertools import pairwise
from typing import Final

from rokuga.recorder.codecs.assembly import (
    FIRST,
    LAST,
    LAYERED,
    PICTURE,
    START,
    SURE_END,
    SURE_START,
    Picture,
    UnitAssembler,
)
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.parameters import Fmtp, Params, whole_number
from rokuga.recorder.codecs.vp9_frame import (
    FrameHeader,
    Sizes,
    hidden,
    is_as_large_as_its_reference,
    is_keyframe,
    read_frame_header,
    superframe,
)

_FLAGS_OF_B_E: Final = (0, LAST, FIRST | START, FIRST | START | LAST)
_BEGINS: Final = SURE_START | PICTURE
_ALONE_OF_B_E: Final = (0, LAST | SURE_END, FIRST | START | _BEGINS, FIRST | START | _BEGINS | LAST | SURE_END)
"""The same of a picture that is one layer frame: E ends it."""
_MAX_LAYER_FRAMES: Final = 8
_LAYER_SHIFT: Final = 8  # the spatial layer stands in the flags above those of all formats


def depacketizer(_fmtp: Fmtp) -> UnitAssembler:
    """Return a new Depacketizer."""
    return UnitAssembler(parse_payload, PictureAssembler().assemble)


def format_parameters(params: Params) -> Fmtp:
    """Return the fmtp of an offer (RFC 9628 section 6.1). Raises ParametersError."""
    return {"profile-id": whole_number(params, "profile_id", 0, 3)}


def accepts(fmtp: Fmtp) -> bool:
    """Return whether the profile is one that VP9 has."""
    return fmtp.get("profile-id", "0") in {"0", "1", "2", "3"}


def parse_payload(payload: bytes) -> tuple[int, bytes]:
    """Remove the payload descriptor (RFC 9628 section 4.2)."""
    try:
        first = payload[0]
        offset = 1
        flags = (_FLAGS_OF_B_E if first & 0x20 else _ALONE_OF_B_E)[first >> 2 & 3]
        if first & 0x80:
            offset = 3 if payload[1] & 0x80 else 2
        if first & 0x20:
            layer = payload[offset] >> 1 & 7
            if flags & FIRST and not layer:
                flags |= _BEGINS
            flags |= LAYERED | layer << _LAYER_SHIFT
            offset += 1 if first & 0x10 else 2
        if first & 0x50 == 0x50:
            offset = _after_reference_indices(payload, offset)
        if first & 0x02:
            offset = _after_scalability_structure(payload, offset)
    except IndexError:
        raise PayloadError("a VP9 payload descriptor that is cut short") from None
    data = payload[offset:]
    if not data:
        raise PayloadError("a VP9 payload without data")
    return flags, data


def _after_reference_indices(payload: bytes, offset: int) -> int:
    if not payload[offset] & 1:  # one, as libwebrtc has it
        return offset + 1
    for end in (offset + 2, offset + 3):
        if not payload[end - 1] & 1:
            return end
    raise PayloadError("more than 3 reference indices in a VP9 payload descriptor")


def _after_scalability_structure(payload: bytes, offset: int) -> int:
    """Skip N_S, Y, G; a size per layer; N_G pictures with R references each (RFC 9628 section 4.2.1)."""
    head = payload[offset]
    offset += 1
    if head & 0x10:
        offset += 4 * ((head >> 5) + 1)
    if head & 0x08:
        pictures = payload[offset]
        offset += 1
        for _ in range(pictures):
            offset += 1 + (payload[offset] >> 2 & 3)
    return offset


class PictureAssembler:
    """Makes pictures of layer frames; stores the sizes of the eight reference slots while layers are sent."""

    __slots__ = ("_has_one_size", "_lowest", "_sizes")

    def __init__(self) -> None:
        self._sizes: Sizes = [(0, 0)] * 8
        self._has_one_size = True  # all slots: then no frame as large as its reference changes any
        self._lowest = 0  # the spatial layer that had the last key frame

    def assemble(self, pieces: list[bytes], flags: list[int]) -> Picture:
        """Join a picture; read from its frame header whether it is a key frame, and its size."""
        starts = [i for i, flag in enumerate(flags) if flag & FIRST] if len(flags) > 1 else [0]
        if len(starts) > 1:
            ends = [*starts[1:], len(pieces)]
            frames = [
                (flags[start] >> _LAYER_SHIFT, b"".join(pieces[start:end]))
                for start, end in zip(starts, ends, strict=True)
            ]
            return self._layered(frames)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if flags[0] & LAYERED:
            layer = flags[0] >> _LAYER_SHIFT
            if self._has_one_size and layer >= self._lowest and is_as_large_as_its_reference(data):
                return Picture(data, False, 0, 0)
            return self._layered([(layer, data)])
        if not is_keyframe(data):
            return Picture(data, False, 0, 0)
        header = read_frame_header(data, self._sizes)
        return Picture(data, True, header.width, header.height)

    def _layered(self, layers: list[tuple[int, bytes]]) -> Picture:
        """Join layer frames. Those below a key frame are left out: it does not refer to them."""
        key_layers = [layer for layer, frame in layers if is_keyframe(frame)]
        if key_layers:
            self._lowest = key_layers[-1]
        frames = [frame for layer, frame in layers if layer >= self._lowest]
        if not 0 < len(frames) <= _MAX_LAYER_FRAMES:
            raise PayloadError("a VP9 picture without a layer that can be decoded, or of more than 8")
        headers = [self._read(frame) for frame in frames]
        stored = [_below(frame, *pair) for frame, pair in zip(frames, pairwise(headers), strict=False)]
        stored = [frame for frame in stored if frame] + frames[-1:]
        data = stored[0] if len(stored) == 1 else superframe(stored)
        if not key_layers:
            return Picture(data, False, 0, 0)
        return Picture(data, True, headers[-1].width, headers[-1].height)

    def _read(self, frame: bytes) -> FrameHeader:
        header = read_frame_header(frame, self._sizes)
        if header.refresh:
            size = (header.width, header.height)
            self._sizes = [size if header.refresh >> i & 1 else old for i, old in enumerate(self._sizes)]
            self._has_one_size = len(set(self._sizes)) == 1
        return header


def _below(frame: bytes, header: FrameHeader, above: FrameHeader) -> bytes:
    """Return a layer frame below another one as it is stored; b"" for one that only repeats a picture.

    A frame as large as the one above it stays shown: a decoder uses the motion vectors of the frame before if that
    was shown and has the same size, so hiding it would change the picture. A decoder shows both, in one size.
    """
    if header.shows_existing:
        return b""
    if not header.is_shown or not header.end or (header.width, header.height) == (above.width, above.height):
        return frame
    return hidden(frame, header)
