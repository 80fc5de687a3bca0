"""The values of session descriptions, and the offer, built from the codec table. Pure.

RFC 8866 (SDP), RFC 8829 (JSEP), RFC 8839 (ICE in SDP), RFC 8842 (DTLS in SDP), RFC 9143 (BUNDLE).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rokuga.recorder.codecs.table import CODECS, Codec
from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import TrackConfig

ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
SDES_MID = "urn:ietf:params:rtp-hdrext:sdes:mid"

HEADER_EXTENSIONS: Mapping[Kind, Mapping[int, str]] = {
    "audio": {1: SDES_MID, 2: AUDIO_LEVEL},
    "video": {1: SDES_MID, 3: ABS_SEND_TIME},
}
"""By id, which fits the one-byte form (RFC 8285). libwebrtc needs abs-send-time to obey REMB. No transport-cc: where
it is offered and no feedback is sent, libwebrtc lowers its bit rate. No video-orientation: without it the sender
rotates the pictures itself."""

FEEDBACK: Mapping[Kind, Sequence[str]] = {
    "audio": ("nack",),
    "video": ("nack", "nack pli", "ccm fir", "goog-remb"),
}

UDP_TYPE_PREFERENCE = 126
TCP_TYPE_PREFERENCE = 90
TCP_PASSIVE_PREFERENCE = 4
"""The direction preference, a part of the local preference (RFC 6544 section 4.2)."""

Direction = Literal["recvonly", "sendrecv", "sendonly"]
Setup = Literal["active", "passive"]


class SdpError(ValueError):
    """The description cannot be parsed, or does not answer what was offered."""


Transport = Literal["udp", "tcp"]
TRANSPORTS: Sequence[Transport] = ("udp", "tcp")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host candidate. One of TCP is passive: the peer connects (RFC 6544)."""

    host: str
    port: int
    transport: Transport = "udp"


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Our ICE and DTLS parameters. `fingerprint` is the SHA-256 of the certificate."""

    ice_ufrag: str
    ice_password: str
    fingerprint: str
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class MediaOffer:
    """What is offered to one peer. `direction` is ours; mids are `audio_{mid_suffix}` and `video_{mid_suffix}`.

    The suffix has six characters at most: a mid is sent in a header extension of up to 16 bytes.
    """

    audio: TrackConfig | None
    video: TrackConfig | None
    direction: Direction = "recvonly"
    mid_suffix: str = "000000"
    video_bit_rate_kbps: int = 2500

    @property
    def tracks(self) -> Mapping[Kind, TrackConfig]:
        """The offered kinds, in the order of their m-lines."""
        tracks: dict[Kind, TrackConfig] = {}
        if self.audio is not None:
            tracks["audio"] = self.audio
        if self.video is not None:
            tracks["video"] = self.video
        return tracks

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The mid of each offered kind."""
        return {kind: f"{kind}_{self.mid_suffix}" for kind in self.tracks}

    @property
    def video_target_kbps(self) -> int:
        """The video bit rate that the sender should reach: the one that it requested, or the default."""
        requested = self.video.bit_rate_kbps if self.video is not None else None
        return requested or self.video_bit_rate_kbps

    @property
    def receive_limit_bps(self) -> int:
        """The limit of all streams together: a fifth more than the video, for audio, RTX and headers."""
        return self.video_target_kbps * 1200


@dataclass(frozen=True, slots=True)
class AnsweredMedia:
    """One kind as the peer accepted it.

    `rtx_payload_type` is None where the peer does not retransmit by RFC 4588; `rtx_ssrcs` maps an RTX stream to the
    stream that it repairs (ssrc-group FID, RFC 5576). SSRCs may be missing, and others may arrive.
    """

    codec: Codec
    payload_type: int
    format_parameters: Mapping[str, str]
    rtx_payload_type: int | None
    ssrcs: tuple[int, ...]
    rtx_ssrcs: Mapping[int, int]
    nack: bool


@dataclass(frozen=True, slots=True)
class NegotiatedSession:
    """The agreed session. `setup` is the peer's: active means that it is the DTLS client."""

    ice_ufrag: str
    ice_password: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: Setup
    media: Mapping[Kind, AnsweredMedia]


def write_offer(offer: MediaOffer, transport: LocalTransport, session_id: int) -> str:
    """Return the offer: ICE-lite, BUNDLE, rtcp-mux, actpass, all candidates. Lines end with CRLF.

    Raises SdpError for a codec that is not in the table, without media, and without a candidate; ParametersError for
    `params` that the codec does not support.
    """
    if not offer.tracks:
        raise SdpError("there is neither audio nor video to offer")
    if not transport.candidates:
        raise SdpError("there is no address to offer")
    lines = [
        "v=0",
        f"o=- {session_id} 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {' '.join(offer.mids.values())}",
        "a=ice-lite",
        "a=msid-semantic:WMS *",
        *(line for kind in offer.tracks for line in _media_lines(kind, offer, transport)),
    ]
    return "\r\n".join(lines) + "\r\n"


