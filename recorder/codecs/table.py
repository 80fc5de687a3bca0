"""The codec table: SDP, signalling, permission, metadata, schemas and the page all read the same row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rokuga.recorder.codecs import av1, h264, opus, vp8, vp9
from rokuga.recorder.codecs.depacketizer import Depacketizer
from rokuga.recorder.codecs.parameters import Fmtp, Params
from rokuga.recorder.media import Kind


def _accepts_all(_fmtp: Fmtp) -> bool:
    return True


def _no_duration(_data: bytes) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Codec:
    """One row: what the project has to know of a codec outside its own module.

    `name` is Sora's codec_type, `encoding` the name in an rtpmap line (RFC 8866 section 6.6). `channels` and
    `rtx_payload_type` are 0 where they do not apply.
    `bit_rates_kbps` are the values that a client may ask for; `bit_rate_parameter` is the format parameter that
    limits the sender, in bit/s, "" where there is none.
    `params` are the names and types of the client's parameters that Sora documents; others are not kept.
    `format_parameters(params)` returns the fmtp of our offer for the client's parameters; raises ParametersError.
    `accepts(fmtp)` returns whether a stream that a peer describes so can be recorded.
    `depacketizer(fmtp)` returns a new Depacketizer for a stream that a peer describes so.
    `packet_duration_ns(data)` returns the duration of an audio unit; raises PayloadError.
    """

    name: str
    kind: Kind
    encoding: str
    clock_rate_hz: int
    channels: int
    payload_type: int
    rtx_payload_type: int
    bit_rates_kbps: range
    format_parameters: Callable[[Params], Fmtp]
    depacketizer: Callable[[Fmtp], Depacketizer]
    params: Mapping[str, type] = field(default_factory=dict)
    accepts: Callable[[Fmtp], bool] = _accepts_all
    packet_duration_ns: Callable[[bytes], int] = _no_duration
    bit_rate_parameter: str = ""

    @property
    def params_key(self) -> str:
        """The name of the client's parameters in Sora's messages and documents, such as `vp9_params`."""
        return f"{self.name.lower()}_params"


_VIDEO_KBPS: Final[range] = range(1, 50_001)
"""What Sora accepts."""


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
            bit_rates_kbps=opus.BIT_RATES_KBPS,
            format_parameters=opus.format_parameters,
            depacketizer=opus.depacketizer,
            params=opus.PARAMS,
            packet_duration_ns=opus.packet_duration_ns,
            bit_rate_parameter="maxaveragebitrate",
        ),
        Codec(
            name="VP8",
            kind="video",
            encoding="VP8",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=120,
            rtx_payload_type=121,
            bit_rates_kbps=_VIDEO_KBPS,
            format_parameters=vp8.format_parameters,
            depacketizer=vp8.depacketizer,
        ),
        Codec(
            name="VP9",
            kind="video",
            encoding="VP9",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=122,
            rtx_payload_type=123,
            bit_rates_kbps=_VIDEO_KBPS,
            format_parameters=vp9.format_parameters,
            depacketizer=vp9.depacketizer,
            params={"profile_id": int},
            accepts=vp9.accepts,
        ),
        Codec(
            name="AV1",
            kind="video",
            encoding="AV1",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=124,
            rtx_payload_type=125,
            bit_rates_kbps=_VIDEO_KBPS,
            format_parameters=av1.format_parameters,
            depacketizer=av1.depacketizer,
            params={"profile": int},
            accepts=av1.accepts,
        ),
        Codec(
            name="H264",
            kind="video",
            encoding="H264",
            clock_rate_hz=90_000,
            channels=0,
            payload_type=126,
            rtx_payload_type=127,
            bit_rates_kbps=_VIDEO_KBPS,
            format_parameters=h264.format_parameters,
            depacketizer=h264.depacketizer,
            params={"profile_level_id": str},
            accepts=h264.accepts,
        ),
    )
}
"""By name. Each payload type is used once (dynamic ones, RFC 3551 section 3): one description may hold all rows."""

DEFAULT_CODECS: Final[Mapping[Kind, str]] = {"audio": "OPUS", "video": "VP9"}
"""What Sora takes where a client names no codec."""


def names_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of the codecs of a kind, the default one first."""
    default = DEFAULT_CODECS[kind]
    return (default, *(row.name for row in CODECS.values() if row.kind == kind and row.name != default))
