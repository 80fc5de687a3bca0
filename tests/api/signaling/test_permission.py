"""The request to the authentication webhook, and the changes of its answer."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.signaling.client_messages import ConnectMessage, MessageError, requested_tracks
from rokuga.api.signaling.permission import Denied, apply_answer, auth_webhook_request
from rokuga.recorder.negotiation import TrackConfig

OPUS, VP9 = TrackConfig("OPUS"), TrackConfig("VP9")
RATES = {"audio": {"bit_rate": 64}, "video": {"codec_type": "VP8", "bit_rate": 500}}


def connect(**more: Any) -> ConnectMessage:
    return msgspec.convert({"type": "connect", "role": "sendonly", "channel_id": "sora", **more}, ConnectMessage)


def test_the_request_for_a_minimal_connect() -> None:
    assert auth_webhook_request(connect(video=False), "CONNECTION", {}) == {
        "role": "sendonly",
        "channel_id": "sora",
        "connection_id": "CONNECTION",
        "multistream": True,
        "simulcast": False,
        "spotlight": False,
        "audio": {"codec_type": "OPUS"},
        "audio_codec_type": "OPUS",
        "video": False,
        "data_channel_signaling": False,
        "ignore_disconnect_websocket": False,
        "channel_connections": 0,
        "channel_sendrecv_connections": 0,
        "channel_sendonly_connections": 0,
        "channel_recvonly_connections": 0,
        "e2ee": False,
    }


def test_the_request_for_a_complete_connect() -> None:
    asked = connect(
        client_id="alice",
        bundle_id="desk",
        metadata={"token": 1},
        video={"codec_type": "H264", "bit_rate": 500, "h264_params": {"profile_level_id": "42e01f"}},
        sora_client="Sora Python SDK 2025.4.0",
        environment="Debian",
        libwebrtc="M140",
    )
    told = auth_webhook_request(asked, "CONNECTION", {"sendonly": 2, "recvonly": 1})
    assert (told["client_id"], told["bundle_id"], told["metadata"]) == ("alice", "desk", {"token": 1})
    assert told["video"] == {"codec_type": "H264", "bit_rate": 500}
    assert (told["video_codec_type"], told["video_bit_rate"]) == ("H264", 500)
    assert told["video_h264_params"] == {"profile_level_id": "42e01f"}
    assert (told["channel_connections"], told["channel_sendonly_connections"]) == (3, 2)
    assert told["sora_client"] == {
        "raw": "Sora Python SDK 2025.4.0",
        "type": "Sora Python SDK",
        "version": "2025.4.0",
        "environment": "Debian",
        "libwebrtc": "M140",
    }


@pytest.mark.parametrize(
    ("sora_client", "told"),
    [
        ("Sora C++ SDK 2025.5.1 (0090ccf)", {"type": "Sora C++ SDK", "version": "2025.5.1"}),
        ("My client", {}),
        ("2025.1", {}),
        ("", {}),
    ],
)
def test_the_sdk_is_described_by_the_fields_that_it_sends(sora_client: str, told: dict[str, str]) -> None:
    described = auth_webhook_request(connect(sora_client=sora_client), "CONNECTION", {})["sora_client"]
    assert described == told | ({"raw": sora_client} if sora_client else {})


@pytest.mark.parametrize("sora_client", [None, 5, ["x"]])
def test_an_sdk_that_is_not_text_is_left_out(sora_client: Any) -> None:
    assert "sora_client" not in auth_webhook_request(connect(sora_client=sora_client), "CONNECTION", {})


@pytest.mark.parametrize(
    ("asked", "answer", "audio", "video"),
    [
        ({}, {}, OPUS, VP9),
        ({}, {"audio": None, "video": None, "video_bit_rate": None}, OPUS, VP9),
        ({}, {"audio": False}, None, VP9),
        ({"video": False}, {"audio": True}, OPUS, None),
        ({"video": False}, {"video": True}, OPUS, VP9),
        ({"video": False}, {"video_codec_type": "VP8"}, OPUS, None),
        (RATES, {"audio": True, "video": True}, TrackConfig("OPUS", 64), TrackConfig("VP8", 500)),
        (RATES, {"video": {"bit_rate": 100}}, TrackConfig("OPUS", 64), TrackConfig("VP8", 100)),
        (RATES, {"video": {"codec_type": "AV1"}}, TrackConfig("OPUS", 64), TrackConfig("AV1", 500)),
        (
            {},
            {"audio": True, "audio_bit_rate": 32, "audio_opus_params": {"usedtx": True}},
            TrackConfig("OPUS", 32, {"usedtx": True}),
            VP9,
        ),
        (
            RATES,
            {"video": True, "video_codec_type": "H264", "video_h264_params": {"profile_level_id": "42e01f"}},
            TrackConfig("OPUS", 64),
            TrackConfig("H264", 500, {"profile_level_id": "42e01f"}),
        ),
        (RATES, {"video": False, "video_bit_rate": 100}, TrackConfig("OPUS", 64), None),
        ({}, {"simulcast": True, "turn_tcp_only": 1, "event_metadata": {}}, OPUS, VP9),
    ],
)
def test_an_answer_is_merged_into_the_client_s_request(
    asked: dict[str, Any], answer: dict[str, Any], audio: TrackConfig | None, video: TrackConfig | None
) -> None:
    allowed, metadata, _ = apply_answer(connect(**asked), {"allowed": True, **answer})
    assert requested_tracks(allowed) == (audio, video)
    assert metadata is None


def test_an_answer_can_set_ids_and_metadata() -> None:
    asked = connect(client_id="alice", metadata={"token": 1}, signaling_notify_metadata="hers")
    allowed, metadata, _ = apply_answer(
        asked, {"allowed": True, "client_id": "bob", "bundle_id": "desk", "metadata": {"a": 1}}
    )
    assert (allowed.client_id, allowed.bundle_id, metadata) == ("bob", "desk", {"a": 1})
    assert allowed.signaling_notify_metadata == "hers"
    allowed, *_ = apply_answer(asked, {"allowed": True, "signaling_notify_metadata": "ours"})
    assert (allowed.client_id, allowed.signaling_notify_metadata) == ("alice", "ours")


@pytest.mark.parametrize(
    ("answer", "told"),
    [({}, None), ({"event_metadata": None}, "null"), ({"event_metadata": {"user": "é"}}, '{"user":"é"}')],
)
def test_event_metadata_is_from_the_answer_alone(answer: dict[str, Any], told: str | None) -> None:
    """A client cannot set it: its own value is ignored."""
    asked = msgspec.convert(
        {"role": "sendonly", "channel_id": "sora", "event_metadata": "mine"}, ConnectMessage, strict=True
    )
    assert apply_answer(asked, {"allowed": True, **answer}).event_metadata_json == told


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"reason": "over quota"}, "over quota"),
        ({}, "AUTH-WEBHOOK-DENIED"),
        ({"reason": ""}, "AUTH-WEBHOOK-DENIED"),
        ({"reason": None}, "AUTH-WEBHOOK-DENIED"),
    ],
)
def test_a_denial_has_its_reason(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(Denied, match=f"^{reason}$"):
        apply_answer(connect(), {"allowed": False, **answer})


@pytest.mark.parametrize(
    "answer",
    [
        {"allowed": "yes"},
        {"client_id": ""},
        {"client_id": 5},
        {"client_id": "x" * 256},
        {"bundle_id": "録" * 86},
        {"audio": 1},
        {"audio": False, "video": False},
        {"audio_bit_rate": 5},
        {"audio_codec_type": "VP8"},
        {"video": {"codec_type": "H265"}},
        {"video_bit_rate": True},
        {"video_bit_rate": 50_001},
        {"video_vp9_params": 5},
    ],
)
def test_an_invalid_answer_admits_nobody(answer: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        apply_answer(connect(), {"allowed": True, **answer})


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4)
KEYS = st.sampled_from(["allowed", "client_id", "audio", "video", "video_codec_type", "video_bit_rate", "metadata"])


@given(st.dictionaries(KEYS, JSON | st.dictionaries(st.sampled_from(["codec_type", "bit_rate"]), JSON)))
def test_any_answer_is_applied_or_refused(answer: dict[str, Any]) -> None:
    try:
        allowed, *_ = apply_answer(connect(), answer)
    except (Denied, MessageError):
        return
    assert answer["allowed"] is True
    assert requested_tracks(allowed) != (None, None)
