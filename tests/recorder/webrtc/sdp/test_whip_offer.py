"""Offers of WHIP clients, and our answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    Candidate,
    LocalTransport,
    MediaOffer,
    NegotiatedSession,
    SdpError,
    write_offer,
)
from rokuga.recorder.webrtc.sdp.whip_offer import ClientOffer, OfferRefused, agree, read_offer, write_answer

TRANSPORT = LocalTransport(
    "ufrag123", "p" * 32, "AB:" * 31 + "CD", (Candidate("192.0.2.1", 5004), Candidate("2001:db8::1", 15004))
)
VECTORS = Path(__file__).parents[3] / "vectors" / "whip"
FIRST = {"chromium": "VP9", "medooze": "VP9", "eyevinn": "VP8", "ffmpeg": "H264", "ffmpeg_passive": "H264"}
FIRST |= {"gstreamer_vp9": "VP9", "gstreamer_vp8": "VP8", "gstreamer_trickle": "VP9"}


def captured(name: str) -> str:
    """Return the offer of a client."""
    return str(json.loads((VECTORS / f"{name}.jsonl").read_text().splitlines()[0])["body"])


CHROMIUM, FFMPEG = captured("chromium"), captured("ffmpeg")


def preferred(offer: ClientOffer) -> MediaOffer:
    """Return an offer of ours for the client's preferred codecs."""
    tracks = {kind: TrackConfig(names[0]) for kind, names in offer.codec_types.items()}
    return MediaOffer(tracks.get("audio"), tracks.get("video"))


def answered(text: str, ours: MediaOffer | None = None) -> tuple[NegotiatedSession, str]:
    """Answer an offer."""
    offer = read_offer(text)
    ours = ours or preferred(offer)
    agreed = agree(offer, ours)
    return agreed, write_answer(offer, agreed, ours, TRANSPORT, 7)


def part(text: str, kind: str) -> list[str]:
    """Return the lines of a section."""
    return next(f"m={lines}".split("\r\n") for lines in text.split("\r\nm=")[1:] if lines.startswith(kind))


def test_every_client_has_its_vectors() -> None:
    assert set(FIRST) == {path.stem for path in VECTORS.glob("*.jsonl")}


@pytest.mark.parametrize("name", FIRST)
def test_an_answer_keeps_the_sections_mids_and_payload_types_of_the_offer(name: str) -> None:
    """Also its extension ids; nothing is answered that was not offered (RFC 3264 section 6)."""
    text = captured(name)
    agreed, answer = answered(text)
    offered, parsed = SessionDescription.parse(text), SessionDescription.parse(answer)
    assert agreed.media["video"].codec.name == FIRST[name]
    assert answer.endswith("\r\n")
    assert "a=ice-lite" in answer.split("\r\nm=")[0].split("\r\n")
    assert [section.kind for section in parsed.media] == [section.kind for section in offered.media]
    assert [str(mid) for mid in parsed.group[0].items] == [section.rtp.muxId for section in offered.media]
    for ours, theirs in zip(parsed.media, offered.media, strict=True):
        assert ours.rtp.muxId == theirs.rtp.muxId
        assert ours.direction == "recvonly"
        assert ours.rtcp_mux
        assert (ours.host, ours.port) == ("192.0.2.1", 5004)
        assert len(ours.ice_candidates) == 2
        assert ours.ice_candidates_complete
        assert set(ours.fmt) <= set(theirs.fmt)
        assert {(e.id, e.uri) for e in ours.rtp.headerExtensions} <= {
            (e.id, e.uri) for e in theirs.rtp.headerExtensions
        }
        feedback = {codec.payloadType: codec.rtcpFeedback for codec in theirs.rtp.codecs}
        for codec in ours.rtp.codecs:
            assert all(word in feedback[codec.payloadType] for word in codec.rtcpFeedback)
        lines = part(answer, ours.kind)
        assert "a=rtcp-mux-only" in lines
        assert f"a=setup:{'active' if name == 'ffmpeg_passive' else 'passive'}" in lines
    assert agreed.setup == ("passive" if name == "ffmpeg_passive" else "active")


