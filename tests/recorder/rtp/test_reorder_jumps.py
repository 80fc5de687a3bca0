"""Where a stream begins, jumps or starts anew, and how much is kept of it at the most."""

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.reorder import FIRST_HOLD_NS, MAX_HOLE, MAX_JUMP, MAX_SPAN, STANDSTILL_NS, ReorderBuffer
from tests.recorder.rtp.numbered import CYCLE, WINDOW_NS, described, packet, push, started

# The beginning


def test_the_first_packets_are_held_until_there_are_three() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    assert push(reorder, [100, 101]) == []
    assert push(reorder, [102]) == [100, 101, 102]


def test_a_first_packet_that_was_overtaken_is_still_the_first() -> None:
    assert push(ReorderBuffer(WINDOW_NS), [101, 102, 100, 103]) == [100, 101, 102, 103]


def test_the_beginning_waits_for_a_while_only() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    push(reorder, [100], at_ns=5)
    assert described(reorder.expire(4 + FIRST_HOLD_NS)) == []
    assert described(reorder.expire(5 + FIRST_HOLD_NS)) == [100]
    reorder = ReorderBuffer(WINDOW_NS)
    push(reorder, [100], at_ns=5)
    assert push(reorder, [101], at_ns=5 + FIRST_HOLD_NS) == [100, 101]


def test_a_stream_of_one_packet_is_returned_at_its_end() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    push(reorder, [100])
    assert described(reorder.flush()) == [100]


def test_a_hole_among_the_first_packets_is_waited_for() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    assert push(reorder, [100, 104, 102]) == [100]
    assert list(reorder.missing) == [CYCLE + 101, CYCLE + 103]
    assert push(reorder, [103, 101]) == [101, 102, 103, 104]


def test_a_double_first_packet_is_one() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    assert push(reorder, [100, 100, 101, 101, 102]) == [100, 101, 102]
    assert reorder.duplicates == 2


def test_a_stray_packet_among_the_first_is_left_out() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    assert push(reorder, [100, 31_000, 101, 102]) == [100, 101, 102]
    assert (reorder.late, reorder.restarts) == (1, 0)


def test_a_beginning_at_the_wrap_is_put_in_order() -> None:
    assert push(ReorderBuffer(WINDOW_NS), [65_536, 65_537, 65_535]) == [65_535, 65_536, 65_537]


# Jumps


def test_a_sender_that_restarted_is_followed_from_its_first_packet_on() -> None:
    reorder = started()
    out = push(reorder, [104, *range(40_000, 40_005)])
    assert out == ["lost 1", 104, "discontinuity", *range(40_000, 40_005)]
    assert (reorder.restarts, reorder.late) == (1, 0)
    assert not reorder.missing


def test_numbers_grow_over_a_restart_in_either_direction() -> None:
    reorder = started()
    last = 0
    for first in (40_000, 2, 60_000, 20_000, 12_000):
        for sequence in range(first, first + 5):
            for item in reorder.push(packet(sequence)):
                if isinstance(item, RtpPacket):
                    assert item.sequence > last
                    last = item.sequence
    assert reorder.restarts == 5


def test_a_restart_whose_first_packets_are_shuffled_and_duplicated_loses_none() -> None:
    reorder = started()
    assert push(reorder, [40_001, 40_001, 40_000, 40_002, 40_003]) == [
        "discontinuity",
        40_000,
        40_001,
        40_002,
        40_003,
    ]


def test_a_single_stray_packet_changes_nothing() -> None:
    reorder = started()
    assert push(reorder, [40_000, 103, 104]) == [103, 104]
    assert push(reorder, [40_001, 105]) == [105], "the stream went on between the two"
    assert (reorder.restarts, reorder.late) == (0, 2)


def test_strays_far_from_each_other_change_nothing() -> None:
    reorder = started()
    assert push(reorder, [40_000, 20_000, 50_000, 103]) == [103]
    assert reorder.late == 3


