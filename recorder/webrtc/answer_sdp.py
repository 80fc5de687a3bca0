"""The answer, read against the offer.

Reading is left to aiortc's parser, which raises whatever it stumbles over: here any text is an `Answer` or an
`SdpError`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription

from rokuga.recorder.codecs.table import Codec
from rokuga.recorder.media import Kind
from rokuga.recorder.webrtc.sdp import Answer, AnsweredMedia, MediaOffer, SdpError, Setup, codec_of

MAX_SDP_CHARACTERS = 256 * 1024
"""A browser's answer has 3 kB; nothing honest comes near this."""

_LINES_READ = (
    "v=", "o=", "s=", "t=", "m=", "a=group:", "a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:", "a=mid:",
    "a=rtpmap:", "a=fmtp:", "a=rtcp-fb:", "a=ssrc-group:", "a=ssrc:", "a=bundle-only",
)  # fmt: skip


def read_answer(text: str, offer: MediaOffer) -> Answer:
    """Read an answer to this offer. Rejected kinds (`m=video 0`) are absent from `media`. Raises SdpError."""
    sections = _sections(text, offer)
    transport = next(iter(sections.values()))
    if transport.ice is None or not transport.ice.usernameFragment or not transport.ice.password:
        raise SdpError("the answer has no ICE username fragment and password")
    if transport.dtls is None or not transport.dtls.fingerprints:
        raise SdpError("the answer has no DTLS setup and fingerprint")
    setups: Mapping[str, Setup] = {"client": "active", "server": "passive"}
    setup = setups.get(transport.dtls.role)
    if setup is None:
        raise SdpError("the answer's setup is neither active nor passive")
    return Answer(
        ice_ufrag=transport.ice.usernameFragment,
        ice_password=transport.ice.password,
        fingerprints=tuple((print_.algorithm.lower(), print_.value) for print_ in transport.dtls.fingerprints),
        setup=setup,
        media=MappingProxyType({kind: _answered(kind, offer, section) for kind, section in sections.items()}),
    )


def _sections(text: str, offer: MediaOffer) -> Mapping[Kind, MediaDescription]:
    """Give the accepted m-sections by kind, found by mid, or by place where a section has none."""
    sections = read_sections(text, "answer").media
    bundle_only = ["a=bundle-only" in part for part in split_at_media(text.splitlines())]
    by_mid = {section.rtp.muxId: place for place, section in enumerate(sections) if section.rtp.muxId}
    accepted: dict[Kind, MediaDescription] = {}
    for order, (kind, mid) in enumerate(offer.mids.items()):
        place = by_mid.get(mid, order)
        if place >= len(sections) or sections[place].kind != kind:
            raise SdpError(f"the answer has no m={kind} for what was offered")
        if sections[place].port or bundle_only[place]:
            accepted[kind] = sections[place]
    if not accepted:
        raise SdpError("the answer rejects everything that was offered")
    return accepted


def read_sections(text: str, what: str) -> SessionDescription:
    """Read the lines of a description that matter to us; `what` it is, for the error. Raises SdpError."""
    if len(text) > MAX_SDP_CHARACTERS:
        raise SdpError(f"the {what} is too long")
    # Candidates and the like are of no use to ICE-lite, and one odd line of them must not cost the session.
    lines = [line for line in text.splitlines() if line.startswith(_LINES_READ)]
    try:
        return SessionDescription.parse("\r\n".join(lines))
    except Exception as error:  # aiortc's parser asserts, indexes and unpacks; all of it means the same
        raise SdpError(f"the {what} cannot be read ({type(error).__name__}: {error})") from error


def split_at_media(lines: Sequence[str]) -> Sequence[Sequence[str]]:
    """Give the lines of each m-section."""
    starts = [place for place, line in enumerate(lines) if line.startswith("m=")]
    return [lines[start:end] for start, end in pairwise([*starts, len(lines)])]


def _answered(kind: Kind, offer: MediaOffer, section: MediaDescription) -> AnsweredMedia:
    row = codec_of(kind, offer.tracks[kind])
    codec = next((codec for codec in section.rtp.codecs if _is_row(codec, row)), None)
    if codec is None:
        raise SdpError(f"the answer's m={kind} has no {row.name}")
    format_parameters = {name: str(value) for name, value in codec.parameters.items()}
    if not row.accepts(format_parameters):
        raise SdpError(f"the answer's {row.name} is of a form that cannot be recorded")
    return described(section, row, codec, format_parameters)


def described(
    section: MediaDescription, row: Codec, codec: RTCRtpCodecParameters, format_parameters: Mapping[str, str]
) -> AnsweredMedia:
    """Give one codec of a peer's section as we receive it."""
    repairs = {
        group.items[1]: group.items[0]
        for group in section.ssrc_group
        if group.semantic == "FID" and len(group.items) == 2
    }
    number = int(codec.payloadType or 0)
    return AnsweredMedia(
        codec=row,
        payload_type=number,
        format_parameters=MappingProxyType(dict(format_parameters)),
        rtx_payload_type=next((other.payloadType for other in section.rtp.codecs if _repairs(other, number)), None),
        ssrcs=tuple(source.ssrc for source in section.ssrc if source.ssrc not in repairs),
        rtx_ssrcs=MappingProxyType({int(repair): int(primary) for repair, primary in repairs.items()}),
        nack=any(feedback.type == "nack" and not feedback.parameter for feedback in codec.rtcpFeedback),
    )


def _is_row(codec: RTCRtpCodecParameters, row: Codec) -> bool:
    """Whether the answer's codec is ours: the offer's payload type (RFC 3264 section 6.1), the name in any case."""
    return codec.payloadType == row.payload_type and codec.name.lower() == row.encoding.lower()


def _repairs(codec: RTCRtpCodecParameters, payload_type: int) -> bool:
    return codec.name.lower() == "rtx" and codec.parameters.get("apt") == payload_type
