"""One source's way from packets off the wire to access units."""

from dataclasses import asdict, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, RtpPacket
from rokuga.recorder.rtp.feedback import KEYFRAME_RETRY_NS
from rokuga.recorder.track import DOUBT_NS, WINDOW_NS, Track
from tests.packets import delayed, doubled, shuffled, stream, without
from tests.recorder.call import TICK_NS, audio, opus, played, video, vp8
from tests.recorder.codecs import clips, packetize

FRAME_NS = NS_PER_S // 30
START_NS = NS_PER_S


def frames(count: int, *, keyframes: tuple[int, ...] = (0,), packets: int = 3) -> list[list[bytes]]:
    return [vp8(number, is_keyframe=number in keyframes, packets=packets) for number in range(count)]


def joined(units: list[list[bytes]]) -> list[bytes]:
    """The frames of VP8 payloads."""
    return [b"".join(payload[1:] for payload in unit) for unit in units]


def data_of(track: Track, packets: list[RtpPacket]) -> list[bytes]:
    return [unit.data for unit in played(track, packets)]


def test_packets_become_units_with_their_time_unwrapped() -> None:
    units = played(video(), stream(frames(3), first_timestamp=0xFFFFFFFF - 2999))
    assert [unit.data for unit in units] == joined(frames(3))
    assert [unit.rtp_time for unit in units] == [(1 << 33) - 3000, 1 << 33, (1 << 33) + 3000]
    assert [unit.is_keyframe for unit in units] == [True, False, False]
    assert [unit.arrival_ns - START_NS for unit in units] == [0, FRAME_NS, 2 * FRAME_NS]


def test_units_come_out_with_their_last_packet() -> None:
    """But for the first packets, which are held for a moment."""
    track = video()
    played(track, stream(frames(2)), flush=False)
    *rest, last = stream(frames(1, keyframes=()), first_sequence=1006)
    for packet in rest:
        assert track.receive(packet) == ()
    assert len(track.receive(last)) == 1


# The gate


def test_video_begins_with_a_key_frame_which_is_asked_for() -> None:
    units = frames(10, keyframes=(4,))
    track = video()
    assert data_of(track, stream(units)) == joined(units)[4:]
    assert track.stats.undecodable_units == 4
    assert track.stats.plis == 1


def test_after_a_loss_nothing_comes_until_the_next_key_frame() -> None:
    units = frames(60, keyframes=(0, 40))
    track = video()
    assert data_of(track, without(stream(units), {31})) == joined(units[:10] + units[40:])
    assert (track.stats.lost_packets, track.stats.dropped_units, track.stats.undecodable_units) == (1, 1, 29)


def test_damaged_video_may_be_written_but_never_a_part_of_a_frame() -> None:
    units = frames(60, keyframes=(0, 40))
    track = video(write_damaged=True)
    assert data_of(track, without(stream(units), {31})) == joined(units[:10] + units[11:])
    assert track.stats.undecodable_units == 0
    assert track.stats.plis >= 1, "a key frame is asked for all the same"


def test_damaged_video_begins_with_a_key_frame_all_the_same() -> None:
    units = frames(10, keyframes=(4,))
    assert data_of(video(write_damaged=True), stream(units)) == joined(units)[4:]


def test_a_malformed_payload_closes_the_gate() -> None:
    units = frames(20, keyframes=(0, 12))
    packets = stream(units)
    packets[15] = replace(packets[15], payload=b"\x90\x80")
    track = video()
    assert data_of(track, packets) == joined(units[:5] + units[12:])
    assert track.stats.malformed_payloads == 1
    assert track.stats.dropped_units == 1


class Silent:
    """A depacketizer that drops a unit without a word together with the unit before it, which comes out whole."""

    def __init__(self) -> None:
        self.dropped_units = 0

    def push(self, packet: RtpPacket) -> AccessUnit | None:
        """Drop one unit more if the payload says so."""
        self.dropped_units += packet.payload == b"key, then a drop"
        return AccessUnit(packet.timestamp, packet.payload, packet.payload.startswith(b"key"), packet.arrival_ns)

    def lost(self, count: int) -> None:
        """Nothing is under way."""

    def flush(self) -> AccessUnit | None:
        """Nothing is under way."""
        return None


