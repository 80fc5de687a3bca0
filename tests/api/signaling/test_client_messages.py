"""The parser of a client's messages."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.signaling import client_messages
from rokuga.api.signaling.client_messages import (
    ConnectMessage,
    MessageError,
    PongMessage,
    parse_message,
    requested_tracks,
)
from rokuga.recorder.negotiation import TrackConfig


def connect(**more: Any) -> ConnectMessage:
    message = parse_message(json.dumps({"type": "connect", "role": "sendonly", "channel_id": "sora", **more}))
    assert isinstance(message, ConnectMessage)
    return message


@pytest.mark.parametrize(
    ("asked", "audio", "video"),
    [
        ({}, TrackConfig("OPUS"), TrackConfig("VP9")),
        ({"audio": True, "video": True}, TrackConfig("OPUS"), TrackConfig("VP9")),
        ({"audio": None, "video": None}, TrackConfig("OPUS"), TrackConfig("VP9")),
        ({"audio": {}, "video": {}}, TrackConfig("OPUS"), TrackConfig("VP9")),
        ({"audio": False}, None, TrackConfig("VP9")),
        ({"video": False}, TrackConfig("OPUS"), None),
        ({"video": {"bit_rate": 500}}, TrackConfig("OPUS"), TrackConfig("VP9", 500)),
        ({"video": {"codec_type": "vp8"}}, TrackConfig("OPUS"), TrackConfig("VP8")),
        ({"video": {"codec_type": None, "bit_rate": None}}, TrackConfig("OPUS"), TrackConfig("VP9")),
        (
            {"audio": {"opus_params": {"usedtx": True}}, "video": {"vp9_params": {"profile_id": 2}, "x": 1}},
            TrackConfig("OPUS", None, {"usedtx": True}),
            TrackConfig("VP9", None, {"profile_id": 2}),
        ),
        (
            {"video": {"codec_type": "H264", "h264_params": {"profile_level_id": "42e01f"}, "vp9_params": 5}},
            TrackConfig("OPUS"),
            TrackConfig("H264", None, {"profile_level_id": "42e01f"}),
        ),
        ({"video": {"codec_type": "AV1", "av1_params": None}}, TrackConfig("OPUS"), TrackConfig("AV1")),
    ],
)
def test_requested_tracks_are_offered(
    asked: dict[str, Any], audio: TrackConfig | None, video: TrackConfig | None
) -> None:
    """The defaults are OPUS and VP9; any subset of the keys may be present, and null means absent."""
    assert requested_tracks(connect(**asked)) == (audio, video)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"audio": False, "video": False}, "audio and video are both false"),
        (
            {"video": {"codec_type": "H265"}},
            "video codec_type H265 is not supported (supported: VP8, VP9, AV1, H264)",
        ),
        ({"audio": {"codec_type": "PCMU"}}, "audio codec_type PCMU is not supported (supported: OPUS)"),
        ({"audio": {"codec_type": "VP9"}}, "audio codec_type VP9 is not supported (supported: OPUS)"),
        ({"video": {"bit_rate": 0}}, "video bit_rate is not from 1 to 50000"),
        ({"video": {"bit_rate": 50_001}}, "video bit_rate is not from 1 to 50000"),
        ({"audio": {"bit_rate": 5}}, "audio bit_rate is not from 6 to 510"),
        ({"video": {"vp9_params": 1}}, "vp9_params is not an object"),
        ({"video": {"vp9_params": {"profile_id": 4}}}, "vp9_params: profile_id is not a whole number from 0 to 3"),
        ({"audio": {"opus_params": {"stereo": 1}}}, "opus_params: stereo is neither true nor false"),
    ],
)
def test_unsupported_requests_are_named(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageError) as raised:
        requested_tracks(connect(**asked))
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    "more",
    [
        {"client_id": None, "bundle_id": None, "metadata": None, "signaling_notify_metadata": None},
        {"simulcast": None, "spotlight": 3, "multistream": "yes", "data_channel_signaling": [], "unknown": {}},
        {"sora_client": None, "environment": 5, "libwebrtc": {}, "sdp": None},
        {"forwarding_filters": [{}], "simulcast_rid": "r0", "audio_streaming_language_code": "ja-JP"},
    ],
)
def test_unused_fields_may_be_anything(more: dict[str, Any]) -> None:
    assert connect(**more).channel_id == "sora"


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ('{"type":"connect","channel_id":"sora"}', "role"),
        ('{"type":"connect","role":"sendonly"}', "channel_id"),
        ('{"type":"connect","role":"sendonly","channel_id":null}', "channel_id"),
        ('{"type":"connect","role":"sendonly","channel_id":""}', "channel_id"),
        ('{"type":"connect","role":"sendonly","channel_id":5}', "channel_id"),
        ('{"type":"connect","role":"publisher","channel_id":"sora"}', "role"),
        ('{"type":"connect","role":"sendonly","channel_id":"sora","client_id":7}', "client_id"),
        ('{"type":"connect","role":"sendonly","channel_id":"sora","audio":"yes"}', "audio"),
        ('{"type":"connect","role":"sendonly","channel_id":"sora","video":{"bit_rate":"1"}}', "video.bit_rate"),
        ('{"type":"connect","role":"sendonly","channel_id":"sora","video":{"bit_rate":true}}', "video.bit_rate"),
        ('{"type":7}', "type"),
        ("[]", "object"),
        ("null", "object"),
        ("", "JSON"),
        ("{", "JSON"),
        ('{"type":"connect","role":-inf}', "JSON"),
        ('{"type":"\ud800"}'.encode("utf-8", "surrogatepass"), "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"\x00" * 100, "JSON"),
        ("[" * 100_000, "object"),
        ('{"type":"pong","stats":' + "[" * 100_000, "JSON"),
        ('{"type":"answer","sdp":5}', "sdp"),
        (
            '{"type":"connect","role":"sendonly","channel_id":"sora","signaling_notify_metadata":%s}'
            % ("[" * 128 + "]" * 128),
            "nested more than 128 deep",
        ),
    ],
)
def test_malformed_messages_are_named(frame: str | bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        parse_message(frame)


@pytest.mark.parametrize("name", client_messages.MAX_FIELD_BYTES)
def test_stored_fields_have_limits_that_are_named(name: str) -> None:
    most = client_messages.MAX_FIELD_BYTES[name]
    frame = '{"type":"connect","role":"sendonly","channel_id":"sora","%s":%s}'
    kept = {"audio": '{"x":"%s"}', "video": '{"x":"%s"}'}.get(name, '"%s"')
    text = kept % ("x" * (most - len(kept) + 2))
    assert isinstance(parse_message(frame % (name, text)), ConnectMessage)
    for longer in (text.replace("x", "xx", 1), text.replace("xxx", "xx録", 1)):
        with pytest.raises(MessageError, match=f"{name} is longer than {most} bytes"):
            parse_message(
                frame % (name, longer) if name not in kept else frame % (name, longer.replace("xx", "xxxx", 1))
            )


@pytest.mark.parametrize("kind", ["pong", "candidate", "answer", "stats"])
def test_only_a_connect_may_be_long(kind: str) -> None:
    most = client_messages.MAX_MESSAGE_BYTES
    with pytest.raises(MessageError, match=f"{kind} is longer than {most} bytes"):
        parse_message(json.dumps({"type": kind, "sdp": "x" * most}))


def test_undocumented_params_are_dropped() -> None:
    asked: dict[str, Any] = {"usedtx": True, "stereo": None, "x": [[]] * 9, "maxaveragebitrate": 6000}
    audio, video = requested_tracks(connect(audio={"opus_params": asked}, video={"vp9_params": {"y": 1}}))
    assert audio == TrackConfig("OPUS", None, {"usedtx": True, "stereo": None})
    assert video == TrackConfig("VP9")


@pytest.mark.parametrize("name", ["channel_id", "client_id", "bundle_id"])
def test_ids_have_255_bytes_at_most(name: str) -> None:
    client_messages.check_ids(connect(**{name: "録" * 85}))
    with pytest.raises(MessageError, match=f"{name} is longer than 255 bytes"):
        client_messages.check_ids(connect(**{name: "録" * 85 + "x"}))


@pytest.mark.parametrize(
    "stats",
    [
        '[{"remoteTimestamp":-inf}]',
        '[{"a": nan, "b": [inf, -Infinity,NaN]}]',
        '[{"text":"a, -inf, b","a":-nan}]',
        '[{"a":-nan(ind),"b":[nan(snan)]}]',
    ],
)
def test_a_pong_of_libwebrtc_is_not_always_json(stats: str) -> None:
    for frame in (f'{{"type":"pong","stats":{stats}}}', f'{{"stats":{stats},"type":"pong"}}'.encode()):
        assert isinstance(parse_message(frame), PongMessage)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_is_a_message_or_a_message_error(frame: str | bytes) -> None:
    try:
        parse_message(frame)
    except MessageError as error:
        assert str(error)  # noqa: PT017  # it may also be a message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["connect", "answer", "candidate", "pong", "disconnect", "x"])},
        optional=dict.fromkeys(
            ("role", "channel_id", "client_id", "audio", "video", "sdp", "stats", "candidate", "reason"), JSON
        ),
    )
)
def test_any_json_is_a_message_or_a_message_error(message: dict[str, Any]) -> None:
    try:
        parsed = parse_message(json.dumps(message))
        if isinstance(parsed, ConnectMessage):
            client_messages.check_ids(parsed)
            requested_tracks(parsed)
    except MessageError as error:
        assert str(error)  # noqa: PT017  # it may also be a message
