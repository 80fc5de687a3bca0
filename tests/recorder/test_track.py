"""Packets of one source to access units: order, repair, and the end of the stream."""

from dataclasses import asdict, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, RtpPacket
from rokuga.recorder.track import WINDOW_NS, Track
from tests.packets import delayed, doubled, shuffled, stream, without
from tests.recorder.call import FRAME_NS, audio, data_of, frames, joined, opus, played, video
from tests.recorder.codecs import clips, packetize

START_NS = NS_PER_S


def test_packets_become_units_with_their_time_unwrapped() -> None:
    units = played(video(), stream(frames(3), first_timestamp=0xFFFFFFFF - 2999))
    assert [unit.data for unit in units] == joined(frames(3))
    assert [unit.rtp_time for unit in units] == [(1 << 33) - 3000, 1 << 33, (1 << 33) + 3000]
    assert [unit.is_keyframe for unit in units] == [True, False, False]
    assert [unit.arrival_ns - START_NS for unit in units] == [0, FRAME_NS, 2 * FRAME_NS]


def test_a_unit_is_returned_with_the_first_packet_of_the_next_one() -> None:
    track = video()
    played(track, stream(frames(2)), flush=False)
    first, *rest = stream(frames(1, keyframes=()), first_sequence=1006, first_timestamp=96_000)
    assert [unit.rtp_time for unit in track.receive(first)] == [(1 << 32) + 93_000]
    for packet in rest:
        assert track.receive(packet) == ()


def test_a_unit_that_ended_by_its_marker_is_returned_a_moment_later_if_nothing_follows() -> None:
    track = video()
    played(track, stream(frames(2)), flush=False)
    ticks_ns = [2 * NS_PER_S + ms * NS_PER_MS for ms in (0, 20, 40, 60, 80)]
    assert [len(track.tick(now_ns)) for now_ns in ticks_ns] == [0, 0, 0, 1, 0]
    assert not track.has_open_unit


def test_a_unit_whose_end_is_missing_is_not_returned_by_waiting_and_is_not_waited_for() -> None:
    track = video()
    played(track, stream(frames(2)), flush=False)
    first, second, last = stream(frames(1, keyframes=()), first_sequence=1006, first_timestamp=96_000)
    track.receive(first)
    track.receive(second)
    is_open = [track.has_open_unit]
    for ms in range(0, 5000, 20):
        assert track.tick(2 * NS_PER_S + ms * NS_PER_MS) == []
    is_open.append(track.has_open_unit)
    assert is_open == [True, False]
    assert track.receive(last) == ()
    assert [len(unit.data) for unit in track.flush(9 * NS_PER_S)] == [60]
    assert track.stats.dropped_units == 0


def test_what_a_unit_lacked_when_the_stream_was_ended_is_refused_and_a_key_frame_asked_for() -> None:
    """The sender sets a marker bit in every packet, so that the length of a unit is unknown."""
    track = video()
    packets = stream(frames(3))
    for packet in packets:
        packet.marker = True
    played(track, packets[:-1], flush=False)
    assert len(track.flush(2 * NS_PER_S)) == 1
    assert track.receive(packets[-1]) == ()
    assert (track.stats.malformed_payloads, track.stats.dropped_units) == (1, 1)
    assert track.is_pli_due(3 * NS_PER_S)


# Loss, order, repair


def test_a_repaired_packet_is_not_lost() -> None:
    units = frames(30)
    track = video()
    packets = delayed(stream(units), 40, 500 * NS_PER_MS)
    assert data_of(track, packets) == joined(units)
    stats = track.stats
    assert (stats.lost_packets, stats.repaired_packets, stats.plis, stats.dropped_units) == (0, 1, 0, 0)
    assert stats.nacks > 1, "asked for again and again"


def test_retransmissions_are_requested_by_the_sequence_numbers_on_the_wire() -> None:
    track = video()
    played(track, stream(frames(2), first_sequence=65_528), flush=False)
    for packet in stream(frames(1), first_sequence=65_538, start_ns=2 * NS_PER_S):
        track.receive(packet)
    assert track.due_nacks(2 * NS_PER_S) == [], "it may only have been overtaken"
    assert track.due_nacks(2 * NS_PER_S + 10 * NS_PER_MS) == [65_534, 65_535, 0, 1]


def test_a_track_reports_that_it_holds_packets_back() -> None:
    track = video()
    played(track, stream(frames(2)), flush=False)
    assert not track.waiting_since_ns
    for packet in stream(frames(1), first_sequence=1007, start_ns=2 * NS_PER_S):
        track.receive(packet)
    waiting_since_ns = track.waiting_since_ns
    assert waiting_since_ns == 2 * NS_PER_S
    track.tick(2 * NS_PER_S + WINDOW_NS["video"])
    assert not track.waiting_since_ns


def test_late_and_duplicate_packets_are_counted() -> None:
    packets = delayed(stream(frames(60)), 40, 1200 * NS_PER_MS)
    track = video()
    played(track, doubled(packets))
    stats = track.stats
    assert (stats.late_packets, stats.duplicate_packets) == (1, 180)
    assert (stats.received_packets, stats.lost_packets) == (360, 1)


