"""SDP of the publisher: parses any offer or raises, and writes answers that the recorder parses."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.webrtc.outgoing.sdp import RemoteOffer, read_offer, write_answer
from rokuga.recorder.webrtc.sdp.answer import read_answer
from rokuga.recorder.webrtc.sdp.offer_and_answer import Candidate, LocalTransport, MediaOffer, SdpError, write_offer

FINGERPRINT = ":".join(["AB"] * 32)
CANDIDATES = [Candidate("192.0.2.1", 5004), Candidate("2001:db8::1", 5004), Candidate("192.0.2.1", 5004, "tcp")]
RECORDER = LocalTransport("ufrag", "p" * 24, FINGERPRINT, CANDIDATES)
PUBLISHER = LocalTransport("ours", "q" * 24, FINGERPRINT, ())
SSRCS: dict[Kind, tuple[int, int]] = {"audio": (1, 2), "video": (3, 4)}
KINDS: tuple[Kind, ...] = get_args(Kind)


def media_offer(video: str = "VP9") -> MediaOffer:
    return MediaOffer(TrackConfig("OPUS"), TrackConfig(video), mid_suffix="3C5HZX")


def offer_text(video: str = "VP9") -> str:
    return write_offer(media_offer(video), RECORDER, session_id=1)


def read(offered: str = "VP9", **codec_types: str) -> RemoteOffer:
    return read_offer(offer_text(offered), {kind: codec_types[kind] for kind in KINDS if kind in codec_types})


def test_an_offer_has_transport_parameters_candidates_and_codecs() -> None:
    """ICE, DTLS, and for each kind the payload types of the codec and of RTX."""
    offer = read(audio="OPUS", video="VP9")
    assert (offer.ice_ufrag, offer.ice_password) == ("ufrag", "p" * 24)
    assert offer.fingerprints == (("sha-256", FINGERPRINT),)
    assert offer.candidates == CANDIDATES
    assert offer.tracks.keys() == {"audio", "video"}
    assert offer.tracks["video"].rtx_payload_type not in {None, offer.tracks["video"].payload_type}
    assert offer.mids == {"audio": "audio_3C5HZX", "video": "video_3C5HZX"}


def test_candidates_are_sorted_by_priority_without_active_tcp_ones() -> None:
    lines = (
        "a=candidate:5 1 udp 7 192.0.2.5 5004 typ host",
        "a=candidate:6 1 UDP 8 192.0.2.6 5004 typ host",
        "a=candidate:7 1 TCP 9 192.0.2.7 5004 typ host tcptype passive",
        "a=candidate:8 1 tcp 99 192.0.2.8 9 typ host tcptype active",
    )
    text = offer_text().replace("a=candidate:1 ", "\r\n".join((*lines, "a=candidate:1 ")))
    found = read_offer(text, {}).candidates
    assert [(each.host, each.transport) for each in found if each not in CANDIDATES] == [
        ("192.0.2.7", "tcp"),
        ("192.0.2.6", "udp"),
        ("192.0.2.5", "udp"),
    ]


@pytest.mark.parametrize(
    ("offered", "has", "kinds"),
    [
        ("VP9", {"audio": "OPUS", "video": "VP9"}, {"audio", "video"}),
        ("VP8", {"audio": "OPUS", "video": "VP9"}, {"audio"}),
        ("VP9", {"video": "VP9"}, {"video"}),
        ("VP9", {"audio": "OPUS"}, {"audio"}),
        ("VP8", {"video": "VP9"}, set()),
    ],
)
def test_the_recorder_parses_the_publishers_answer(offered: str, has: dict[str, str], kinds: set[str]) -> None:
    """A kind that is not offered, or that the clip does not have, is rejected."""
    offer = read(offered, **has)
    assert set(offer.tracks) == kinds
    text = write_answer(offer, PUBLISHER, {kind: SSRCS[kind] for kind in offer.tracks}, "cname")
    assert text.endswith("\r\n")
    bundle = next(line for line in text.splitlines() if line.startswith("a=group:BUNDLE"))
    assert bundle.split()[1:] == [offer.mids[kind] for kind in offer.order if kind in kinds]
    if not kinds:
        return
    answer = read_answer(text, media_offer(offered))
    assert set(answer.media) == kinds
    assert answer.ice_ufrag == "ours"


@given(st.text())
def test_any_text_is_an_offer_or_an_error(text: str) -> None:
    with pytest.raises(SdpError):
        read_offer(text, {"audio": "OPUS"})


@given(st.data())
def test_a_damaged_offer_is_an_offer_or_an_error(data: st.DataObject) -> None:
    """Lines are removed or repeated, characters changed."""
    lines = data.draw(st.permutations(offer_text().split("\r\n")))
    text = "\r\n".join(lines[: data.draw(st.integers(0, len(lines)))])
    place = data.draw(st.integers(0, len(text)))
    text = text[:place] + data.draw(st.text(max_size=3)) + text[place + 1 :]
    try:
        offer = read_offer(text, {"audio": "OPUS", "video": "VP9"})
    except SdpError:
        return
    write_answer(offer, PUBLISHER, {kind: SSRCS[kind] for kind in offer.tracks}, "cname")


def test_a_section_that_is_neither_audio_nor_video_is_refused_or_ignored() -> None:
    """The other two sections are not affected."""
    text = offer_text() + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:data\r\n"
    try:
        offer = read_offer(text, {"audio": "OPUS", "video": "VP9"})
    except SdpError:
        return
    assert set(offer.tracks) == {"audio", "video"}
