"""A new source takes over from the present one, and all of them are bounded."""

from itertools import pairwise

import pytest

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit
from rokuga.recorder.rtp.rtcp import KeyframeRequest, Nack
from rokuga.recorder.webrtc.rtcp_feedback import FIRST_REQUEST_NS
from rokuga.recorder.webrtc.source_selection import FORGOTTEN_NS, MAX_ALTERNATIVES
from rokuga.recorder.webrtc.sources import SETTLED_NS, SILENT_NS
from tests.recorder.webrtc.receiver_harness import (
    AUDIO,
    DELTA,
    FRAME,
    KEYFRAME,
    NEXT,
    OPUS,
    SOUND,
    VIDEO,
    ReceiverHarness,
    keyframe,
)


def test_a_new_source_takes_over_with_its_key_frame() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME, DELTA)
    harness.now_ns += SETTLED_NS
    harness.video(VIDEO, DELTA)
    harness.video(NEXT, DELTA)
    harness.video(VIDEO, DELTA)
    assert KeyframeRequest(NEXT) not in harness.rtcp, "it may be a layer"
    harness.video(NEXT, KEYFRAME, DELTA)
    harness.video(VIDEO, DELTA)
    harness.video(NEXT, DELTA)
    assert harness.summary == "KdddCKdd", "what the old one still sends is not given out"
    assert harness.receiver.stats()["video"]["received_packets"] == 8, "both sources are counted, the tail is not"


def test_a_second_source_of_the_same_moment_waits_until_the_first_is_silent_and_for_a_key_frame() -> None:
    """Its first key frame came too early: taking over with what followed would give frames nobody can decode."""
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.video(NEXT, KEYFRAME, DELTA)
    assert harness.summary == "K"
    harness.now_ns += SILENT_NS
    harness.video(NEXT, DELTA)
    assert harness.summary == "K"
    harness.pass_time(200 * NS_PER_MS)
    assert KeyframeRequest(NEXT) in harness.rtcp
    harness.video(NEXT, KEYFRAME, DELTA)
    assert harness.summary == "KCKd"


def test_what_the_old_source_still_holds_comes_before_the_change() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, KEYFRAME)
    assert harness.summary == "K"
    harness.now_ns += SILENT_NS
    harness.video(NEXT, KEYFRAME)
    assert harness.summary == "KKCK"


def test_the_present_source_may_be_silent_for_as_long_as_it_likes() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    for _ in range(3):
        harness.pass_time(FORGOTTEN_NS)
    harness.video(VIDEO, DELTA)
    assert harness.summary == "Kd"


def test_only_the_present_source_is_flushed() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.video(NEXT, KEYFRAME)
    harness.packet(NEXT, DELTA)
    harness.video(NEXT, KEYFRAME)
    harness.receiver.flush(harness.now_ns)
    assert harness.summary == "K"


def test_audio_changes_its_source_at_once() -> None:
    harness = ReceiverHarness()
    harness.send(harness.packet(AUDIO, SOUND, payload_type=OPUS.payload_type), step_ns=SETTLED_NS + 1)
    harness.send(harness.packet(5, SOUND, payload_type=OPUS.payload_type))
    assert harness.summary == "aCa"


def test_the_tail_of_a_replaced_source_is_forgotten() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.now_ns += SETTLED_NS
    harness.rtcp.clear()
    harness.video(NEXT, KEYFRAME)
    harness.video(VIDEO, DELTA)
    assert not harness.receiver.is_idle()
    harness.pass_time(FORGOTTEN_NS + 1)
    assert harness.receiver.is_idle()
    assert KeyframeRequest(VIDEO) not in harness.rtcp


def test_sources_are_bounded() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    for ssrc in range(1000, 1000 + 3 * MAX_ALTERNATIVES):
        harness.send(harness.packet(ssrc, DELTA), step_ns=NS_PER_MS)
    assert harness.receiver.dropped_packets == 2 * MAX_ALTERNATIVES
    harness.video(VIDEO, DELTA)
    assert harness.summary == "Kd"