def test_a_unit_that_is_dropped_without_an_error_closes_the_gate_behind_what_comes_with_it() -> None:
    codec = replace(CODECS["VP8"], depacketizer=lambda *_: Silent())
    payloads = [b"key", b"1", b"key, then a drop", b"2", b"3", b"key 4", b"5"]
    track = Track("video", codec, 1)
    assert data_of(track, stream([[payload] for payload in payloads])) == [*payloads[:3], *payloads[5:]]
    assert track.stats.dropped_units == 1


def test_audio_has_no_gate() -> None:
    packets = stream([[opus(n)] for n in range(50)], step=960, interval_ns=20 * NS_PER_MS)
    track = audio()
    assert data_of(track, without(packets, {7, 8})) == [opus(n) for n in range(50) if n not in {7, 8}]
    assert track.stats.plis == 0
    assert track.stats.lost_packets == track.stats.dropped_units == 2


# Key frame requests


def test_a_key_frame_is_asked_for_again_until_it_comes() -> None:
    units = frames(90, keyframes=(80,))
    track = video()
    played(track, stream(units))
    assert track.stats.plis == 6, "from 0 s to 2.67 s, one each 0.5 s"


def test_a_file_that_begins_asks_with_the_source_s_own_delay() -> None:
    track = video(spread_ns=70 * NS_PER_MS)
    played(track, stream(frames(10)), flush=False)
    track.request_keyframe(5 * NS_PER_S)
    asked = [ms for ms in range(0, 1000, 10) if track.wants_keyframe(5 * NS_PER_S + ms * NS_PER_MS)]
    assert asked == [70, 70 + KEYFRAME_RETRY_NS // NS_PER_MS]


def test_nobody_asks_audio_for_a_key_frame() -> None:
    track = audio()
    track.request_keyframe(5)
    assert not track.wants_keyframe(5)


def test_a_key_frame_is_asked_for_while_the_missing_packet_is_still_waited_for() -> None:
    track = video()
    played(track, stream(frames(10)), flush=False)
    (packet,) = stream([vp8(10, is_keyframe=False)[:1]], first_sequence=1031, start_ns=2 * NS_PER_S)
    track.receive(packet)
    track.tick(2 * NS_PER_S + DOUBT_NS - 1)
    assert not track.wants_keyframe(2 * NS_PER_S + DOUBT_NS - 1)
    track.tick(2 * NS_PER_S + DOUBT_NS)
    assert track.wants_keyframe(2 * NS_PER_S + DOUBT_NS)


# Loss, order, repair


def test_a_repaired_packet_is_no_loss() -> None:
    units = frames(30)
    track = video()
    packets = delayed(stream(units), 40, 500 * NS_PER_MS)
    assert data_of(track, packets) == joined(units)
    stats = track.stats
    assert (stats.lost_packets, stats.repaired_packets, stats.plis, stats.dropped_units) == (0, 1, 0, 0)
    assert stats.nacks > 1, "asked for again and again"


def test_wire_numbers_are_asked_for() -> None:
    track = video()
    played(track, stream(frames(2), first_sequence=65_528), flush=False)
    for packet in stream(frames(1), first_sequence=65_538, start_ns=2 * NS_PER_S):
        track.receive(packet)
    assert track.nacks(2 * NS_PER_S) == [], "it may only have been overtaken"
    assert track.nacks(2 * NS_PER_S + 10 * NS_PER_MS) == [65_534, 65_535, 0, 1]


def test_packets_that_are_held_back_are_told() -> None:
    track = video()
    played(track, stream(frames(2)), flush=False)
    assert not track.waiting_since_ns
    for packet in stream(frames(1), first_sequence=1007, start_ns=2 * NS_PER_S):
        track.receive(packet)
    waiting_since_ns = track.waiting_since_ns
    assert waiting_since_ns == 2 * NS_PER_S
    track.tick(2 * NS_PER_S + WINDOW_NS["video"])
    assert not track.waiting_since_ns


def test_late_and_double_packets_are_counted() -> None:
    packets = delayed(stream(frames(60)), 40, 1200 * NS_PER_MS)
    track = video()
    played(track, doubled(packets))
    stats = track.stats
    assert (stats.late_packets, stats.duplicate_packets) == (1, 180)
    assert (stats.received_packets, stats.lost_packets) == (360, 1)


@pytest.mark.parametrize("name", ["VP8", "VP9", "AV1", "H264"])
def test_real_video_shuffled_doubled_and_wrapping_comes_out_as_it_was_sent(name: str) -> None:
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
def test_shuffled_within_the_window_and_doubled_gives_the_same_units(
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
        track.nacks(now_ns)
        track.wants_keyframe(now_ns)
        track.report_block(now_ns)
    track.flush(now_ns)
    assert all(value >= 0 for value in asdict(track.stats).values())


# The end


def test_the_end_gives_the_last_unit_of_a_sender_without_markers() -> None:
    packets = [replace(packet, marker=False) for packet in stream(frames(5))]
    assert data_of(video(), packets) == joined(frames(5))


def test_the_end_gives_what_is_whole_behind_a_missing_packet() -> None:
    packets = without(stream([[opus(n)] for n in range(10)], step=960, interval_ns=20 * NS_PER_MS), {8})
    assert data_of(audio(), packets)[-1] == opus(9)


def test_a_track_whose_end_was_within_a_frame_may_go_on_with_a_key_frame() -> None:
    units = frames(20, keyframes=(0, 12))
    packets = stream(units)
    track = video()
    assert len(played(track, packets[:16])) == 5
    assert [unit.data for unit in played(track, packets[16:])] == joined(units[12:])
    assert track.stats.malformed_payloads == 0


def test_what_needs_a_frame_that_the_end_cut_off_is_not_given_out_even_if_its_rest_never_was() -> None:
    track = video()
    packets = stream(frames(5))
    assert len(played(track, packets[:14])) == 4
    later = stream(frames(20, keyframes=(12,)), first_sequence=1014, start_ns=2 * NS_PER_S, first_timestamp=200_000)
    assert [unit.data for unit in played(track, later)] == joined(frames(20, keyframes=(12,))[12:])


def test_a_track_that_ended_between_frames_goes_on() -> None:
    packets = stream(frames(20))
    track = video()
    assert len(played(track, packets[:15])) == 5
    assert [unit.data for unit in played(track, packets[15:])] == joined(frames(20)[5:])


def test_a_sender_that_starts_anew_goes_on_with_its_key_frame() -> None:
    track = video()
    played(track, stream(frames(10)), flush=False)
    anew = frames(10)
    units = played(track, stream(anew, first_sequence=40_000, first_timestamp=5, start_ns=3 * NS_PER_S))
    assert [unit.data for unit in units] == joined(anew)
    assert track.stats.lost_packets == 0
    assert track.report_block(4 * NS_PER_S).cumulative_lost == 0


# Reports


def test_sender_reports_are_placed_among_the_units() -> None:
    track = video()
    units = played(track, stream(frames(10), first_timestamp=0xFFFFFFFF - 3000))
    assert track.unwrap_timestamp(0xFFFFFFFF - 3000) == units[0].rtp_time
    assert track.unwrap_timestamp(0xFFFFFFFF) == units[1].rtp_time
    assert track.unwrap_timestamp(9 * 3000) > units[-1].rtp_time


def test_the_report_block_tells_of_loss_since_the_last_one() -> None:
    track = video()
    packets = stream(frames(40), first_sequence=65_500)
    played(track, without(packets[:60], {10, 20, 30, 40, 50, 55}), flush=False)
    block = track.report_block(2 * NS_PER_S)
    assert (block.ssrc, block.cumulative_lost, block.fraction_lost) == (1, 6, (6 << 8) // 60)
    assert block.highest_sequence == 65_559
    played(track, packets[60:], flush=False)
    block = track.report_block(3 * NS_PER_S)
    assert (block.cumulative_lost, block.fraction_lost, block.highest_sequence) == (6, 0, 65_500 + 119)


def test_what_came_by_rtx_was_lost_to_the_report_and_to_the_jitter() -> None:
    packets = stream(frames(10))
    track = video()
    for packet in without(packets, {15}):
        track.receive(packet)
    jitter = track.report_block(NS_PER_S).jitter
    repair = replace(packets[15], arrival_ns=packets[-1].arrival_ns + NS_PER_S)
    assert len(track.receive(repair, repaired=True)) == 5
    block = track.report_block(2 * NS_PER_S)
    assert (block.cumulative_lost, block.jitter) == (1, jitter)
    assert track.stats.repaired_packets == 1


def test_before_the_first_packet_nothing_is_reported() -> None:
    block = video().report_block(5)
    assert block.highest_sequence == block.cumulative_lost == block.fraction_lost == block.last_sr == 0


def test_duplicates_never_make_a_negative_fraction() -> None:
    track = video()
    played(track, doubled(stream(frames(10))), flush=False)
    block = track.report_block(2 * NS_PER_S)
    assert (block.fraction_lost, block.cumulative_lost) == (0, -30)


def test_jitter_is_the_mean_deviation_of_transit_times() -> None:
    """Packets that come 5 ms too late and in time by turns deviate by 450 units of 90 kHz each time."""
    track = video()
    packets = stream(frames(300, packets=1), interval_ns=FRAME_NS)
    for place, packet in enumerate(packets):
        packet.arrival_ns += place % 2 * 5 * NS_PER_MS
    played(track, packets, flush=False)
    assert abs(track.report_block(20 * NS_PER_S).jitter - 450) < 10
    even = video()
    played(even, stream(frames(300, packets=1), interval_ns=FRAME_NS), flush=False)
    assert even.report_block(20 * NS_PER_S).jitter <= 1


def test_jitter_passes_over_the_wrap_of_the_timestamp() -> None:
    track = video()
    played(track, stream(frames(20, packets=1), first_timestamp=0xFFFFFFFF - 20_000), flush=False)
    assert track.report_block(20 * NS_PER_S).jitter <= 1


def test_packets_of_one_picture_that_are_paced_are_no_jitter() -> None:
    track = video()
    for number in range(60):
        picture = number // 3
        arrival_ns = picture * 3000 * NS_PER_S // 90_000 + number % 3 * 5 * NS_PER_MS
        track.receive(RtpPacket(96, number % 3 == 2, number, picture * 3000, 1, b"", arrival_ns))
    assert track.report_block(0).jitter <= 1


def test_a_track_is_at_ease_when_a_tick_has_nothing_to_do() -> None:
    track = video()
    packets = stream(frames(6))
    played(track, packets[:9], flush=False)
    found = [track.is_at_ease]
    for packet in (packets[10], packets[9]):
        track.receive(packet)
        found.append(track.is_at_ease)
    track.request_keyframe(packets[11].arrival_ns)
    assert [*found, track.is_at_ease] == [True, False, True, False]


def test_a_timestamp_that_wraps_is_no_jitter() -> None:
    track = video()
    for number in range(100):
        timestamp = 0xFFFFFFFF - 20_000 + number * 3000 & 0xFFFFFFFF
        track.receive(RtpPacket(96, True, number, timestamp, 1, b"", number * 3000 * NS_PER_S // 90_000))
    assert track.report_block(0).jitter <= 1


def test_the_last_sender_report_and_its_age_are_told() -> None:
    track = video()
    track.sender_reported(0x12345678, 2 * NS_PER_S)
    block = track.report_block(3 * NS_PER_S + NS_PER_S // 2)
    assert (block.last_sr, block.delay) == (0x12345678, 3 << 15)


def test_bytes_and_packets_are_counted() -> None:
    track = audio()
    played(track, stream([[opus(n)] for n in range(5)] + [[b""]], step=960, interval_ns=TICK_NS))
    stats = track.stats
    assert (stats.received_packets, stats.received_bytes, stats.padding_packets) == (6, 25, 1)
    assert (stats.units, stats.keyframes) == (5, 5)
