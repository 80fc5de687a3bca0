"""What a track reports: loss, jitter, delay, counters, and whether it needs a tick."""

from dataclasses import replace

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, RtpPacket
from tests.packets import doubled, stream, without
from tests.recorder.call import FRAME_NS, TICK_NS, audio, frames, opus, played, video

# Reports


def test_sender_reports_are_placed_among_the_units() -> None:
    track = video()
    units = played(track, stream(frames(10), first_timestamp=0xFFFFFFFF - 3000))
    assert track.unwrap_timestamp(0xFFFFFFFF - 3000) == units[0].rtp_time
    assert track.unwrap_timestamp(0xFFFFFFFF) == units[1].rtp_time
    assert track.unwrap_timestamp(9 * 3000) > units[-1].rtp_time


def test_a_report_block_contains_the_loss_since_the_last_one() -> None:
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
    """Packets that alternate between 5 ms late and in time deviate by 450 units of 90 kHz each time."""
    track = video()
    packets = stream(frames(300, packets=1), interval_ns=FRAME_NS)
    for place, packet in enumerate(packets):
        packet.arrival_ns += place % 2 * 5 * NS_PER_MS
    played(track, packets, flush=False)
    assert abs(track.report_block(20 * NS_PER_S).jitter - 450) < 10
    even = video()
    played(even, stream(frames(300, packets=1), interval_ns=FRAME_NS), flush=False)
    assert even.report_block(20 * NS_PER_S).jitter <= 1


def test_a_wrap_of_the_rtp_timestamp_does_not_change_the_jitter() -> None:
    track = video()
    played(track, stream(frames(20, packets=1), first_timestamp=0xFFFFFFFF - 20_000), flush=False)
    assert track.report_block(20 * NS_PER_S).jitter <= 1


def test_packets_of_one_picture_that_are_paced_do_not_count_as_jitter() -> None:
    track = video()
    for number in range(60):
        picture = number // 3
        arrival_ns = picture * 3000 * NS_PER_S // 90_000 + number % 3 * 5 * NS_PER_MS
        track.receive(RtpPacket(96, number % 3 == 2, number, picture * 3000, 1, b"", arrival_ns))
    assert track.report_block(0).jitter <= 1


def test_a_track_is_idle_when_a_tick_has_nothing_to_do() -> None:
    track = video()
    packets = stream(frames(6))
    played(track, packets[:9], flush=False)
    found = [track.is_idle]
    for packet in (packets[10], packets[9]):
        track.receive(packet)
        found.append(track.is_idle)
    track.request_keyframe(packets[11].arrival_ns)
    assert [*found, track.is_idle] == [True, False, True, False]


def test_a_timestamp_that_wraps_does_not_count_as_jitter() -> None:
    track = video()
    for number in range(100):
        timestamp = 0xFFFFFFFF - 20_000 + number * 3000 & 0xFFFFFFFF
        track.receive(RtpPacket(96, True, number, timestamp, 1, b"", number * 3000 * NS_PER_S // 90_000))
    assert track.report_block(0).jitter <= 1


def test_a_report_contains_the_last_sender_report_and_its_age() -> None:
    track = video()
    track.record_sender_report(0x12345678, 2 * NS_PER_S)
    block = track.report_block(3 * NS_PER_S + NS_PER_S // 2)
    assert (block.last_sr, block.delay) == (0x12345678, 3 << 15)


def test_bytes_and_packets_are_counted() -> None:
    track = audio()
    played(track, stream([[opus(n)] for n in range(5)] + [[b""]], step=960, interval_ns=TICK_NS))
    stats = track.stats
    assert (stats.received_packets, stats.received_bytes, stats.padding_packets) == (6, 25, 1)
    assert (stats.units, stats.keyframes) == (5, 5)