@pytest.mark.parametrize("name", ["VP8", "VP9", "AV1", "H264"])
def test_real_video_shuffled_duplicated_and_wrapping_is_returned_as_it_was_sent(name: str) -> None:
    encoded = list(clips.encoded(name))
    payloads = [_payloads(name, number, frame) for number, frame in enumerate(encoded)]
    track = Track("video", CODECS[name], 1)
    sent = stream(payloads, first_sequence=65_500, first_timestamp=0xFFFFFFFF - 20_000)
    first = sent[:3]
    rest = doubled(shuffled(sent[3:], Random(7), 400 * NS_PER_MS), 30 * NS_PER_MS)
    units = played(track, [*first, *rest])
    straight = played(Track("video", CODECS[name], 1), stream(payloads))
    assert [unit.data for unit in units] == [unit.data for unit in straight]
    assert len(units) == len(encoded)
    assert track.stats.lost_packets == track.stats.plis == 0


def _payloads(name: str, number: int, frame: bytes) -> list[bytes]:
    if name == "VP9":
        return packetize.vp9(frame, picture_id=number)
    if name == "H264":
        return packetize.h264(packetize.nal_units(frame))
    return packetize.av1(frame) if name == "AV1" else packetize.vp8(frame)


@settings(max_examples=30)
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.randoms(use_true_random=False), st.booleans())
def test_shuffled_within_the_window_and_duplicated_gives_the_same_units(
    first_sequence: int, first_timestamp: int, random: Random, is_doubled: bool
) -> None:
    units = frames(40, keyframes=(0, 25))
    sent = stream(units, first_sequence=first_sequence, first_timestamp=first_timestamp)
    reach_ns = WINDOW_NS["video"] - 100 * NS_PER_MS
    rest = shuffled(sent[3:], random, reach_ns)
    packets = random.sample(sent[:3], 3) + (doubled(rest, random.randrange(NS_PER_S)) if is_doubled else rest)
    packets.sort(key=lambda packet: packet.arrival_ns)
    track = video()
    times = [unit.rtp_time & 0xFFFFFFFF for unit in played(track, packets)]
    assert times == [first_timestamp + number * 3000 & 0xFFFFFFFF for number in range(40)]
    assert track.stats.lost_packets == 0


@settings(max_examples=40)
@given(st.integers(0, 119), st.booleans())
def test_one_packet_taken_away_takes_exactly_the_units_that_need_it(gone: int, write_damaged: bool) -> None:
    units = frames(40, keyframes=(0, 13, 30))
    track = video(write_damaged=write_damaged)
    touched = gone // 3
    if gone == 0:
        until = 13  # nobody can tell that there was a packet before
    elif write_damaged and touched:
        until = touched + 1
    else:
        until = next((key for key in (0, 13, 30) if key > touched), 40)
    assert data_of(track, without(stream(units), {gone})) == joined(units[:touched] + units[until:])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF) | st.integers(0, 20),
            st.integers(0, 0xFFFFFFFF),
            st.binary(max_size=20),
            st.booleans(),
            st.integers(0, 300 * NS_PER_MS),
        )
    ),
    st.sampled_from(sorted(CODECS)),
)
def test_any_packets_give_units_or_are_counted(arrivals: list[tuple[int, int, bytes, bool, int]], name: str) -> None:
    codec = CODECS[name]
    track = Track(codec.kind, codec, 1)
    now_ns = NS_PER_S
    for sequence, timestamp, payload, marker, pause_ns in arrivals:
        now_ns += pause_ns
        track.receive(RtpPacket(96, marker, sequence, timestamp, 1, payload, now_ns), repaired=marker)
        track.tick(now_ns)
        track.due_nacks(now_ns)
        track.is_pli_due(now_ns)
        track.report_block(now_ns)
    track.flush(now_ns)
    assert all(value >= 0 for value in asdict(track.stats).values())


# The end


def test_the_end_gives_the_last_unit_of_a_sender_without_markers() -> None:
    packets = [replace(packet, marker=False) for packet in stream(frames(5))]
    assert data_of(video(), packets) == joined(frames(5))


def test_the_end_gives_what_is_complete_behind_a_missing_packet() -> None:
    packets = without(stream([[opus(n)] for n in range(10)], step=960, interval_ns=20 * NS_PER_MS), {8})
    assert data_of(audio(), packets)[-1] == opus(9)


def test_a_track_whose_end_was_within_a_frame_may_continue_with_a_key_frame() -> None:
    units = frames(20, keyframes=(0, 12))
    packets = stream(units)
    track = video()
    assert len(played(track, packets[:16])) == 5
    assert [unit.data for unit in played(track, packets[16:])] == joined(units[12:])
    assert track.stats.malformed_payloads == 0


def test_what_needs_a_frame_that_the_end_cut_off_is_not_returned_even_if_its_rest_never_was() -> None:
    track = video()
    packets = stream(frames(5))
    assert len(played(track, packets[:14])) == 4
    later = stream(frames(20, keyframes=(12,)), first_sequence=1014, start_ns=2 * NS_PER_S, first_timestamp=200_000)
    assert [unit.data for unit in played(track, later)] == joined(frames(20, keyframes=(12,))[12:])


def test_a_track_that_ended_between_frames_continues() -> None:
    packets = stream(frames(20))
    track = video()
    assert len(played(track, packets[:15])) == 5
    assert [unit.data for unit in played(track, packets[15:])] == joined(frames(20)[5:])


def test_a_sender_that_restarts_continues_with_its_key_frame() -> None:
    track = video()
    played(track, stream(frames(10)), flush=False)
    anew = frames(10)
    units = played(track, stream(anew, first_sequence=40_000, first_timestamp=5, start_ns=3 * NS_PER_S))
    assert [unit.data for unit in units] == joined(frames(10)[9:] + anew), "the last one of before comes first"
    assert track.stats.lost_packets == 0
    assert track.report_block(4 * NS_PER_S).cumulative_lost == 0
