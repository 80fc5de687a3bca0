"""The translation of WHIP into Sora's signalling."""

from http import HTTPStatus
from urllib.parse import urljoin

import pytest

from rokuga.api.signaling.client_messages import ConnectMessage, MessageError
from rokuga.api.signaling.track_request import TrackRequest
from rokuga.api.whip.problem import Problem
from rokuga.api.whip.translation import (
    FRAGMENT,
    SDP,
    CodecTypes,
    Fragment,
    bearer_token,
    check_media_type,
    connect,
    if_match_holds,
    read_fragment,
    restrict_to_offer,
    session_location,
)

BOTH: CodecTypes = {"audio": ("OPUS",), "video": ("VP8", "AV1")}
AUDIO: CodecTypes = {"audio": ("OPUS",)}


@pytest.mark.parametrize("header", [SDP, "Application/SDP", "application/sdp; charset=utf-8", " application/sdp "])
def test_a_media_type_is_accepted_in_any_form(header: str) -> None:
    check_media_type(header, SDP)


@pytest.mark.parametrize("header", [None, "", "application/json", "application/sdpx", FRAGMENT])
def test_another_media_type_is_refused_with_the_accepted_one(header: str | None) -> None:
    with pytest.raises(Problem) as caught:
        check_media_type(header, SDP)
    assert caught.value.status is HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert caught.value.headers == {"Accept-Post": SDP}


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer a.b-c", "a.b-c"),
        ("bearer  x ", "x"),
        ("Basic eA==", None),
        ("Bearer", None),
        ("", None),
        (None, None),
    ],
)
def test_bearer_tokens_are_parsed(header: str | None, token: str | None) -> None:
    assert bearer_token(header) == token


@pytest.mark.parametrize(
    ("header", "fits"),
    [(None, True), ("*", True), ('"a"', True), ('"x", "a"', True), ('"b"', False), ('W/"a"', False), ("a", False)],
)
def test_if_match_holds_for_its_entity_tag(header: str | None, *, fits: bool) -> None:
    """Weak tags never match (RFC 9110 section 13.1.1)."""
    assert if_match_holds(header, '"a"') == fits


def test_a_fragment_has_its_ice_credentials() -> None:
    text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uY\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 0 udp [fd00::2]\r\n"
    assert read_fragment(text) == Fragment("EsAw", "P2uY")


@pytest.mark.parametrize("text", ["", "hello", "a=ice-ufrag:x", "a=ice-pwd:x", "a=ice-ufrag:\r\na=ice-pwd:\r\n"])
def test_a_fragment_without_credentials_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        read_fragment(text)


def test_an_offer_becomes_a_connect() -> None:
    """The first codec of each kind is requested; the token is in the metadata."""
    asked = connect("lab", BOTH, "secret", "OBS 30")
    assert asked == ConnectMessage(
        role="sendonly",
        channel_id="lab",
        audio=TrackRequest(codec_type="OPUS"),
        video=TrackRequest(codec_type="VP8"),
        metadata={"access_token": "secret"},
        sora_client="WHIP",
        environment="OBS 30",
    )
    alone = connect("lab", AUDIO, None, None)
    assert (alone.video, alone.metadata) == (False, None)


def test_kinds_that_are_not_offered_are_removed() -> None:
    alone = connect("lab", AUDIO, None, None)
    allowed = ConnectMessage(role="sendonly", channel_id="lab", audio=True, video=True)
    assert restrict_to_offer(allowed, AUDIO) == ConnectMessage(
        role="sendonly", channel_id="lab", audio=True, video=False
    )
    assert restrict_to_offer(alone, AUDIO) == alone


def test_only_offered_codecs_may_be_allowed() -> None:
    allowed = ConnectMessage(role="sendonly", channel_id="lab", video=TrackRequest(codec_type="AV1"))
    assert restrict_to_offer(allowed, BOTH) == allowed
    with pytest.raises(MessageError, match="VP9 is allowed and not offered"):
        restrict_to_offer(
            ConnectMessage(role="sendonly", channel_id="lab", video=TrackRequest(codec_type="VP9")), BOTH
        )


@pytest.mark.parametrize("channel", ["room", "a/b", "a%2Fb", "%E9%8C%B2", "a/b/c/d"])
@pytest.mark.parametrize(
    "prefix", ["http://192.0.2.1:5000", "https://proxy.example/rec", "https://proxy.example/a/b"]
)
def test_the_url_of_a_session_is_relative_to_the_request(prefix: str, channel: str) -> None:
    """RFC 3986 section 5; https://github.com/meetecho/simple-whip-server/pull/7"""
    location = session_location(f"/whip/{channel}", "id")
    assert urljoin(f"{prefix}/whip/{channel}", location) == f"{prefix}/whip-session/id"
