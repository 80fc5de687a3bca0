"""The codec table: SDP, RTCP, muxing, metadata and signalling all read the same row.

To add a codec: a module with its depacketizer, and a row here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rokuga.recorder.codecs.depacketizer import Depacketizer
from rokuga.recorder.media import Kind


@dataclass(frozen=True, slots=True)
class Codec:
    """One row. `name` is Sora's codec_type, `encoding` the rtpmap's word (RFC 8866 section 6.6)."""

    name: str
    kind: Kind
    encoding: str
    clock_rate_hz: int
    channels: int
    payload_type: int
    rtx_payload_type: int
    matroska_codec_id: str
    params_key: str
    format_parameters: Callable[[Mapping[str, Any]], Mapping[str, str]]
    depacketizer: Callable[[], Depacketizer]


CODECS: Mapping[str, Codec] = {}
"""By Sora's name. `channels` and `rtx_payload_type` are 0 where they mean nothing."""