def test_retransmissions_never_tell_of_a_restart() -> None:
    reorder = started()
    for sequence in range(40_000, 40_010):
        assert reorder.push(packet(sequence), is_repair=True) == ()
    assert push(reorder, [103]) == [103]


def test_a_restart_a_little_behind_is_noticed_when_the_old_stream_stops() -> None:
    """Otherwise up to 3,000 packets, a minute of audio, would be taken for late ones."""
    reorder = started(*range(103, 600))
    assert push(reorder, [300, 301], at_ns=STANDSTILL_NS) == []
    assert push(reorder, [302, 303, 304], at_ns=STANDSTILL_NS + 1) == ["discontinuity", 302, 303, 304]


def test_old_packets_that_come_again_are_no_restart_while_the_stream_continues() -> None:
    reorder = started()
    for sequence in range(103, 200):
        push(reorder, [sequence], at_ns=sequence * 50 * NS_PER_MS)
    assert push(reorder, [150, 151, 152], at_ns=200 * 50 * NS_PER_MS) == []
    assert (reorder.restarts, reorder.duplicates) == (0, 3)


def test_a_large_hole_is_lost_at_once() -> None:
    reorder = started(104)
    ahead = 104 + MAX_HOLE + 2
    assert push(reorder, [ahead, ahead + 1]) == ["lost 1", 104, f"lost {MAX_HOLE + 1}", ahead, ahead + 1]
    assert not reorder.missing


def test_a_hole_of_the_largest_size_is_waited_for() -> None:
    reorder = started()
    assert push(reorder, [103 + MAX_HOLE]) == []
    assert len(reorder.missing) == MAX_HOLE
    assert len(push(reorder, range(103, 103 + MAX_HOLE))) == MAX_HOLE + 1


def test_the_steps_up_to_a_jump_are_losses() -> None:
    reorder = started()
    assert push(reorder, [102 + MAX_JUMP]) == [f"lost {MAX_JUMP - 1}", 102 + MAX_JUMP]
    assert push(reorder, [103 + 2 * MAX_JUMP]) == []
    assert reorder.late == 1


def test_a_complete_key_frame_of_thousands_of_packets_waits_for_its_first_one() -> None:
    reorder = started()
    assert push(reorder, range(104, 104 + 5000)) == []
    assert push(reorder, [103]) == list(range(103, 104 + 5000))


def test_memory_is_bounded_by_the_span() -> None:
    reorder = started()
    assert push(reorder, range(104, 103 + MAX_SPAN)) == []
    assert push(reorder, [103 + MAX_SPAN]) == ["lost 1", *range(104, 104 + MAX_SPAN)]
    assert push(reorder, [104 + MAX_SPAN]) == [104 + MAX_SPAN]


def test_memory_is_bounded_against_a_sender_of_holes() -> None:
    reorder = started()
    for step in range(1, 100):
        reorder.push(packet(102 + step * MAX_HOLE))
        assert len(reorder.missing) <= MAX_SPAN
    assert len(reorder.missing) > MAX_SPAN - 2 * MAX_HOLE
    reorder.flush()
    assert not reorder.missing


def test_memory_of_what_was_declared_lost_is_bounded() -> None:
    reorder = started()
    for place in range(1, 100):
        push(reorder, [102 + place * 500])
        reorder.flush()
    assert len(reorder._lost) < MAX_SPAN + MAX_JUMP
    assert push(reorder, [102 + 99 * 500 - 1]) == []
    assert reorder.late == 1, "what is near is still known"


def test_hours_of_silence_with_contiguous_numbers_are_no_loss() -> None:
    reorder = started()
    hour_ns = 3_600_000 * NS_PER_MS
    assert push(reorder, [103], at_ns=hour_ns) == [103]
    assert described(reorder.expire(2 * hour_ns)) == []
    assert push(reorder, [104], at_ns=3 * hour_ns) == [104]


def test_sequence_numbers_that_a_restart_skips_do_not_count_as_lost() -> None:
    reorder = started()
    push(reorder, range(40_000, 40_005))
    assert reorder.expected == 3 + 5
