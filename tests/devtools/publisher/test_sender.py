"""The sender: each unit once, in order, at its time; and its responses to feedback."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.devtools.publisher.clip import Clip, ClipTrack, ClipUnit
from rokuga.devtools.publisher.sender import ClipSender, played
from rokuga.devtools.publisher.source import NTP_EPOCH_NS, OutgoingSource, SourceNumbers
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind, RtpPacket
from rokuga.recorder.rtp.packet import parse_rtp, unwrap_rtx
from rokuga.recorder.rtp.rtcp import build_nack, build_pli, parse_rtcp
from rokuga.recorder.rtp.sender_report import SenderReport

VIDEO, AUDIO, RTX = 1, 2, 3
PICTURES = 60
FRAME_NS = NS_PER_S // 30
CLIP_NS = PICTURES * FRAME_NS


def clip(keyframes: Iterable[int] = (0, 30)) -> Clip:
    """Return two seconds whose pictures contain their numbers; those of `keyframes` are key frames."""
    keys = set(keyframes)
    pictures = [ClipUnit(b"%d" % place, place * FRAME_NS, place in keys) for place in range(PICTURES)]
    sounds = [ClipUnit(b"\xf8%d" % place, place * 20 * NS_PER_MS, True) for place in range(100)]
    return Clip({"video": ClipTrack("VP8", pictures), "audio": ClipTrack("OPUS", sounds)}, CLIP_NS)


def sender(of: Clip | None = None, *, loop: bool = False) -> ClipSender:
    """Return a sender of both kinds; only video has RTX."""
    sources: dict[Kind, OutgoingSource] = {
        "video": OutgoingSource(SourceNumbers(VIDEO, RTX, 65_500, 0), 90_000, 96, 97),
        "audio": OutgoingSource(SourceNumbers(AUDIO, RTX + 1, 0, 0), 48_000, 111, None),
    }
    return ClipSender(of or clip(), sources, "cname", loop=loop)


def sent(ours: ClipSender, media_ns: int) -> list[RtpPacket]:
    return [parse_rtp(packet, 0) for packet in ours.packets(media_ns)]


def pictures(packets: Iterable[RtpPacket]) -> list[int]:
    """Return the numbers of the pictures in these packets."""
    return [int(packet.payload[4:]) for packet in packets if packet.ssrc == VIDEO]


def ask(ours: ClipSender, media_ns: int, ssrc: int = VIDEO) -> None:
    """Send a PLI."""
    assert not list(ours.feedback(build_pli(9, ssrc), media_ns))


@given(st.lists(st.integers(0, 2 * CLIP_NS), max_size=30))
def test_every_unit_is_sent_once_in_order_at_any_tick_times(moments: list[int]) -> None:
    """With irregular ticks the packets are the same, and none precedes its time."""
    ours = sender()
    packets: list[RtpPacket] = []
    for moment in [*sorted(moments), CLIP_NS]:
        fresh = sent(ours, moment)
        assert all(p.timestamp * NS_PER_S // 90_000 <= moment + 20_000 for p in fresh if p.ssrc == VIDEO)
        packets += fresh
    assert pictures(packets) == list(range(PICTURES))
    assert [p.payload for p in packets if p.ssrc == AUDIO] == [b"\xf8%d" % place for place in range(100)]
    assert ours.counts.units == {"video": PICTURES, "audio": 100}
    assert ours.counts.packets == PICTURES + 100
    assert ours.is_over(CLIP_NS)
    assert not ours.is_over(CLIP_NS - 1)


def test_a_looped_clip_continues_evenly() -> None:
    """RTP times and sequence numbers are continuous at the end of the clip."""
    ours = sender(loop=True)
    packets = [p for p in sent(ours, 5 * CLIP_NS - 1) if p.ssrc == VIDEO]
    assert pictures(packets) == [*range(PICTURES)] * 5
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(packets)} == {3000}
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in pairwise(packets)} == {1}
    assert not ours.is_over(1000 * CLIP_NS)


@pytest.mark.parametrize("after_ms", [0, 1, 250, 499])
def test_a_pli_shortly_after_a_key_frame_changes_nothing(after_ms: int) -> None:
    """A recorder sends one at its start, and still receives the whole clip."""
    ours = sender()
    packets = sent(ours, after_ms * NS_PER_MS)
    ask(ours, after_ms * NS_PER_MS)
    assert pictures(packets + sent(ours, CLIP_NS)) == list(range(PICTURES))
    assert (ours.counts.keyframe_requests, ours.counts.jumps) == (1, 0)


def test_a_pli_before_the_first_packet_changes_nothing() -> None:
    ours = sender()
    ask(ours, 0)
    assert pictures(sent(ours, CLIP_NS)) == list(range(PICTURES))


def test_after_a_pli_the_next_key_frame_follows_without_a_gap_in_time() -> None:
    """Like a live encoder: the next picture is a key frame, at the time of the picture that it replaces."""
    ours = sender()
    packets = sent(ours, 20 * FRAME_NS)
    ask(ours, 20 * FRAME_NS)
    packets += sent(ours, CLIP_NS)
    assert pictures(packets)[:25] == [*range(21), 30, 31, 32, 33]
    times = [packet.timestamp for packet in packets if packet.ssrc == VIDEO]
    assert {b - a for a, b in pairwise(times)} == {3000}
    assert ours.counts.jumps == 1


def test_without_a_later_key_frame_the_first_one_follows() -> None:
    ours = sender(loop=True)
    packets = sent(ours, 50 * FRAME_NS)
    ask(ours, 50 * FRAME_NS)
    packets += sent(ours, CLIP_NS + 50 * FRAME_NS)
    assert pictures(packets)[49:53] == [49, 50, 0, 1]
    times = [packet.timestamp for packet in packets if packet.ssrc == VIDEO]
    assert {b - a for a, b in pairwise(times)} == {3000}


def test_repeated_plis_are_one_jump() -> None:
    """Further ones before the key frame, and within 500 ms after it, change nothing."""
    ours = sender()
    packets = sent(ours, 20 * FRAME_NS)
    for _ in range(3):
        ask(ours, 20 * FRAME_NS)
    packets += sent(ours, 22 * FRAME_NS)
    ask(ours, 22 * FRAME_NS)
    packets += sent(ours, 25 * FRAME_NS)
    assert pictures(packets) == [*range(21), 30, 31, 32, 33, 34]
    assert ours.counts.jumps == 1


@pytest.mark.parametrize("ssrc", [AUDIO, 77])
def test_a_pli_for_audio_or_an_unknown_ssrc_changes_nothing(ssrc: int) -> None:
    ours = sender()
    packets = sent(ours, 20 * FRAME_NS)
    ask(ours, 20 * FRAME_NS, ssrc)
    assert pictures(packets + sent(ours, CLIP_NS)) == list(range(PICTURES))


def test_a_pli_after_the_end_changes_nothing() -> None:
    ours = sender()
    sent(ours, CLIP_NS)
    ask(ours, CLIP_NS)
    assert not sent(ours, CLIP_NS)


def test_nacked_packets_are_sent_again() -> None:
    """As RTX for video, which negotiated it; unchanged for audio."""
    ours = sender()
    sent(ours, CLIP_NS)
    (again,) = ours.feedback(build_nack(9, VIDEO, [65_501]), CLIP_NS)
    assert pictures([unwrap_rtx(parse_rtp(again, 0), 96, VIDEO)]) == [0]
    (again,) = ours.feedback(build_nack(9, AUDIO, [2]), CLIP_NS)
    assert parse_rtp(again, 0).payload == b"\xf81"
    assert not list(ours.feedback(build_nack(9, 77, [1]), CLIP_NS))
    assert ours.counts.retransmissions == 2


def test_runs_and_counts_describe_what_was_sent() -> None:
    """Each unit and its time, over repetitions and jumps, from any number on."""
    ours = sender(loop=True)
    packets = sent(ours, 20 * FRAME_NS)
    for moment in (20 * FRAME_NS, 50 * FRAME_NS, 2 * CLIP_NS):
        ask(ours, moment)
        packets += sent(ours, moment + 25 * FRAME_NS)
    track, runs = clip().tracks["video"], ours.runs["video"]
    sent_units = list(played(track, CLIP_NS, runs, 0, ours.counts.units["video"]))
    assert [place for place, _ in sent_units] == pictures(packets)
    assert [time_ns for _, time_ns in sent_units] == [number * FRAME_NS for number in range(len(sent_units))]
    assert len(runs) == 1 + ours.counts.jumps > 2
    for first in (0, 1, 21, 22, 60, len(sent_units)):
        assert list(played(track, CLIP_NS, runs, first, len(sent_units))) == sent_units[first:]


@given(st.binary(max_size=64))
def test_any_feedback_is_accepted_or_ignored(data: bytes) -> None:
    """No input raises."""
    ours = sender()
    sent(ours, NS_PER_S)
    list(ours.feedback(data, NS_PER_S))


def test_sender_reports_follow_each_second_and_match_the_media() -> None:
    """RTP times of both kinds map to the same wall clock."""
    ours = sender(loop=True)
    reports = []
    for tick in range(0, 4000, 5):
        sent(ours, tick * NS_PER_MS)
        for data in ours.reports(tick * NS_PER_MS, tick * NS_PER_MS):
            reports += [(tick, report) for report in parse_rtcp(data) if isinstance(report, SenderReport)]
    assert [tick for tick, _ in reports] == [500, 500, 1500, 1500, 2500, 2500, 3500, 3500]
    for tick, report in reports:
        rate = 90 if report.ssrc == VIDEO else 48
        assert report.rtp_time == tick * rate
        assert (report.ntp_ns - NTP_EPOCH_NS) // NS_PER_MS in {tick, tick - 1}


def test_the_ssrcs_are_available_for_an_rtcp_bye() -> None:
    assert set(sender().ssrcs) == {VIDEO, AUDIO}
