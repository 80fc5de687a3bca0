"""Reads a publisher's offer against the codec table, and writes our answer (WHIP, RFC 9725). Pure.

Of each kind the client's first codec that can be recorded is answered, with the client's payload types, mids and ids
of header extensions. Simulcast is not answered, so that one layer is sent (RFC 8853 section 5.3.2).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rokuga.recorder.codecs.table import CODECS, Codec
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.sdp.answer import check_transport, received_media
from rokuga.recorder.webrtc.sdp.description import RtpCodec, Section, SessionDescription
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    FEEDBACK,
    HEADER_EXTENSIONS,
    AnsweredMedia,
    LocalTransport,
    MediaOffer,
    NegotiatedSession,
    SdpError,
    Setup,
    bit_rate_parameters,
    candidate_lines,
    media_line,
    rtpmap,
    transport_lines,
)
from rokuga.recorder.webrtc.sdp.session_description import parse_description

_KINDS: Final[Mapping[str, Kind]] = {"audio": "audio", "video": "video"}

_SETUPS: Final[Mapping[str, Setup]] = {"actpass": "active", "active": "active", "passive": "passive"}
"""The client's role after our answer to its setup: for actpass, the DTLS client (RFC 8842 section 5.3)."""

_PAYLOAD_TYPES: Final = frozenset({*range(64), *range(96, 128)})
"""The others cannot be distinguished from RTCP on one port (RFC 5761 section 4)."""


class OfferRefused(SdpError):
    """The offer is valid, but cannot be answered."""


@dataclass(frozen=True, slots=True)
class OfferedMedia:
    """One m-section. `codecs` are those that can be recorded, in the client's order; none where it is disabled.

    `feedback` is that of each payload type. `extensions` are the ids of those header extensions that we answer.
    """

    kind: str
    mid: str
    protocol: str
    codecs: Sequence[AnsweredMedia]
    feedback: Mapping[int, Sequence[str]]
    extensions: Mapping[int, str]
    has_reduced_size_rtcp: bool

    @property
    def is_disabled(self) -> bool:
        """Whether it sends nothing."""
        return not self.codecs


@dataclass(frozen=True, slots=True)
class ClientOffer:
    """What a client offers to send. `setup` is the client's role after our answer."""

    ice_ufrag: str
    ice_password: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: Setup
    sections: Sequence[OfferedMedia]

    @property
    def media(self) -> Mapping[Kind, OfferedMedia]:
        """The section of each kind that is sent."""
        return {_KINDS[section.kind]: section for section in self.sections if not section.is_disabled}

    @property
    def codec_types(self) -> Mapping[Kind, Sequence[str]]:
        """The codecs of each kind that can be recorded, by Sora's names, in the client's order."""
        return {kind: tuple(media.codec.name for media in section.codecs) for kind, section in self.media.items()}


def read_offer(text: str) -> ClientOffer:
    """Read an offer. Raises SdpError where it cannot be parsed, OfferRefused where it cannot be answered."""
    description = parse_description(text, "offer")
    if not description.sections:
        raise SdpError("the offer has no m-line")
    if description.is_ice_lite:
        raise OfferRefused("the offer is of ICE-lite, and so is this end: nobody would begin")
    sections = [_offered_media(section) for section in description.sections]
    enabled = [index for index, section in enumerate(sections) if not section.is_disabled]
    _check_bundle([sections[index] for index in enabled], description)
    transport = description.sections[enabled[0]].transport
    check_transport(transport, "offer")
    return ClientOffer(
        ice_ufrag=transport.ice_ufrag,
        ice_password=transport.ice_password,
        fingerprints=tuple(transport.fingerprints),
        setup=_SETUPS[transport.setup],
        sections=tuple(sections),
    )