def test_retransmissions_are_those_of_the_codec() -> None:
    agreed, answer = answered(CHROMIUM)
    video = agreed.media["video"]
    assert (video.payload_type, video.rtx_payload_type, video.nack) == (98, 99, True)
    assert video.rtx_ssrcs == {3141674784: 2729984607}
    assert video.ssrcs == (2729984607,)
    assert part(answer, "video")[0].endswith(" 98 99")
    assert "a=fmtp:99 apt=98" in part(answer, "video")


def test_transport_wide_feedback_is_not_answered() -> None:
    """Without feedback, libwebrtc would lower its bit rate."""
    assert "transport" not in answered(CHROMIUM)[1]


def test_the_start_bit_rate_is_answered_to_libwebrtc_only() -> None:
    """FFmpeg and GStreamer do not support it."""
    slow = MediaOffer(TrackConfig("OPUS", 24), TrackConfig("VP9", 700))
    lines = answered(CHROMIUM, slow)[1].split("\r\n")
    assert "a=fmtp:98 profile-id=0;x-google-start-bitrate=700" in lines
    assert "b=AS:700" in lines
    assert "a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=24000" in lines
    assert "x-google" not in answered(FFMPEG)[1]


def test_stereo_is_answered_where_stereo_is_sent() -> None:
    assert "a=fmtp:97 minptime=10;useinbandfec=1;stereo=1" in answered(captured("gstreamer_vp9"))[1]


def test_any_offered_codec_can_be_chosen() -> None:
    ours = MediaOffer(TrackConfig("OPUS"), TrackConfig("AV1"))
    agreed, answer = answered(captured("eyevinn"), ours)
    assert agreed.media["video"].payload_type == 45
    assert part(answer, "video")[0].endswith(" 45 46")


def test_a_codec_that_is_not_offered_is_refused() -> None:
    with pytest.raises(OfferRefused, match="AV1 is not offered"):
        answered(CHROMIUM, MediaOffer(None, TrackConfig("AV1")))


def test_a_kind_that_is_not_wanted_is_rejected() -> None:
    agreed, answer = answered(CHROMIUM, MediaOffer(TrackConfig("OPUS"), None))
    assert set(agreed.media) == {"audio"}
    assert part(answer, "video")[0] == "m=video 0 UDP/TLS/RTP/SAVPF 0"
    assert "a=inactive" in part(answer, "video")
    assert "a=group:BUNDLE 0" in answer.split("\r\n")


def test_a_disabled_section_is_rejected() -> None:
    """Port 0 without bundle-only (RFC 3264 section 8.2); its kind is not counted."""
    text = CHROMIUM.replace("m=video 9 ", "m=video 0 ")
    agreed, answer = answered(text)
    assert set(agreed.media) == {"audio"}
    assert part(answer, "video")[0].startswith("m=video 0 ")


def test_simulcast_is_answered_with_one_layer() -> None:
    offered = "a=rid:r0 send\r\na=rid:r1 send\r\na=simulcast:send r0;r1\r\n"
    _agreed, answer = answered(CHROMIUM + offered)
    assert "simulcast" not in answer
    assert "a=rid" not in answer
    assert "rtp-stream-id" not in answer


def test_one_section_needs_neither_bundle_nor_mid() -> None:
    head, audio, _video = FFMPEG.split("m=")
    text = f"{head}m={audio}".replace("a=group:BUNDLE 0 1\r\n", "").replace("a=mid:0\r\n", "")
    _agreed, answer = answered(text)
    assert "BUNDLE" not in answer
    assert "a=mid" not in answer


@pytest.mark.parametrize("direction", ["a=sendrecv", ""])
def test_a_client_that_would_also_receive_may_send(direction: str) -> None:
    assert "a=recvonly" in answered(FFMPEG.replace("a=sendonly", direction))[1]


def test_sections_inherit_attributes_of_the_session() -> None:
    """Credentials, fingerprint, setup and direction at session level (RFC 8839 section 5.4, RFC 8122 section 5)."""
    lines = FFMPEG.split("\r\n")
    common = [line for line in lines if line.startswith(("a=ice-", "a=fingerprint", "a=setup", "a=sendonly"))]
    rest = [line for line in lines if line not in common]
    place = rest.index("a=group:BUNDLE 0 1")
    text = "\r\n".join([*rest[:place], *dict.fromkeys(common), *rest[place:]])
    assert answered(text)[0].ice_ufrag == "529ba660"


Spoil = Callable[[str], str]

