"""What a Matroska TrackEntry contains for each codec (RFC 9559 section 5.1.4.1).

Block data is the access unit as the depacketizer returns it: VP8 and VP9 frames, AV1 OBUs without temporal
delimiters, H.264 in Annex B with its parameter sets in each key frame, Opus packets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.codecs import av1, opus


def _no_codec_private(_unit: bytes, _channels: int) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class MatroskaCodec:
    """`codec_id` is the CodecID of the Matroska Codec Specifications; `seek_pre_roll_ns` is the SeekPreRoll, 0: none.

    `codec_private(unit, channels)` returns the CodecPrivate, b"" for none: of the first key frame for video (raises
    PayloadError where that lacks it), of `channels` for audio.
    """

    codec_id: str
    codec_private: Callable[[bytes, int], bytes] = _no_codec_private
    seek_pre_roll_ns: int = 0


MATROSKA_CODECS: Final[Mapping[str, MatroskaCodec]] = {
    "OPUS": MatroskaCodec("A_OPUS", lambda _packet, channels: opus.opus_head(channels), seek_pre_roll_ns=80_000_000),
    "VP8": MatroskaCodec("V_VP8"),
    "VP9": MatroskaCodec("V_VP9"),
    "AV1": MatroskaCodec("V_AV1", lambda keyframe, _channels: av1.configuration_record(keyframe)),
    "H264": MatroskaCodec("V_MPEG4/ISO/AVC"),
}
"""By the codec's name in the codec table."""
