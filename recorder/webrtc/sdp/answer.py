"""Reader of the answer to our offer: any text gives a `NegotiatedSession` or raises SdpError. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from rokuga.recorder.codecs.table import Codec
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.sdp.description import RtpCodec, Section, TransportParameters
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    AnsweredMedia,
    MediaOffer,
    NegotiatedSession,
    SdpError,
    Setup,
    codec_of,
)
from rokuga.recorder.webrtc.sdp.session_description import parse_description

_SETUPS: Mapping[str, Setup] = {"active": "active", "passive": "passive"}


def read_answer(text: str, offer: MediaOffer) -> NegotiatedSession:
    """Read an answer to this offer. Rejected kinds (`m=video 0`) are absent from `media`. Raises SdpError."""
    sections = _sections(text, offer)
    transport = next(iter(sections.values())).transport
    check_transport(transport, "answer")
    setup = _SETUPS.get(transport.setup)
    if setup is None:
        raise SdpError("the answer's setup is neither active nor passive")
    return NegotiatedSession(
        ice_ufrag=transport.ice_ufrag,
        ice_password=transport.ice_password,
        fingerprints=tuple(transport.fingerprints),
        setup=setup,
        media=MappingProxyType({kind: _answered(kind, offer, section) for kind, section in sections.items()}),
    )


def check_transport(transport: TransportParameters, what: str) -> None:
    """Check that a section has what ICE and DTLS need. `what` names it in errors. Raises SdpError."""
    if not transport.ice_ufrag or not transport.ice_password:
        raise SdpError(f"the {what} has no ICE username fragment and password")
    if not transport.setup or not transport.fingerprints:
        raise SdpError(f"the {what} has no DTLS setup and fingerprint")


def _sections(text: str, offer: MediaOffer) -> Mapping[Kind, Section]:
    """Return the accepted m-sections by kind, found by mid, or by position where a section has none."""
    sections = parse_description(text, "answer").sections
    by_mid = {section.mid: index for index, section in enumerate(sections) if section.mid}
    accepted: dict[Kind, Section] = {}
    for position, (kind, mid) in enumerate(offer.mids.items()):
        index = by_mid.get(mid, position)
        if index >= len(sections) or sections[index].kind != kind:
            raise SdpError(f"the answer has no m={kind} for what was offered")
        if sections[index].is_in_use:
            accepted[kind] = sections[index]
    if not accepted:
        raise SdpError("the answer rejects everything that was offered")
    return accepted


def _answered(kind: Kind, offer: MediaOffer, section: Section) -> AnsweredMedia:
    """Return the accepted codec, by payload type (RFC 3264 section 6.1) and case-insensitive name."""
    row = codec_of(kind, offer.tracks[kind])
    codec = section.codecs.get(row.payload_type)
    if codec is None or codec.encoding.lower() != row.encoding.lower():
        raise SdpError(f"the answer's m={kind} has no {row.name}")
    if not row.accepts(section.parameters_of(codec.payload_type)):
        raise SdpError(f"the answer's {row.name} is of a form that cannot be recorded")
    [media] = received_media(section, [(row, codec)])
    return media


def received_media(section: Section, codecs: Iterable[tuple[Codec, RtpCodec]]) -> Sequence[AnsweredMedia]:
    """Return codecs of a peer's section as they will be received, all with the SSRCs of the section."""
    retransmissions = section.retransmissions()
    ssrcs = tuple(ssrc for ssrc in section.sources if ssrc not in section.repairs)
    rtx_ssrcs = MappingProxyType(section.repairs)
    return tuple(
        AnsweredMedia(
            codec=row,
            payload_type=codec.payload_type,
            format_parameters=MappingProxyType(section.parameters_of(codec.payload_type)),
            rtx_payload_type=retransmissions.get(codec.payload_type),
            ssrcs=ssrcs,
            rtx_ssrcs=rtx_ssrcs,
            nack="nack" in section.feedback_of(codec.payload_type),
        )
        for row, codec in codecs
    )
