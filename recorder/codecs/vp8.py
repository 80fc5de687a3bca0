"""VP8 over RTP (RFC 7741)."""

from typing import Final

from rokuga.recorder.codecs.assembly import FIRST, LAST, PICTURE, START, SURE_START, Picture, UnitAssembler
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.parameters import Fmtp, Params

_CONTINUES: Final = FIRST | LAST  # VP8 does not say where a frame ends: any payload may be the last one
_BEGINS: Final = _CONTINUES | START | SURE_START | PICTURE
_START_CODE: Final = b"\x9d\x01\x2a"


def depacketizer(_fmtp: Fmtp) -> UnitAssembler:
    """Return a new Depacketizer."""
    return UnitAssembler(parse_payload, assemble)


def format_parameters(_params: Params) -> Fmtp:
    """Return the fmtp of an offer: none is needed (RFC 7741 section 6.1)."""
    return {}


def parse_payload(payload: bytes) -> tuple[int, bytes]:
    """Remove the payload descriptor (RFC 7741 section 4.2); S with partition 0 begins a frame."""
    try:
        first = payload[0]
        offset = 1
        if first & 0x80:
            extension = payload[1]
            offset = 2
            if extension & 0x80:
                offset += 2 if payload[2] & 0x80 else 1
            if extension & 0x40:
                offset += 1
            if extension & 0x30:
                offset += 1
    except IndexError:
        raise PayloadError("a VP8 payload descriptor that is cut short") from None
    data = payload[offset:]
    if not data:
        raise PayloadError("a VP8 payload without data")
    return (_BEGINS if first & 0x17 == 0x10 else _CONTINUES), data


def assemble(pieces: list[bytes], flags: list[int]) -> Picture:
    """Join a frame; read from its tag whether it is a key frame, and then its size (RFC 6386 section 9.1)."""
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if _BEGINS in flags[1:]:
        raise PayloadError("two VP8 frames at one RTP time")
    if data[0] & 1:
        return Picture(data, False, 0, 0)
    if len(data) < 10 or data[3:6] != _START_CODE:
        raise PayloadError("a VP8 key frame without its start code")
    width = int.from_bytes(data[6:8], "little") & 0x3FFF
    height = int.from_bytes(data[8:10], "little") & 0x3FFF
    if not width or not height:
        raise PayloadError("a VP8 key frame without a size")
    return Picture(data, True, width, height)
