"""A recorder's offer as a publisher reads it, and the publisher's answer (RFC 8866, RFC 8829)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import SessionDescription

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.sdp import Candidate, LocalTransport, SdpError


@dataclass(frozen=True, slots=True)
class OfferedTrack:
    """One kind of the offer, as we answer it."""

    kind: Kind
    mid: str
    codec_type: str
    payload_type: int
    rtx_payload_type: int | None


@dataclass(frozen=True, slots=True)
class RemoteOffer:
    """What is needed of an offer to answer it and to connect."""

    ice_ufrag: str
    ice_password: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: Sequence[Candidate]
    order: Sequence[Kind]
    mids: Mapping[Kind, str]
    tracks: Mapping[Kind, OfferedTrack]


def read_offer(text: str, codec_types: Mapping[Kind, str]) -> RemoteOffer:
    """Read an offer, looking for these codecs. Raises SdpError."""
    try:
        description = SessionDescription.parse(text)
        sections = description.media
        ice, dtls = sections[0].ice, sections[0].dtls
        assert ice is not None
        assert dtls is not None
        tracks = {}
        for section in sections:
            kind: Kind = "audio" if section.kind == "audio" else "video"
            track = _offered(kind, section, codec_types.get(kind))
            if track is not None:
                tracks[kind] = track
        return RemoteOffer(
            ice_ufrag=ice.usernameFragment or "",
            ice_password=ice.password or "",
            fingerprints=tuple((p.algorithm.lower(), p.value) for p in dtls.fingerprints),
            candidates=list(_usable(sections[0].ice_candidates)),
            order=["audio" if section.kind == "audio" else "video" for section in sections],
            mids={"audio" if s.kind == "audio" else "video": s.rtp.muxId for s in sections},
            tracks=tracks,
        )
    except Exception as error:  # aiortc's parser asserts, indexes and unpacks; all of it means the same
        raise SdpError(f"the offer cannot be read: {error}") from error


def _usable(candidates: Iterable[RTCIceCandidate]) -> Iterator[Candidate]:
    """Give those that a client can send to: of UDP, and of TCP those that it may connect to (RFC 6544)."""
    for candidate in sorted(candidates, key=lambda each: -each.priority):
        match candidate.protocol.lower(), candidate.tcpType:
            case "udp", _:
                yield Candidate(candidate.ip, candidate.port)
            case "tcp", "passive":
                yield Candidate(candidate.ip, candidate.port, "tcp")


def _offered(kind: Kind, section: Any, codec_type: str | None) -> OfferedTrack | None:
    if codec_type is None:
        return None
    encoding = CODECS[codec_type].encoding.lower()
    codec = next((codec for codec in section.rtp.codecs if codec.name.lower() == encoding), None)
    if codec is None:
        return None
    rtx = (
        other.payloadType
        for other in section.rtp.codecs
        if other.name.lower() == "rtx" and other.parameters.get("apt") == codec.payloadType
    )
    return OfferedTrack(kind, section.rtp.muxId, codec_type, codec.payloadType, next(rtx, None))


def write_answer(offer: RemoteOffer, own: LocalTransport, ssrcs: Mapping[Kind, tuple[int, int]], cname: str) -> str:
    """Write the answer of a client of DTLS. A kind without SSRCs (of media and of retransmissions) is rejected."""
    accepted = [offer.mids[kind] for kind in offer.order if kind in ssrcs]
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(accepted)}"]
    for kind in offer.order:
        lines += _media_lines(offer, own, kind, ssrcs, cname)
    return "\r\n".join(lines) + "\r\n"


def _media_lines(
    offer: RemoteOffer, own: LocalTransport, kind: Kind, ssrcs: Mapping[Kind, tuple[int, int]], cname: str
) -> Iterator[str]:
    track = offer.tracks.get(kind)
    if kind not in ssrcs or track is None:
        yield f"m={kind} 0 UDP/TLS/RTP/SAVPF 0"
        yield "c=IN IP4 0.0.0.0"
        yield f"a=mid:{offer.mids[kind]}"
        yield "a=inactive"
        return
    codec = CODECS[track.codec_type]
    ssrc, rtx_ssrc = ssrcs[kind]
    rtx = track.rtx_payload_type
    yield f"m={kind} 9 UDP/TLS/RTP/SAVPF {track.payload_type}{'' if rtx is None else f' {rtx}'}"
    yield "c=IN IP4 0.0.0.0"
    yield f"a=ice-ufrag:{own.ice_ufrag}"
    yield f"a=ice-pwd:{own.ice_password}"
    yield f"a=fingerprint:sha-256 {own.fingerprint}"
    yield "a=setup:active"
    yield f"a=mid:{track.mid}"
    yield "a=sendonly"
    yield "a=rtcp-mux"
    channels = f"/{codec.channels}" if codec.channels else ""
    yield f"a=rtpmap:{track.payload_type} {codec.encoding}/{codec.clock_rate_hz}{channels}"
    yield f"a=rtcp-fb:{track.payload_type} nack"
    if kind == "video":
        yield f"a=rtcp-fb:{track.payload_type} nack pli"
        yield f"a=rtcp-fb:{track.payload_type} ccm fir"
    if rtx is not None:
        yield f"a=rtpmap:{rtx} rtx/{codec.clock_rate_hz}"
        yield f"a=fmtp:{rtx} apt={track.payload_type}"
        yield f"a=ssrc-group:FID {ssrc} {rtx_ssrc}"
        yield f"a=ssrc:{rtx_ssrc} cname:{cname}"
    yield f"a=ssrc:{ssrc} cname:{cname}"
