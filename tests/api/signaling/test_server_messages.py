"""The server's messages have what every SDK needs."""

import json

from hypothesis import given
from hypothesis import strategies as st

from rokuga.api.signaling import server_messages
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig

IDENTITY = ConnectionIdentity("sora", "SESSION", "CLIENT", "BUNDLE", "CONNECTION")


def test_the_offer_has_the_fields_of_every_sdk_and_turns_off_unsupported_features() -> None:
    offer = json.loads(
        server_messages.offer(
            identity=IDENTITY,
            sdp="v=0\r\n",
            mids={"audio": "audio_x", "video": "video_x"},
            audio=TrackConfig("OPUS"),
            video=TrackConfig("VP9", 500),
            version="1.2.3",
        )
    )
    assert offer == {
        "type": "offer",
        "sdp": "v=0\r\n",
        "version": "1.2.3",
        "config": {"iceServers": [], "iceTransportPolicy": "all"},
        "channel_id": "sora",
        "session_id": "SESSION",
        "client_id": "CLIENT",
        "bundle_id": "BUNDLE",
        "connection_id": "CONNECTION",
        "mid": {"audio": "audio_x", "video": "video_x"},
        "multistream": True,
        "simulcast": False,
        "simulcast_multicodec": False,
        "spotlight": False,
        "data_channel_signaling": False,
        "ignore_disconnect_websocket": False,
        "audio": True,
        "audio_codec_type": "OPUS",
        "video": True,
        "video_codec_type": "VP9",
        "video_bit_rate": 500,
    }


def test_the_offer_has_no_fields_of_a_missing_kind() -> None:
    offer = json.loads(
        server_messages.offer(
            identity=IDENTITY, sdp="", mids={"audio": "a"}, audio=TrackConfig("OPUS"), video=None, version=""
        )
    )
    assert (offer["video"], offer["mid"], "video_codec_type" in offer) == (False, {"audio": "a"}, False)


@given(st.text())
def test_a_close_reason_is_cut_to_123_bytes(text: str) -> None:
    reason = server_messages.close_reason(text)
    assert len(reason.encode()) <= 123
    assert text.encode("utf-8", "replace").decode().startswith(reason)
