"""A new source takes over from the present one, and all of them are bounded."""

from itertools import pairwise

import pytest

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit
from rokuga.recorder.rtp.rtcp import KeyframeRequest, Nack
from rokuga.recorder.webrtc.receiver import FORGOTTEN_NS, MAX_CANDIDATES, UNSEEN_NS
from rokuga.recorder.webrtc.sources import SETTLED_NS, SILENT_NS
from tests.recorder.webrtc.desk import AUDIO, DELTA, FRAME, KEYFRAME, NEXT, OPUS, SOUND, VIDEO, Desk, keyframe


def test_a_new_source_takes_over_with_its_key_frame() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME, DELTA)
    desk.now_ns += SETTLED_NS
    desk.video(VIDEO, DELTA)
    desk.video(NEXT, DELTA)
    desk.video(VIDEO, DELTA)
    assert KeyframeRequest(NEXT) not in desk.rtcp, "it may be a layer"
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
    desk.rtcp.clear()
    desk.video(NEXT, KEYFRAME)
    desk.video(VIDEO, DELTA)
    assert not desk.receiver.is_idle()
    desk.pass_time(FORGOTTEN_NS + 1)
    assert desk.receiver.is_idle()
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


# Layers that nobody asked for

LOW, MIDDLE, HIGH = 0x400, 0x401, 0x402
SIZES = {LOW: (320, 180), MIDDLE: (640, 360), HIGH: (1280, 720)}


def requests(desk: Desk) -> set[int]:
    """Give the sources that were asked for key frames or missing packets, and forget them."""
    found = {message.media_ssrc for message in desk.rtcp if isinstance(message, KeyframeRequest | Nack)}
    desk.rtcp.clear()
    return found