def _offered_media(section: Section) -> OfferedMedia:
    codecs = _recordable(section) if section.is_in_use else ()
    return OfferedMedia(
        kind=section.kind,
        mid=section.mid,
        protocol=section.protocol,
        codecs=codecs,
        feedback={media.payload_type: section.feedback_of(media.payload_type) for media in codecs},
        extensions=_extensions(section),
        has_reduced_size_rtcp="rtcp-rsize" in section.flags,
    )


def _recordable(section: Section) -> Sequence[AnsweredMedia]:
    """Return the codecs of a section that can be recorded. Raises OfferRefused."""
    kind = _KINDS.get(section.kind)
    if kind is None:
        raise OfferRefused(f"m={section.kind[:32]} cannot be recorded")
    if section.protocol != "UDP/TLS/RTP/SAVPF":
        raise OfferRefused(f"m={kind} is not UDP/TLS/RTP/SAVPF")
    if "rtcp-mux" not in section.flags:
        raise OfferRefused(f"m={kind} has no rtcp-mux")
    if section.direction in {"recvonly", "inactive"}:
        raise OfferRefused(f"m={kind} is {section.direction}: there would be nothing to record")
    codecs = [section.codecs[number] for number in section.formats if number in section.codecs]
    rows = [(_supported(kind, section, codec), codec) for codec in codecs]
    found = [(row, codec) for row, codec in rows if row is not None]
    if not found:
        known = ", ".join(row.name for row in CODECS.values() if row.kind == kind)
        raise OfferRefused(f"m={kind} has no codec that can be recorded (supported: {known})")
    return received_media(section, found)


def _supported(kind: Kind, section: Section, codec: RtpCodec) -> Codec | None:
    """Return the row of a codec that can be recorded, None for others."""
    encoding = codec.encoding.lower()
    row = next((row for row in CODECS.values() if row.kind == kind and row.encoding.lower() == encoding), None)
    if row is None or codec.clock_rate_hz != row.clock_rate_hz or codec.payload_type not in _PAYLOAD_TYPES:
        return None
    return row if row.accepts(section.parameters_of(codec.payload_type)) else None


def _extensions(section: Section) -> Mapping[int, str]:
    """Return those header extensions that our own offers have, with the client's ids (RFC 8285 section 5)."""
    kind = _KINDS.get(section.kind)
    ours = () if kind is None else HEADER_EXTENSIONS[kind].values()
    found: dict[int, str] = {}
    for number, uri in section.extensions:
        if uri in ours and uri not in found.values():
            found[number] = uri
    return found


def _check_bundle(enabled: Sequence[OfferedMedia], description: SessionDescription) -> None:
    """Check for one audio and one video track at most, in one bundle (RFC 9725 section 4.4). Raises SdpError."""
    if not enabled:
        raise OfferRefused("the offer sends nothing")
    kinds = [section.kind for section in enabled]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise OfferRefused(f"the offer has more than one m={kind}")
    mids = [section.mid for section in description.sections if section.mid]
    if len(set(mids)) < len(mids):
        raise SdpError("a mid of the offer is there twice")
    if len(enabled) > 1 and not all(section.mid in description.bundled for section in enabled):
        raise OfferRefused("the offer does not bundle everything")


def agree(offer: ClientOffer, wanted: MediaOffer) -> NegotiatedSession:
    """Choose the payload types of `wanted`, which may be less than what is offered. Raises OfferRefused."""
    media: dict[Kind, AnsweredMedia] = {}
    for kind, track in wanted.tracks.items():
        section = offer.media.get(kind)
        codecs = section.codecs if section is not None else ()
        chosen = next((codec for codec in codecs if codec.codec.name == track.codec_type), None)
        if chosen is None:
            raise OfferRefused(f"{track.codec_type} is not offered")
        media[kind] = chosen
    numbers = [number for chosen in media.values() for number in (chosen.payload_type, chosen.rtx_payload_type)]
    if len(set(numbers) - {None}) < len([number for number in numbers if number is not None]):
        raise OfferRefused("a payload type means two things in one bundle")
    return NegotiatedSession(
        offer.ice_ufrag, offer.ice_password, offer.fingerprints, offer.setup, MappingProxyType(media)
    )


