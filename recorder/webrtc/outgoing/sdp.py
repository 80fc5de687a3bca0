"""A publisher's side of SDP: reads the recorder's offer and writes the answer (RFC 8866, RFC 8829). Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.sdp.answer import check_transport
from rokuga.recorder.webrtc.sdp.description import Section
from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate, LocalTransport, SdpError
from rokuga.recorder.webrtc.sdp.session_description import parse_description


@dataclass(frozen=True, slots=True)
class OfferedTrack:
    """One kind of the offer, with the codec that is answered."""

    kind: Kind
    mid: str
    codec_type: str
    payload_type: int
    rtx_payload_type: int | None


@dataclass(frozen=True, slots=True)
class RemoteOffer:
    """The parts of an offer that are needed to answer it and to connect."""

    ice_ufrag: str
    ice_password: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: Sequence[Candidate]
    order: Sequence[Kind]
    mids: Mapping[Kind, str]
    tracks: Mapping[Kind, OfferedTrack]


def read_offer(text: str, codec_types: Mapping[Kind, str]) -> RemoteOffer:
    """Read an offer; of each kind, look for one codec. Raises SdpError."""
    sections = parse_description(text, "offer").sections
    if not sections:
        raise SdpError("the offer has no m-line")
    kinds = [_kind_of(section) for section in sections]
    transport = sections[0].transport
    check_transport(transport, "offer")
    by_kind = dict(zip(kinds, sections, strict=True))
    if len(by_kind) < len(sections):
        raise SdpError("the offer has more than one m-line of a kind")
    tracks = {kind: _offered(kind, section, codec_types.get(kind)) for kind, section in by_kind.items()}
    return RemoteOffer(
        ice_ufrag=transport.ice_ufrag,
        ice_password=transport.ice_password,
        fingerprints=tuple(transport.fingerprints),
        candidates=list(_usable(sections[0].candidates)),
        order=kinds,
        mids={kind: section.mid for kind, section in by_kind.items()},
        tracks={kind: track for kind, track in tracks.items() if track is not None},
    )


def _kind_of(section: Section) -> Kind:
    match section.kind:
        case "audio" | "video" as kind:
            return kind
    raise SdpError(f"m={section.kind[:32]} is neither audio nor video")


def _usable(candidates: Iterable[str]) -> Iterator[Candidate]:
    """Return the candidates of UDP and the passive ones of TCP (RFC 6544), by priority."""
    found = [candidate for candidate in map(_candidate, candidates) if candidate is not None]
    return (candidate for _, candidate in sorted(found, key=lambda each: -each[0]))


def _candidate(line: str) -> tuple[int, Candidate] | None:
    """Return the priority and the candidate (RFC 8839 section 5.1), None for one that is not supported."""
    words = line.split(maxsplit=32)
    if len(words) < 8 or not (words[3].isdecimal() and words[5].isdecimal()):
        return None
    priority, host, port = words[3], words[4], words[5]
    if len(priority) > 10 or len(port) > 5:
        return None
    match words[2].lower(), dict(zip(words[8::2], words[9::2], strict=False)).get("tcptype"):
        case "udp", _:
            return int(priority), Candidate(host, int(port))
        case "tcp", "passive":
            return int(priority), Candidate(host, int(port), "tcp")
    return None


def _offered(kind: Kind, section: Section, codec_type: str | None) -> OfferedTrack | None:
    if codec_type is None:
        return None
    encoding = CODECS[codec_type].encoding.lower()
    codecs = (section.codecs[number] for number in section.formats if number in section.codecs)
    codec = next((codec for codec in codecs if codec.encoding.lower() == encoding), None)
    if codec is None:
        return None
    rtx = section.retransmissions().get(codec.payload_type)
    return OfferedTrack(kind, section.mid, codec_type, codec.payload_type, rtx if rtx in section.formats else None)


def write_answer(offer: RemoteOffer, own: LocalTransport, ssrcs: Mapping[Kind, tuple[int, int]], cname: str) -> str:
    """Return the answer, as the DTLS client. A kind without SSRCs (of media and of RTX) is rejected."""
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
