"""Offers from the codec table, and answers of real clients."""

from dataclasses import replace
from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.webrtc.sdp import offer_and_answer as sdp
from rokuga.recorder.webrtc.sdp.answer import read_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import (
    TRANSPORTS,
    Candidate,
    LocalTransport,
    MediaOffer,
    SdpError,
    write_offer,
)
from rokuga.recorder.webrtc.sdp.session_description import MAX_SDP_CHARACTERS

TRANSPORT = LocalTransport(
    "ufrag123", "p" * 32, "AB:" * 31 + "CD", (Candidate("192.0.2.1", 5004), Candidate("2001:db8::1", 15004))
)
OPUS, VP9 = TrackConfig("OPUS"), TrackConfig("VP9")
VECTORS = Path(__file__).parents[1] / "vectors"
CHROMIUM = (VECTORS / "chromium-156-vp9.sdp").read_text()


def offered(name: str) -> MediaOffer:
    """Return an offer that this captured answer answers."""
    answer = (VECTORS / name).read_text()
    return MediaOffer(OPUS, VP9, mid_suffix=answer.partition("a=mid:audio_")[2][:6])


@pytest.fixture
def _captured_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the payload types of the captures in the table."""
    rows = {
        **CODECS,
        "OPUS": replace(CODECS["OPUS"], payload_type=96),
        "VP9": replace(CODECS["VP9"], payload_type=110, rtx_payload_type=111),
    }
    monkeypatch.setattr(sdp, "CODECS", rows)


def test_the_offer_is_what_sora_clients_need() -> None:
    text = write_offer(MediaOffer(OPUS, VP9, mid_suffix="3C5HZX"), TRANSPORT, 7)
    lines = text.split("\r\n")
    assert lines.pop() == ""
    assert not any("\n" in line for line in lines)
    parsed = SessionDescription.parse(text)
    assert "a=ice-lite" in lines
    assert "a=group:BUNDLE audio_3C5HZX video_3C5HZX" in lines
    assert [media.kind for media in parsed.media] == ["audio", "video"]
    for media in parsed.media:
        assert media.direction == "recvonly"
        assert media.rtcp_mux
        assert media.port == 5004
        assert media.host == "192.0.2.1"
        assert media.dtls is not None
        assert media.dtls.role == "auto", "actpass"
        assert [(candidate.ip, candidate.port) for candidate in media.ice_candidates] == [
            ("192.0.2.1", 5004),
            ("2001:db8::1", 15004),
        ]
        assert media.ice_candidates[0].priority > media.ice_candidates[1].priority
        assert media.ice_candidates_complete
        assert len(media.rtp.muxId) <= 16


def test_tcp_candidates_are_passive_and_come_after_all_of_udp() -> None:
    """RFC 6544 section 4.5; the foundations differ (RFC 8445 section 5.1.1.3)."""
    candidates = [Candidate(host, 5004, protocol) for protocol in TRANSPORTS for host in ("192.0.2.1", "2001:db8::1")]
    text = write_offer(MediaOffer(OPUS, None), replace(TRANSPORT, candidates=candidates), 7)
    offered = SessionDescription.parse(text).media[0].ice_candidates
    assert [(each.protocol, each.ip, each.port, each.tcpType) for each in offered] == [
        ("udp", "192.0.2.1", 5004, None),
        ("udp", "2001:db8::1", 5004, None),
        ("tcp", "192.0.2.1", 5004, "passive"),
        ("tcp", "2001:db8::1", 5004, "passive"),
    ]
    priorities = [each.priority for each in offered]
    assert priorities == sorted(set(priorities), reverse=True)
    assert priorities[2] >> 24 == 90
    assert priorities[2] >> 21 & 7 == 4, "the passive direction (RFC 6544 section 4.2)"
    assert len({each.foundation for each in offered}) == 4


def test_video_is_offered_with_feedback_rtx_and_a_start_bit_rate_and_without_transport_cc() -> None:
    text = write_offer(MediaOffer(OPUS, VP9), TRANSPORT, 7)
    vp9 = CODECS["VP9"]
    for feedback in ("nack", "nack pli", "ccm fir", "goog-remb"):
        assert f"a=rtcp-fb:{vp9.payload_type} {feedback}\r\n" in text
    assert (
        f"a=rtpmap:{vp9.rtx_payload_type} rtx/90000\r\na=fmtp:{vp9.rtx_payload_type} apt={vp9.payload_type}" in text
    )
    assert "x-google-start-bitrate=2500" in text
    assert "abs-send-time" in text
    assert "transport-cc" not in text
    assert "transport-wide-cc" not in text


def test_requested_bit_rates_are_format_parameters() -> None:
    offer = MediaOffer(TrackConfig("OPUS", 32), TrackConfig("VP9", 800))
    text = write_offer(offer, TRANSPORT, 7)
    assert "maxaveragebitrate=32000" in text
    assert "x-google-start-bitrate=800" in text
    assert "b=AS:800\r\n" in text
    assert offer.video_target_kbps == 800


@pytest.mark.parametrize("name", sorted(CODECS))
def test_every_row_of_the_table_can_be_offered_and_read_again(name: str) -> None:
    row = CODECS[name]
    track = TrackConfig(name)
    offer = MediaOffer(track, None) if row.kind == "audio" else MediaOffer(None, track)
    text = write_offer(offer, TRANSPORT, 7).replace("actpass", "active")
    media = read_answer(text, offer).media[row.kind]
    assert (media.codec, media.payload_type) == (row, row.payload_type)
    assert media.rtx_payload_type == (row.rtx_payload_type or None)
    assert media.nack


def test_payload_types_are_unique_across_the_table() -> None:
    numbers = [number for row in CODECS.values() for number in (row.payload_type, row.rtx_payload_type) if number]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(("audio", "video"), [(None, None), (VP9, None), (None, OPUS), (None, TrackConfig("H266"))])
def test_unknown_codecs_and_no_media_cannot_be_offered(audio: TrackConfig | None, video: TrackConfig | None) -> None:
    with pytest.raises(SdpError, match=r"neither audio nor video|is not a known"):
        write_offer(MediaOffer(audio, video), TRANSPORT, 7)


@pytest.mark.usefixtures("_captured_numbers")
@pytest.mark.parametrize("name", ["chromium-156-vp9.sdp", "sora-sdk-2025.5-vp9.sdp", "chromium-156-recvonly.sdp"])
def test_answers_of_real_clients_are_parsed(name: str) -> None:
    text = (VECTORS / name).read_text()
    answer = read_answer(text, offered(name))
    video = answer.media["video"]
    group = next(line for line in text.splitlines() if line.startswith("a=ssrc-group:FID"))
    primary, rtx = (int(number) for number in group.split()[1:])
    assert answer.setup == "active"
    assert f"a=ice-ufrag:{answer.ice_ufrag}\n" in text
    assert f"a=ice-pwd:{answer.ice_password}\n" in text
    assert [algorithm for algorithm, _ in answer.fingerprints] == ["sha-256"]
    assert (video.payload_type, video.rtx_payload_type) == (110, 111)
    assert (video.ssrcs, dict(video.rtx_ssrcs)) == ((primary,), {rtx: primary})
    assert video.nack
    assert answer.media["audio"].payload_type == 96
    assert len(answer.media["audio"].ssrcs) == 1
    assert answer.media["audio"].rtx_payload_type is None


@pytest.mark.usefixtures("_captured_numbers")
def test_a_kind_that_the_client_rejects_is_absent() -> None:
    name = "sora-sdk-2025.4-video-rejected.sdp"
    answer = read_answer((VECTORS / name).read_text(), offered(name))
    assert list(answer.media) == ["audio"]
    assert answer.ice_ufrag == "3Lwp", "that of the accepted section"


@pytest.mark.usefixtures("_captured_numbers")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("m=video 9", "m=video 0"),
        ("a=candidate", "a=candidate"),
        ("a=rtcp-mux", "a=candidate:nonsense\na=x-unknown"),
        ("a=mid:audio_3C5HZX\n", ""),
        ("opus/48000", "OPUS/48000"),
    ],
)
def test_harmless_deviations_of_an_answer_are_accepted(old: str, new: str) -> None:
    answer = read_answer(CHROMIUM.replace(old, new), offered("chromium-156-vp9.sdp"))
    assert "audio" in answer.media


@pytest.mark.usefixtures("_captured_numbers")
def test_port_zero_with_bundle_only_is_not_a_rejection() -> None:
    text = CHROMIUM.replace("m=video 9", "m=video 0").replace("a=mid:video", "a=bundle-only\na=mid:video")
    assert "video" in read_answer(text, offered("chromium-156-vp9.sdp")).media


@pytest.mark.usefixtures("_captured_numbers")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 9 UDP", " 0 UDP", "rejects everything"),
        ("a=ice-pwd", "a=x", "no ICE"),
        ("a=setup:active", "a=setup:actpass", "neither active nor passive"),
        ("a=setup:active", "a=setup:holdconn", "cannot be read"),
        ("a=fingerprint", "a=x", "fingerprint"),
        ("m=video", "m=application", "no m=video"),
        ("VP9/90000", "VP8/90000", "no VP9"),
        ("a=ssrc:", "a=ssrc:x", "cannot be read"),
        ("v=0", "x" * MAX_SDP_CHARACTERS, "too long"),
    ],
)
def test_a_bad_answer_is_refused_with_a_reason(old: str, new: str, message: str) -> None:
    with pytest.raises(SdpError, match=message):
        read_answer(CHROMIUM.replace(old, new), offered("chromium-156-vp9.sdp"))


@given(st.text() | st.lists(st.sampled_from(CHROMIUM.splitlines()) | st.text()).map("\r\n".join))
def test_any_text_is_an_answer_or_an_sdp_error(text: str) -> None:
    try:
        answer = read_answer(text, offered("chromium-156-vp9.sdp"))
    except SdpError:
        return
    assert answer.media