def codec_of(kind: Kind, track: TrackConfig) -> Codec:
    """Return the codec of a track. Raises SdpError where the table has none for this kind."""
    codec = CODECS.get(track.codec_type)
    if codec is None or codec.kind != kind:
        raise SdpError(f"{track.codec_type} is not a known {kind} codec")
    return codec


def _media_lines(kind: Kind, offer: MediaOffer, transport: LocalTransport) -> Iterator[str]:
    track = offer.tracks[kind]
    codec = codec_of(kind, track)
    yield from media_line(kind, (codec.payload_type, codec.rtx_payload_type), transport)
    if kind == "video" and track.bit_rate_kbps:
        yield f"b=AS:{track.bit_rate_kbps}"
    yield "a=rtcp:9 IN IP4 0.0.0.0"
    yield from transport_lines(transport, "actpass")
    yield f"a=mid:{offer.mids[kind]}"
    yield from (f"a=extmap:{number} {uri}" for number, uri in HEADER_EXTENSIONS[kind].items())
    yield f"a={offer.direction}"
    yield "a=rtcp-mux"
    yield "a=rtcp-rsize"
    yield from _codec_lines(kind, offer, codec)
    yield from candidate_lines(transport)


def media_line(kind: Kind, payload_types: Iterable[int | None], transport: LocalTransport) -> Iterator[str]:
    """Yield the m-line, with the payload types that are not 0 or None, and the c-line."""
    first = transport.candidates[0]
    yield f"m={kind} {first.port} UDP/TLS/RTP/SAVPF {' '.join(str(number) for number in payload_types if number)}"
    yield f"c=IN {'IP6' if ':' in first.host else 'IP4'} {first.host}"


def transport_lines(transport: LocalTransport, setup: str) -> Iterator[str]:
    """Yield our ICE and DTLS parameters."""
    yield f"a=ice-ufrag:{transport.ice_ufrag}"
    yield f"a=ice-pwd:{transport.ice_password}"
    yield f"a=fingerprint:sha-256 {transport.fingerprint}"
    yield f"a=setup:{setup}"


def candidate_lines(transport: LocalTransport) -> Iterator[str]:
    """Yield all candidates: RFC 8839 section 5.1, RFC 6544 section 4.5; component 1.

    Any pair over UDP is preferred to all over TCP, so candidates of TCP have a lower type preference.
    """
    for index, candidate in enumerate(transport.candidates):
        head = f"a=candidate:{index + 1} 1 {candidate.transport}"
        tail = f"{candidate.host} {candidate.port} typ host"
        if candidate.transport == "udp":
            yield f"{head} {_priority(UDP_TYPE_PREFERENCE, 65535 - index)} {tail}"
        else:
            local_preference = (TCP_PASSIVE_PREFERENCE << 13) + 8191 - index
            yield f"{head} {_priority(TCP_TYPE_PREFERENCE, local_preference)} {tail} tcptype passive"
    yield "a=end-of-candidates"


def _priority(type_preference: int, local_preference: int) -> int:
    """Return a candidate's priority for component 1 (RFC 8445 section 5.1.2.1)."""
    return (type_preference << 24) | (local_preference << 8) | 255


def _codec_lines(kind: Kind, offer: MediaOffer, codec: Codec) -> Iterator[str]:
    number = codec.payload_type
    yield f"a=rtpmap:{number} {rtpmap(codec)}"
    yield from (f"a=rtcp-fb:{number} {feedback}" for feedback in FEEDBACK[kind])
    parameters = {**codec.format_parameters(offer.tracks[kind].params), **bit_rate_parameters(kind, offer)}
    if parameters:
        yield f"a=fmtp:{number} " + ";".join(f"{name}={value}" for name, value in parameters.items())
    if codec.rtx_payload_type:
        yield f"a=rtpmap:{codec.rtx_payload_type} rtx/{codec.clock_rate_hz}"
        yield f"a=fmtp:{codec.rtx_payload_type} apt={number}"


def rtpmap(codec: Codec) -> str:
    """Return the name, clock rate and channels of a codec (RFC 8866 section 6.6)."""
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return f"{codec.encoding}/{codec.clock_rate_hz}{channels}"


def bit_rate_parameters(kind: Kind, offer: MediaOffer) -> Mapping[str, str]:
    """Return the format parameters of the requested bit rate (Opus: RFC 7587 section 6.1).

    Clients do not apply their own `bit_rate` to the encoder.
    """
    if kind == "video":
        return {"x-google-start-bitrate": str(offer.video_target_kbps)}
    audio = offer.audio
    name = CODECS[audio.codec_type].bit_rate_parameter if audio is not None else ""
    return {name: str(audio.bit_rate_kbps * 1000)} if audio is not None and name and audio.bit_rate_kbps else {}