def test_a_new_source_takes_the_place_of_one_that_is_silent_but_never_that_of_the_present_one() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.now_ns += SILENT_NS
    for ssrc in range(1000, 1000 + MAX_ALTERNATIVES):
        harness.send(harness.packet(ssrc, DELTA), step_ns=NS_PER_MS)
    harness.send(harness.packet(2000, DELTA))
    assert harness.receiver.dropped_packets == 1, "only the present one is silent"
    harness.video(VIDEO, DELTA)
    harness.send(harness.packet(2000, DELTA))
    assert harness.receiver.dropped_packets == 2, "none is silent"
    harness.now_ns += SILENT_NS
    harness.video(VIDEO, DELTA)
    harness.send(harness.packet(2000, DELTA), harness.packet(1000, DELTA))
    assert harness.receiver.dropped_packets == 2, "2000 took the place of 1000, which took that of 1001"
    harness.video(VIDEO, DELTA)
    assert harness.summary == "Kddd"


# Layers that nobody asked for

LOW, MIDDLE, HIGH = 0x400, 0x401, 0x402
SIZES = {LOW: (320, 180), MIDDLE: (640, 360), HIGH: (1280, 720)}


def requests(harness: ReceiverHarness) -> set[int]:
    """Give the sources that were asked for key frames or missing packets, and forget them."""
    found = {message.media_ssrc for message in harness.rtcp if isinstance(message, KeyframeRequest | Nack)}
    harness.rtcp.clear()
    return found


