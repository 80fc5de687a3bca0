"""The codec table: SDP, RTCP, metadata and signalling all read the same row.

To add a codec: a module with its depacketizer, and a row here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rokuga.recorder.codecs import av1, h264, opus, vp8, vp9
from rokuga.recorder.codecs.depacketizer import Depacketizer
from rokuga.recorder.media import Kind

_PROFILE_LEVEL_ID: Final = re.compile("[0-9A-Fa-f]{6}")


class ParametersError(ValueError):
    """A client's `opus_params`, `vp9_params` and the like hold a value that no description can express."""


def _every_format(_fmtp: Mapping[str, str]) -> bool:
    return True


def _whatever_the_format(make: Callable[[], Depacketizer]) -> Callable[[Mapping[str, str]], Depacketizer]:
    return lambda _fmtp: make()


@dataclass(frozen=True, slots=True)
class Codec:
    """One row. `name` is Sora's codec_type, `encoding` the rtpmap's word (RFC 8866 section 6.6).

    `params` are the names that Sora documents for the client's params; others are not kept.
    `format_parameters(params)` gives the fmtp of our offer from the client's params; raises ParametersError.
    `accepts(fmtp)` tells whether what a peer describes so can be recorded.
    `depacketizer(fmtp)` makes a new one for a track, of what the peer describes; most codecs need nothing of it.
    """

    name: str
    kind: Kind
    encoding: str
    clock_rate_hz: int
    channels: int
    payload_type: int
    rtx_payload_type: int
    params_key: str
    format_parameters: Callable[[Mapping[str, Any]], Mapping[str, str]]
    depacketizer: Callable[[Mapping[str, str]], Depacketizer]
    params: frozenset[str] = frozenset()
    accepts: Callable[[Mapping[str, str]], bool] = _every_format


def _whole_number(params: Mapping[str, Any], key: str, default: int, most: int) -> str:
    value = params.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ParametersError(f"{key} is not a whole number from 0 to {most}")
    return str(value)


def _flag(params: Mapping[str, Any], key: str) -> str:
    value = params[key]
    if not isinstance(value, bool):
        raise ParametersError(f"{key} is neither true nor false")
    return "1" if value else "0"


_OPUS_NUMBERS: Final = {"maxplaybackrate": 48_000, "minptime": 120, "ptime": 120}
_OPUS_FLAGS: Final = {
    "stereo": "stereo",
    "sprop_stereo": "sprop-stereo",
    "useinbandfec": "useinbandfec",
    "usedtx": "usedtx",
}


def _opus_format(params: Mapping[str, Any]) -> Mapping[str, str]:
    """RFC 7587 section 6.1. `channels` changes nothing: rtpmap always says 2, `stereo` asks for them."""
    fmtp = {"minptime": "10", "useinbandfec": "1"}
    if params.get("channels") is not None:
        _whole_number(params, "channels", 2, 2)
    for key, most in _OPUS_NUMBERS.items():
        if params.get(key) is not None:
            fmtp[key] = _whole_number(params, key, 0, most)
    for key, name in _OPUS_FLAGS.items():
        if params.get(key) is not None:
            fmtp[name] = _flag(params, key)
    return fmtp


def _vp8_format(_params: Mapping[str, Any]) -> Mapping[str, str]:
    return {}


def _vp9_format(params: Mapping[str, Any]) -> Mapping[str, str]:
    """RFC 9628 section 6.1."""
    return {"profile-id": _whole_number(params, "profile_id", 0, 3)}


def _av1_format(params: Mapping[str, Any]) -> Mapping[str, str]:
    """RTP Payload Format For AV1, section 7.1."""
    return {"profile": _whole_number(params, "profile", 0, 2)}


def _h264_format(params: Mapping[str, Any]) -> Mapping[str, str]:
    """RFC 6184 section 8.1."""
    profile_level_id = params.get("profile_level_id", "42e01f")
    if not isinstance(profile_level_id, str) or not _PROFILE_LEVEL_ID.fullmatch(profile_level_id):
        raise ParametersError("profile_level_id is not of 6 hexadecimal digits")
    return {
        "level-asymmetry-allowed": "1",
        "packetization-mode": "1",
        "profile-level-id": profile_level_id.lower(),
    }


CODECS: Mapping[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(
            name="OPUS",
            kind="audio",
            encoding="opus",
            clock_rate_hz=48_000,
            channels=2,
            payload_type=109,
            rtx_payload_type=0,
            params_key="opus_params",
            format_parameters=_opus_format,
            depacketizer=_whatever_the_format(opus.OpusDepacketizer),
            params=frozenset({"channels", *_OPUS_NUMBERS, *_OPUS_FLAGS}),
        ),
        Codec(
            name="VP8",
            kind="video",
            encoding="VP8",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=120,
            rtx_payload_type=121,
            params_key="vp8_params",
            format_parameters=_vp8_format,
            depacketizer=_whatever_the_format(vp8.depacketizer),
        ),
        Codec(
            name="VP9",
            kind="video",
            encoding="VP9",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=122,
            rtx_payload_type=123,
            params_key="vp9_params",
            format_parameters=_vp9_format,
            depacketizer=_whatever_the_format(vp9.depacketizer),
            params=frozenset({"profile_id"}),
            accepts=lambda fmtp: fmtp.get("profile-id", "0") in {"0", "1", "2", "3"},
        ),
        Codec(
            name="AV1",
            kind="video",
            encoding="AV1",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=124,
            rtx_payload_type=125,
            params_key="av1_params",
            format_parameters=_av1_format,
            depacketizer=_whatever_the_format(av1.depacketizer),
            params=frozenset({"profile"}),
            accepts=lambda fmtp: fmtp.get("profile", "0") in {"0", "1", "2"},
        ),
        Codec(
            name="H264",
            kind="video",
            encoding="H264",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=126,
            rtx_payload_type=127,
            params_key="h264_params",
            format_parameters=_h264_format,
            depacketizer=h264.depacketizer,
            params=frozenset({"profile_level_id"}),
            accepts=lambda fmtp: fmtp.get("packetization-mode", "0") in {"0", "1"},
        ),
    )
}
"""By Sora's name. `channels` and `rtx_payload_type` are 0 where they mean nothing.

Each payload type is ours alone (dynamic ones, RFC 3551 section 3), so that one description may hold all rows.
"""
