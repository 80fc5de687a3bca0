"""Which source of a kind is recorded, and how many are followed."""

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


def test_a_new_source_replaces_the_active_one_with_its_key_frame() -> None:
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
    assert harness.summary == "KdddCKdd", "what the old one still sends is not passed on"
    assert harness.receiver.stats()["video"]["received_packets"] == 8, "both sources are counted, the tail is not"


def test_of_two_sources_that_begin_together_the_second_needs_silence_and_a_key_frame() -> None:
    """Its first key frame was too early: what follows it cannot be decoded alone."""
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


def test_the_old_source_is_flushed_before_the_change() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.packet(VIDEO, DELTA)
    harness.video(VIDEO, KEYFRAME)
    assert harness.summary == "K"
    harness.now_ns += SILENT_NS
    harness.video(NEXT, KEYFRAME)
    assert harness.summary == "KKCK"


def test_the_active_source_is_not_removed_however_long_it_is_silent() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    for _ in range(3):
        harness.pass_time(FORGOTTEN_NS)
    harness.video(VIDEO, DELTA)
    assert harness.summary == "Kd"


def test_only_the_active_source_is_flushed() -> None:
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


def test_a_replaced_source_is_removed_after_a_while() -> None:
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


def test_one_source_too_many_replaces_a_silent_one_but_never_the_active_one() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.now_ns += SILENT_NS
    for ssrc in range(1000, 1000 + MAX_ALTERNATIVES):
        harness.send(harness.packet(ssrc, DELTA), step_ns=NS_PER_MS)
    harness.send(harness.packet(2000, DELTA))
    assert harness.receiver.dropped_packets == 1, "only the active one is silent"
    harness.video(VIDEO, DELTA)
    harness.send(harness.packet(2000, DELTA))
    assert harness.receiver.dropped_packets == 2, "none is silent"
    harness.now_ns += SILENT_NS
    harness.video(VIDEO, DELTA)
    harness.send(harness.packet(2000, DELTA), harness.packet(1000, DELTA))
    assert harness.receiver.dropped_packets == 2, "2000 took the place of 1000, which took that of 1001"
    harness.video(VIDEO, DELTA)
    assert harness.summary == "Kddd"


# Layers that were not agreed

LOW, MIDDLE, HIGH = 0x400, 0x401, 0x402
SIZES = {LOW: (320, 180), MIDDLE: (640, 360), HIGH: (1280, 720)}


def requests(harness: ReceiverHarness) -> set[int]:
    """Return the sources of which key frames or packets were requested since the last call."""
    found = {message.media_ssrc for message in harness.rtcp if isinstance(message, KeyframeRequest | Nack)}
    harness.rtcp.clear()
    return found


def layers(harness: ReceiverHarness, *ssrcs: int, key: bool = False, count: int = 1, step_ns: int = FRAME) -> None:
    """Pass frames of several layers to the receiver, those of one moment together."""
    for _ in range(count):
        for ssrc in ssrcs:
            payload = keyframe(*SIZES[ssrc]) if key else DELTA
            harness.send(harness.packet(ssrc, payload), step_ns=step_ns // len(ssrcs))


def widths(harness: ReceiverHarness) -> list[int]:
    """Return the widths of the key frames that were passed on."""
    return [unit.width for _, _, unit in harness.received if isinstance(unit, AccessUnit) and unit.width]


@pytest.mark.parametrize("order", [(LOW, MIDDLE, HIGH), (HIGH, LOW, MIDDLE), (MIDDLE, HIGH, LOW)])
def test_of_layers_that_begin_together_the_largest_is_recorded_in_any_order(
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
    assert requests(harness) == {HIGH}, "nothing is requested of the others, although packets of them are lost"
    assert harness.summary == "d" * 100, "until the requested key frame"
    layers(harness, HIGH, key=True)
    assert harness.summary == "d" * 100 + "K"


def test_a_larger_layer_that_begins_later_replaces_the_active_one_once_it_is_steady() -> None:
    """Its first key frame arrived before it was steady, so another one is requested."""
    harness = ReceiverHarness()
    layers(harness, LOW, key=True)
    layers(harness, HIGH, LOW, count=40)
    assert harness.summary == "K" + "d" * 40, "its size is unknown"
    requests(harness)
    layers(harness, HIGH, LOW, key=True)
    assert widths(harness)[-1] == 1280, "it has kept coming for a second"
    assert requests(harness) == set()


def test_a_smaller_layer_does_not_replace_a_larger_one_that_is_steady() -> None:
    harness = ReceiverHarness()
    layers(harness, HIGH, key=True)
    layers(harness, HIGH, count=60)
    layers(harness, LOW, HIGH, key=True)
    layers(harness, LOW, HIGH, count=60)
    layers(harness, LOW, HIGH, key=True)
    assert set(widths(harness)) == {1280}
    assert LOW not in requests(harness)


def test_an_intermittent_layer_is_recorded_only_once_it_is_steady() -> None:
    harness = ReceiverHarness()
    layers(harness, LOW, HIGH, key=True)
    layers(harness, LOW, HIGH, count=60)
    for _ in range(3):
        layers(harness, LOW, count=10)
        assert requests(harness) == {LOW}, "a key frame is requested as soon as the larger one is silent"
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


def test_when_the_largest_layer_ends_the_next_one_replaces_it_and_it_alone_is_requested() -> None:
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


def test_a_source_that_sends_rarely_is_not_silent_between_its_pictures() -> None:
    """A screen at 2 pictures a second beside a small layer at 30."""
    harness = ReceiverHarness()
    layers(harness, HIGH, LOW, key=True)
    layers(harness, HIGH, LOW, count=30)
    before = len(harness.received)
    for _ in range(10):
        layers(harness, LOW, count=15)
        layers(harness, HIGH)
    requests(harness)
    for _ in range(10):
        layers(harness, LOW, key=True)
        layers(harness, LOW, count=14)
        layers(harness, HIGH)
    assert widths(harness)[-1] == 1280
    assert len(harness.received) > before
    assert requests(harness) == set()


def test_two_sources_of_one_size_do_not_alternate() -> None:
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


def test_a_key_frame_of_video_without_packets_is_requested_by_its_announced_ssrc() -> None:
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


def test_key_frame_requests_of_a_silent_source_become_rarer_until_it_sends_again() -> None:
    harness = ReceiverHarness()
    harness.video(VIDEO, KEYFRAME)
    harness.now_ns += 60 * NS_PER_S
    harness.receiver.request_keyframe(harness.now_ns)
    requested = 0
    for _ in range(3000):
        harness.rtcp.clear()
        harness.pass_time(20 * NS_PER_MS)
        requested += KeyframeRequest(VIDEO) in harness.rtcp
    assert requested == 12, "at once, and every 5 s of a minute"
    harness.rtcp.clear()
    harness.video(VIDEO, DELTA)
    assert KeyframeRequest(VIDEO) in harness.rtcp


def test_the_first_key_frame_of_announced_video_is_requested_after_a_delay() -> None:
    """An encoder that starts sends one by itself; one whose picture does not change needs a request."""
    harness = ReceiverHarness()
    harness.receiver.request_keyframe(harness.now_ns)
    harness.pass_time(FRAME)
    harness.pass_time(FIRST_REQUEST_NS - FRAME)
    assert KeyframeRequest(VIDEO) not in harness.rtcp
    harness.pass_time(FRAME)
    assert KeyframeRequest(VIDEO) in harness.rtcp
