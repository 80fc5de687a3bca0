"""A new source takes over from the present one, and all of them are bounded."""

from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.rtp.rtcp import KeyframeRequest
from rokuga.recorder.webrtc.receiver import (
    FORGOTTEN_NS,
    MAX_CANDIDATES,
    SETTLED_NS,
    SILENT_NS,
)
from tests.recorder.webrtc.desk import AUDIO, DELTA, FRAME, KEYFRAME, NEXT, OPUS, SOUND, VIDEO, Desk


def test_a_new_source_takes_over_with_its_key_frame() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME, DELTA)
    desk.now_ns += SETTLED_NS
    desk.video(VIDEO, DELTA)
    desk.video(NEXT, DELTA)
    desk.video(VIDEO, DELTA)
    assert KeyframeRequest(NEXT) in desk.rtcp
    desk.video(NEXT, KEYFRAME, DELTA)
    desk.video(VIDEO, DELTA)
    desk.video(NEXT, DELTA)
    assert desk.words == "KdddCKdd", "what the old one still sends is not given out"
    assert desk.receiver.stats()["video"]["received_packets"] == 8, "both sources are counted, the tail is not"


def test_a_second_source_of_the_same_moment_waits_until_the_first_is_silent_and_for_a_key_frame() -> None:
    """Its first key frame came too early: taking over with what followed would give frames nobody can decode."""
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME, DELTA)
    assert desk.words == "K"
    desk.now_ns += SILENT_NS
    desk.video(NEXT, DELTA)
    assert desk.words == "K"
    desk.pass_time(200 * NS_PER_MS)
    assert KeyframeRequest(NEXT) in desk.rtcp
    desk.video(NEXT, KEYFRAME, DELTA)
    assert desk.words == "KCKd"


def test_what_the_old_source_still_holds_comes_before_the_change() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.packet(VIDEO, DELTA)
    desk.video(VIDEO, KEYFRAME)
    assert desk.words == "K"
    desk.now_ns += SILENT_NS
    desk.video(NEXT, KEYFRAME)
    assert desk.words == "KKCK"


def test_the_present_source_may_be_silent_for_as_long_as_it_likes() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    for _ in range(3):
        desk.pass_time(FORGOTTEN_NS)
    desk.video(VIDEO, DELTA)
    assert desk.words == "Kd"


def test_only_the_present_source_is_flushed() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.video(NEXT, KEYFRAME)
    desk.packet(NEXT, DELTA)
    desk.video(NEXT, KEYFRAME)
    desk.receiver.flush(desk.now_ns)
    assert desk.words == "K"


def test_audio_changes_its_source_at_once() -> None:
    desk = Desk()
    desk.send(desk.packet(AUDIO, SOUND, payload_type=OPUS.payload_type), step_ns=SETTLED_NS + 1)
    desk.send(desk.packet(5, SOUND, payload_type=OPUS.payload_type))
    assert desk.words == "aCa"


def test_the_tail_of_a_replaced_source_is_forgotten() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.now_ns += SETTLED_NS
    desk.video(NEXT, KEYFRAME)
    desk.video(VIDEO, DELTA)
    desk.pass_time(FORGOTTEN_NS)
    assert KeyframeRequest(VIDEO) in desk.rtcp
    desk.rtcp.clear()
    for _ in range(50):
        desk.pass_time(FRAME)
    assert KeyframeRequest(VIDEO) not in desk.rtcp


def test_sources_are_bounded() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    for ssrc in range(1000, 1000 + 3 * MAX_CANDIDATES):
        desk.send(desk.packet(ssrc, DELTA), step_ns=NS_PER_MS)
    assert desk.receiver.dropped_packets == 2 * MAX_CANDIDATES
    desk.video(VIDEO, DELTA)
    assert desk.words == "Kd"


def test_a_new_source_takes_the_place_of_one_that_is_silent_but_never_that_of_the_present_one() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.now_ns += SILENT_NS
    for ssrc in range(1000, 1000 + MAX_CANDIDATES):
        desk.send(desk.packet(ssrc, DELTA), step_ns=NS_PER_MS)
    desk.send(desk.packet(2000, DELTA))
    assert desk.receiver.dropped_packets == 1, "only the present one is silent"
    desk.video(VIDEO, DELTA)
    desk.send(desk.packet(2000, DELTA))
    assert desk.receiver.dropped_packets == 2, "none is silent"
    desk.now_ns += SILENT_NS
    desk.video(VIDEO, DELTA)
    desk.send(desk.packet(2000, DELTA), desk.packet(1000, DELTA))
    assert desk.receiver.dropped_packets == 2, "2000 took the place of 1000, which took that of 1001"
    desk.video(VIDEO, DELTA)
    assert desk.words == "Kddd"