UNREADABLE: dict[str, Spoil] = {
    "nothing": lambda _text: "",
    "no SDP": lambda _text: "hello",
    "no media": lambda text: text.split("m=")[0],
    "no fingerprint": lambda text: text.replace("a=fingerprint", "a=nothing"),
    "no setup": lambda text: text.replace("a=setup", "a=nothing"),
    "a setup that holds": lambda text: text.replace("a=setup:active", "a=setup:holdconn"),
    "no ufrag": lambda text: text.replace("a=ice-ufrag", "a=nothing"),
    "no password": lambda text: text.replace("a=ice-pwd", "a=nothing"),
    "a mid twice": lambda text: text.replace("a=mid:1", "a=mid:0").replace("BUNDLE 0 1", "BUNDLE 0"),
    "a payload type that is no number": lambda text: text.replace("SAVPF 111", "SAVPF x"),
    "a payload type out of range": lambda text: text.replace("SAVPF 111", "SAVPF 999"),
    "too long": lambda text: text + "a=x\r\n" * 60_000,
}

REFUSED: dict[str, tuple[Spoil, str]] = {
    "receives": (lambda text: text.replace("a=sendonly", "a=recvonly"), "recvonly"),
    "does nothing": (lambda text: text.replace("a=sendonly", "a=inactive"), "inactive"),
    "two of a kind": (lambda text: text.replace("m=audio", "m=video").replace("opus/48000/2", "VP8/90000"), "more"),
    "a DataChannel": (lambda text: text + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n", "appl"),
    "no rtcp-mux": (lambda text: text.replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
    "no bundle": (lambda text: text.replace("a=group:BUNDLE 0 1\r\n", ""), "bundle"),
    "a bundle of one": (lambda text: text.replace("BUNDLE 0 1", "BUNDLE 0"), "bundle"),
    "no encryption": (lambda text: text.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "SAVPF"),
    "no codec": (lambda text: text.replace("H264/90000", "H266/90000"), r"supported: VP8, VP9, AV1, H264"),
    "an odd clock": (lambda text: text.replace("opus/48000/2", "opus/8000/2"), "m=audio has no codec"),
    "no way to packetize": (lambda text: text.replace("packetization-mode=1", "packetization-mode=2"), "no codec"),
    "RTCP's own payload type": (lambda text: text.replace("106", "66"), "m=video has no codec"),
    "one payload type for two": (lambda text: text.replace("106", "111"), "two things"),
    "ICE-lite at both ends": (lambda text: text.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"), "ICE-lite"),
    "nothing in use": (lambda text: text.replace("m=audio 9", "m=audio 0").replace("m=video 9", "m=video 0"), "noth"),
}


@pytest.mark.parametrize("spoil", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_invalid_offer_raises_an_sdp_error(spoil: Spoil) -> None:
    with pytest.raises(SdpError) as caught:
        answered(spoil(FFMPEG))
    assert not isinstance(caught.value, OfferRefused)


@pytest.mark.parametrize(("spoil", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_offer_that_cannot_be_answered_is_refused_with_a_reason(spoil: Spoil, reason: str) -> None:
    with pytest.raises(OfferRefused, match=reason):
        answered(spoil(FFMPEG))


@pytest.mark.parametrize("name", FIRST)
def test_a_truncated_offer_is_refused_or_answered(name: str) -> None:
    text = captured(name)
    for length in range(0, len(text), 31):
        try:
            _agreed, answer = answered(text[:length])
        except SdpError:
            continue
        SessionDescription.parse(answer)


@given(st.lists(st.sampled_from(CHROMIUM.split("\r\n")), max_size=60), st.text(max_size=40))
def test_lines_in_any_order_are_refused_or_answered(lines: list[str], tail: str) -> None:
    try:
        _agreed, answer = answered("\r\n".join(["v=0", *lines, tail]))
    except SdpError:
        return
    SessionDescription.parse(answer)


def test_video_orientation_is_not_answered_so_that_phones_rotate_the_pictures() -> None:
    """https://github.com/ant-media/Ant-Media-Server/issues/4024."""
    urn = "urn:3gpp:video-orientation"
    assert urn in CHROMIUM
    agreed, answer = answered(CHROMIUM)
    assert "video" in agreed.media
    assert urn not in answer
    assert urn not in write_offer(MediaOffer(TrackConfig("OPUS"), TrackConfig("VP9")), TRANSPORT, session_id=1)