def layers(desk: Desk, *ssrcs: int, key: bool = False, count: int = 1, step_ns: int = FRAME) -> None:
    """Let frames of several layers arrive, those of one moment together."""
    for _ in range(count):
        for ssrc in ssrcs:
            payload = keyframe(*SIZES[ssrc]) if key else DELTA
            desk.send(desk.packet(ssrc, payload), step_ns=step_ns // len(ssrcs))


def widths(desk: Desk) -> list[int]:
    """Give the widths of the key frames that came out."""
    return [unit.width for _, _, unit in desk.told if isinstance(unit, AccessUnit) and unit.width]


@pytest.mark.parametrize("order", [(LOW, MIDDLE, HIGH), (HIGH, LOW, MIDDLE), (MIDDLE, HIGH, LOW)])
def test_of_layers_that_begin_together_the_largest_is_recorded_in_whatever_order_they_come(
    order: tuple[int, ...],
) -> None:
    desk = Desk()
    layers(desk, *order, key=True)
    layers(desk, *order)
    assert widths(desk)[-1] == 1280
    requests(desk)
    desk.told.clear()
    layers(desk, *order, count=100)
    lost = [desk.packet(ssrc, DELTA) for ssrc in order]
    layers(desk, *order, count=100)
    assert len(lost) == 3
    assert requests(desk) == {HIGH}, "what is not recorded is asked for nothing, also not for what is lost of it"
    assert desk.words == "d" * 100, "until the key frame that was asked for"
    layers(desk, HIGH, key=True)
    assert desk.words == "d" * 100 + "K"


def test_a_larger_layer_that_comes_later_takes_over_when_it_keeps_coming() -> None:
    """Its first key frame came while it was not known to keep coming; so it is asked for another one."""
    desk = Desk()
    layers(desk, LOW, key=True)
    layers(desk, HIGH, LOW, count=40)
    assert desk.words == "K" + "d" * 40, "nobody knows how large it is"
    requests(desk)
    layers(desk, HIGH, LOW, key=True)
    assert widths(desk)[-1] == 1280, "it has kept coming for a second"
    assert requests(desk) == set()


def test_a_smaller_layer_that_comes_later_does_not_take_over_while_the_larger_one_keeps_coming() -> None:
    desk = Desk()
    layers(desk, HIGH, key=True)
    layers(desk, HIGH, count=60)
    layers(desk, LOW, HIGH, key=True)
    layers(desk, LOW, HIGH, count=60)
    layers(desk, LOW, HIGH, key=True)
    assert set(widths(desk)) == {1280}
    assert LOW not in requests(desk)


def test_a_layer_that_comes_and_goes_is_recorded_only_when_it_stays() -> None:
    desk = Desk()
    layers(desk, LOW, HIGH, key=True)
    layers(desk, LOW, HIGH, count=60)
    for _ in range(3):
        layers(desk, LOW, count=10)
        assert requests(desk) == {LOW}, "it is asked for a key frame as soon as the larger one is missed"
        layers(desk, LOW, key=True)
        assert widths(desk)[-1] == 320
        layers(desk, HIGH, LOW, key=True)
        layers(desk, LOW, HIGH, count=10)
        assert widths(desk)[-1] == 320
        assert requests(desk) == set()
        layers(desk, LOW, HIGH, count=30)
        assert requests(desk) == {HIGH}
        layers(desk, HIGH, LOW, key=True)
        assert widths(desk)[-1] == 1280


def test_when_the_largest_layer_ends_the_next_one_takes_over_and_it_alone_is_asked() -> None:
    desk = Desk()
    layers(desk, LOW, MIDDLE, HIGH, key=True)
    layers(desk, LOW, MIDDLE, HIGH, count=60)
    requests(desk)
    layers(desk, LOW, MIDDLE, count=10)
    assert requests(desk) == {MIDDLE}
    layers(desk, MIDDLE, key=True)
    assert widths(desk)[-1] == 640
    layers(desk, MIDDLE, LOW, key=True)
    assert widths(desk)[-1] == 640


def test_a_source_that_sends_seldom_is_not_silent_between_its_pictures() -> None:
    """A screen at 2 pictures a second beside a small layer at 30."""
    desk = Desk()
    layers(desk, HIGH, LOW, key=True)
    layers(desk, HIGH, LOW, count=30)
    told = len(desk.told)
    for _ in range(10):
        layers(desk, LOW, count=15)
        layers(desk, HIGH)
    requests(desk)
    for _ in range(10):
        layers(desk, LOW, key=True)
        layers(desk, LOW, count=14)
        layers(desk, HIGH)
    assert widths(desk)[-1] == 1280
    assert len(desk.told) > told
    assert requests(desk) == set()


def test_two_sources_of_one_size_do_not_take_turns() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    for _ in range(40):
        desk.video(VIDEO, DELTA)
    for _ in range(20):
        desk.video(NEXT, KEYFRAME)
        desk.video(VIDEO, KEYFRAME)
        for _ in range(5):
            desk.video(NEXT, DELTA)
            desk.video(VIDEO, DELTA)
    assert desk.words.count("C") == 1


def test_video_of_which_no_packet_came_is_asked_for_a_key_frame_by_the_name_that_it_was_announced_by() -> None:
    desk = Desk()
    desk.receiver.request_keyframe(desk.now_ns)
    times_ns = []
    for _ in range(1000):
        desk.rtcp.clear()
        desk.pass_time(20 * NS_PER_MS)
        if KeyframeRequest(VIDEO) in desk.rtcp:
            times_ns.append(desk.now_ns)
    pauses_s = [round((b - a) / NS_PER_S, 1) for a, b in pairwise(times_ns)]
    assert pauses_s == sorted(pauses_s)
    assert (pauses_s[0], pauses_s[-1]) == (0.5, 5.0)
    assert len(times_ns) < 15
    desk.video(VIDEO, KEYFRAME)
    assert desk.words == "K"
    assert desk.receiver.is_idle()


def test_a_source_that_is_silent_is_asked_for_a_key_frame_ever_more_seldom_until_it_sends_again() -> None:
    desk = Desk()
    desk.video(VIDEO, KEYFRAME)
    desk.now_ns += 60 * NS_PER_S
    desk.receiver.request_keyframe(desk.now_ns)
    asked = 0
    for _ in range(3000):
        desk.rtcp.clear()
        desk.pass_time(20 * NS_PER_MS)
        asked += KeyframeRequest(VIDEO) in desk.rtcp
    assert asked == 12, "at once, and every 5 s of a minute"
    desk.rtcp.clear()
    desk.video(VIDEO, DELTA)
    assert KeyframeRequest(VIDEO) in desk.rtcp


def test_video_of_which_nothing_has_come_is_asked_for_a_key_frame_after_a_moment() -> None:
    """An encoder that has just begun sends one by itself; one that has nothing new to show has to be asked."""
    desk = Desk()
    desk.receiver.request_keyframe(desk.now_ns)
    desk.pass_time(FRAME)
    desk.pass_time(UNSEEN_NS - FRAME)
    assert KeyframeRequest(VIDEO) not in desk.rtcp
    desk.pass_time(FRAME)
    assert KeyframeRequest(VIDEO) in desk.rtcp