def layers(harness: ReceiverHarness, *ssrcs: int, key: bool = False, count: int = 1, step_ns: int = FRAME) -> None:
    """Let frames of several layers arrive, those of one moment together."""
    for _ in range(count):
        for ssrc in ssrcs:
            payload = keyframe(*SIZES[ssrc]) if key else DELTA
            harness.send(harness.packet(ssrc, payload), step_ns=step_ns // len(ssrcs))


def widths(harness: ReceiverHarness) -> list[int]:
    """Give the widths of the key frames that came out."""
    return [unit.width for _, _, unit in harness.received if isinstance(unit, AccessUnit) and unit.width]


@pytest.mark.parametrize("order", [(LOW, MIDDLE, HIGH), (HIGH, LOW, MIDDLE), (MIDDLE, HIGH, LOW)])
def test_of_layers_that_begin_together_the_largest_is_recorded_in_whatever_order_they_come(
    order: tuple[int, ...],
) -> None:
    harness = ReceiverHarness()
    layers(harness, *order, key=True)
    layers(harness, *order)
    assert widths(harness)[-1] == 1280
    requests(harness)
    harness.received.clear()
    layers(harness, *order, count=100)
    lost = [harness.packet(ssrc, DELTA) for ssrc in order]
    layers(harness, *order, count=100)
    assert len(lost) == 3
    assert requests(harness) == {HIGH}, "what is not recorded is asked for nothing, also not for what is lost of it"
    assert harness.summary == "d" * 100, "until the key frame that was asked for"
    layers(harness, HIGH, key=True)
    assert harness.summary == "d" * 100 + "K"


def test_a_larger_layer_that_comes_later_takes_over_when_it_keeps_coming() -> None:
    """Its first key frame came while it was not known to keep coming; so it is asked for another one."""
    harness = ReceiverHarness()
    layers(harness, LOW, key=True)
    layers(harness, HIGH, LOW, count=40)
    assert harness.summary == "K" + "d" * 40, "nobody knows how large it is"
    requests(harness)
    layers(harness, HIGH, LOW, key=True)
    assert widths(harness)[-1] == 1280, "it has kept coming for a second"
    assert requests(harness) == set()


def test_a_smaller_layer_that_comes_later_does_not_take_over_while_the_larger_one_keeps_coming() -> None:
    harness = ReceiverHarness()
    layers(harness, HIGH, key=True)
    layers(harness, HIGH, count=60)
    layers(harness, LOW, HIGH, key=True)
    layers(harness, LOW, HIGH, count=60)
    layers(harness, LOW, HIGH, key=True)
    assert set(widths(harness)) == {1280}
    assert LOW not in requests(harness)


def test_a_layer_that_comes_and_goes_is_recorded_only_when_it_stays() -> None:
    harness = ReceiverHarness()
    layers(harness, LOW, HIGH, key=True)
    layers(harness, LOW, HIGH, count=60)
    for _ in range(3):
        layers(harness, LOW, count=10)
        assert requests(harness) == {LOW}, "it is asked for a key frame as soon as the larger one is missed"
        layers(harness, LOW, key=True)
        assert widths(harness)[-1] == 320
        layers(harness, HIGH, LOW, key=True)
        layers(harness, LOW, HIGH, count=10)
        assert widths(harness)[-1] == 320
        assert requests(harness) == set()
        layers(harness, LOW, HIGH, count=30)
        assert requests(harness) == {HIGH}
        layers(harness, HIGH, LOW, key=True)
        assert widths(harness)[-1] == 1280


def test_when_the_largest_layer_ends_the_next_one_takes_over_and_it_alone_is_asked() -> None:
    harness = ReceiverHarness()
    layers(harness, LOW, MIDDLE, HIGH, key=True)
    layers(harness, LOW, MIDDLE, HIGH, count=60)
    requests(harness)
    layers(harness, LOW, MIDDLE, count=10)
    assert requests(harness) == {MIDDLE}
    layers(harness, MIDDLE, key=True)
    assert widths(harness)[-1] == 640
    layers(harness, MIDDLE, LOW, key=True)
    assert widths(harness)[-1] == 640


def test_a_source_that_sends_seldom_is_not_silent_between_its_pictures() -> None:
    """A screen at 2 pictures a second beside a small layer at 30."""
    harness = ReceiverHarness()
    layers(harness, HIGH, LOW, key=True)
    layers(harness, HIGH, LOW, count=30)
    told = len(harness.received)
    for _ in range(10):
        layers(harness, LOW, count=15)
        layers(harness, HIGH)
    requests(harness)
    for _ in range(10):
        layers(harness, LOW, key=True)
        layers(harness, LOW, count=14)
        layers(harness, HIGH)
    assert widths(harness)[-1] == 1280
    assert len(harness.received) > told
    assert requests(harness) == set()


def test_two_sources_of_one_size_do_not_take_turns() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    for _ in range(40):
        harness.video(VIDEO, DELTA)
    for _ in range(20):
        harness.video(NEXT, KEYFRAME)
        harness.video(VIDEO, KEYFRAME)
        for _ in range(5):
            harness.video(NEXT, DELTA)
            harness.video(VIDEO, DELTA)
    assert harness.summary.count("C") == 1


def test_video_of_which_no_packet_came_is_asked_for_a_key_frame_by_the_name_that_it_was_announced_by() -> None:
    harness = ReceiverHarness()
    harness.receiver.request_keyframe(harness.now_ns)
    times_ns = []
    for _ in range(1000):
        harness.rtcp.clear()
        harness.pass_time(20 * NS_PER_MS)
        if KeyframeRequest(VIDEO) in harness.rtcp:
            times_ns.append(harness.now_ns)
    pauses_s = [round((b - a) / NS_PER_S, 1) for a, b in pairwise(times_ns)]
    assert pauses_s == sorted(pauses_s)
    assert (pauses_s[0], pauses_s[-1]) == (0.5, 5.0)
    assert len(times_ns) < 15
    harness.video(VIDEO, KEYFRAME)
    assert harness.summary == "K"
    assert harness.receiver.is_idle()


def test_a_source_that_is_silent_is_asked_for_a_key_frame_ever_more_seldom_until_it_sends_again() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.now_ns += 60 * NS_PER_S
    harness.receiver.request_keyframe(harness.now_ns)
    asked = 0
    for _ in range(3000):
        harness.rtcp.clear()
        harness.pass_time(20 * NS_PER_MS)
        asked += KeyframeRequest(VIDEO) in harness.rtcp
    assert asked == 12, "at once, and every 5 s of a minute"
    harness.rtcp.clear()
    harness.video(VIDEO, DELTA)
    assert KeyframeRequest(VIDEO) in harness.rtcp


def test_video_of_which_nothing_has_come_is_asked_for_a_key_frame_after_a_moment() -> None:
    """An encoder that has just begun sends one by itself; one that has nothing new to show has to be asked."""
    harness = ReceiverHarness()
    harness.receiver.request_keyframe(harness.now_ns)
    harness.pass_time(FRAME)
    harness.pass_time(FIRST_REQUEST_NS - FRAME)
    assert KeyframeRequest(VIDEO) not in harness.rtcp
    harness.pass_time(FRAME)
    assert KeyframeRequest(VIDEO) in harness.rtcp