def write_answer(
    offer: ClientOffer, agreed: NegotiatedSession, wanted: MediaOffer, transport: LocalTransport, session_id: int
) -> str:
    """Return the answer: ICE-lite; what was agreed is received, everything else is rejected. Lines end with CRLF.

    Raises SdpError without a candidate.
    """
    if not transport.candidates:
        raise SdpError("there is no address to answer with")
    answered = {section.mid: kind for kind, section in offer.media.items() if kind in agreed.media}
    lines = ["v=0", f"o=- {session_id} 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
    if all(answered):
        lines.append(f"a=group:BUNDLE {' '.join(answered)}")
    lines += ["a=ice-lite", "a=msid-semantic:WMS *"]
    for section in offer.sections:
        kind = None if section.is_disabled else answered.get(section.mid)
        if kind is None:
            lines += _rejected(section)
        else:
            lines += _received(kind, section, agreed, wanted, transport)
    return "\r\n".join(lines) + "\r\n"


def _rejected(section: OfferedMedia) -> Iterator[str]:
    yield f"m={section.kind} 0 {section.protocol} 0"
    yield "c=IN IP4 0.0.0.0"
    if section.mid:
        yield f"a=mid:{section.mid}"
    yield "a=inactive"


def _received(
    kind: Kind, section: OfferedMedia, agreed: NegotiatedSession, wanted: MediaOffer, transport: LocalTransport
) -> Iterator[str]:
    media = agreed.media[kind]
    track = wanted.tracks[kind]
    yield from media_line(kind, (media.payload_type, media.rtx_payload_type), transport)
    if kind == "video" and track.bit_rate_kbps:
        yield f"b=AS:{track.bit_rate_kbps}"
    yield "a=rtcp:9 IN IP4 0.0.0.0"
    yield from transport_lines(transport, "passive" if agreed.setup == "active" else "active")
    if section.mid:
        yield f"a=mid:{section.mid}"
    yield from (f"a=extmap:{number} {uri}" for number, uri in section.extensions.items())
    yield "a=recvonly"
    yield "a=rtcp-mux"
    yield "a=rtcp-mux-only"
    if section.has_reduced_size_rtcp:
        yield "a=rtcp-rsize"
    yield from _codec_lines(kind, media, section.feedback[media.payload_type], wanted)
    yield from candidate_lines(transport)


def _codec_lines(kind: Kind, media: AnsweredMedia, feedback: Sequence[str], wanted: MediaOffer) -> Iterator[str]:
    """Yield the codec; feedback that was not offered is not answered (RFC 4585 section 4.2)."""
    number = media.payload_type
    yield f"a=rtpmap:{number} {rtpmap(media.codec)}"
    yield from (f"a=rtcp-fb:{number} {word}" for word in FEEDBACK[kind] if word in feedback)
    parameters = {**_format(kind, media, wanted)}
    if kind == "audio" or "goog-remb" in feedback:  # libwebrtc has both this and x-google-start-bitrate
        parameters |= bit_rate_parameters(kind, wanted)
    if parameters:
        yield f"a=fmtp:{number} " + ";".join(f"{name}={value}" for name, value in parameters.items())
    if media.rtx_payload_type is not None:
        yield f"a=rtpmap:{media.rtx_payload_type} rtx/{media.codec.clock_rate_hz}"
        yield f"a=fmtp:{media.rtx_payload_type} apt={number}"


def _format(kind: Kind, media: AnsweredMedia, wanted: MediaOffer) -> Mapping[str, str]:
    """Return format parameters: video's as offered; audio's as requested, in stereo where stereo is sent."""
    if kind == "video":
        return media.format_parameters
    requested = media.codec.format_parameters(wanted.tracks[kind].params)
    return {**requested, "stereo": "1"} if media.format_parameters.get("sprop-stereo") == "1" else requested
