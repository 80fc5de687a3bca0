"""Packets back in order, or said to be lost."""

from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.reorder import (
    FIRST_HOLD_NS,
    MAX_HOLE,
    MAX_JUMP,
    MAX_SPAN,
    REORDER_TOLERANCE_NS,
    STANDSTILL_NS,
    InOrder,
    Lost,
    Reorder,
)

WINDOW_NS = 1000 * NS_PER_MS
CYCLE = 1 << 16


def packet(sequence: int, at_ns: int = 0) -> RtpPacket:
    """A packet whose payload tells its number."""
    return RtpPacket(96, False, sequence & 0xFFFF, 0, 1, str(sequence).encode(), at_ns)


def told(in_order: InOrder) -> list[int | str]:
    """Numbers of packets; how many are lost, as text."""
    return [f"lost {item.count}" if isinstance(item, Lost) else int(item.payload) for item in in_order]


def push(reorder: Reorder, sequences: Iterable[int], at_ns: int = 0) -> list[int | str]:
    out: list[int | str] = []
    for sequence in sequences:
        out += told(reorder.push(packet(sequence, at_ns)))
    return out


def begun(*sequences: int) -> Reorder:
    """A reorder buffer that is past its beginning, with packets 100 to 102 and these."""
    reorder = Reorder(WINDOW_NS)
    assert push(reorder, [100, 101, 102, *sequences])
    return reorder


def test_packets_in_order_come_out_at_once() -> None:
    reorder = begun()
    assert [push(reorder, [sequence]) for sequence in (103, 104, 105)] == [[103], [104], [105]]
    assert reorder.waiting_since_ns is None
    assert not reorder.missing


def test_what_was_overtaken_is_waited_for() -> None:
    reorder = begun()
    assert push(reorder, [104, 105], at_ns=7) == []
    assert reorder.waiting_since_ns == 7
    assert list(reorder.missing) == [CYCLE + 103]
    assert reorder.missing[CYCLE + 103].due_ns == 7 + REORDER_TOLERANCE_NS
    assert push(reorder, [103]) == [103, 104, 105]
    assert not reorder.missing
    assert reorder.repaired == 0, "nobody had asked for it"


def test_numbers_that_come_out_are_unwrapped() -> None:
    reorder = Reorder(WINDOW_NS)
    out = [item for sequence in range(65_534, 65_539) for item in reorder.push(packet(sequence))]
    assert [item.sequence for item in out if isinstance(item, RtpPacket)] == [
        CYCLE + n for n in range(65_534, 65_539)
    ]


def test_what_does_not_come_within_the_window_is_lost() -> None:
    reorder = begun(103, 106)
    assert told(reorder.expire(WINDOW_NS - 1)) == []
    assert told(reorder.expire(WINDOW_NS)) == ["lost 2", 106]
    assert push(reorder, [107]) == [107]


def test_each_hole_has_its_own_window() -> None:
    reorder = begun()
    push(reorder, [104], at_ns=0)
    push(reorder, [106], at_ns=10)
    assert told(reorder.expire(WINDOW_NS)) == ["lost 1", 104]
    assert reorder.waiting_since_ns == 10
    assert told(reorder.expire(WINDOW_NS + 10)) == ["lost 1", 106]


def test_holes_of_different_ages_are_given_up_together_if_both_are_old() -> None:
    reorder = begun(104, 106)
    assert told(reorder.expire(WINDOW_NS)) == ["lost 1", 104, "lost 1", 106]


def test_late_packets_and_duplicates_are_counted_apart() -> None:
    reorder = begun(104, 105)
    assert push(reorder, [105]) == [], "is held"
    assert push(reorder, [101]) == [], "is out"
    assert (reorder.duplicates, reorder.late) == (2, 0)
    reorder.expire(WINDOW_NS)
    assert push(reorder, [103]) == []
    assert (reorder.duplicates, reorder.late) == (2, 1)
    assert push(reorder, [103]) == []
    assert (reorder.duplicates, reorder.late) == (3, 1)


def test_a_packet_that_was_asked_for_or_came_by_rtx_is_repaired() -> None:
    reorder = begun(106)
    reorder.missing[CYCLE + 103].tries = 1
    push(reorder, [103, 104])
    assert reorder.repaired == 1
    assert told(reorder.push(packet(105), is_repair=True)) == [105, 106]
    assert reorder.repaired == 2


def test_the_end_gives_all_that_came() -> None:
    reorder = begun(104, 106, 107)
    assert told(reorder.flush()) == ["lost 1", 104, "lost 1", 106, 107]
    assert reorder.flush() == ()
    assert push(reorder, [108]) == [108], "the stream may go on"


# The beginning


def test_the_first_packets_are_held_until_there_are_three() -> None:
    reorder = Reorder(WINDOW_NS)
    assert push(reorder, [100, 101]) == []
    assert push(reorder, [102]) == [100, 101, 102]


def test_a_first_packet_that_was_overtaken_is_still_the_first() -> None:
    assert push(Reorder(WINDOW_NS), [101, 102, 100, 103]) == [100, 101, 102, 103]


def test_the_beginning_waits_for_a_while_only() -> None:
    reorder = Reorder(WINDOW_NS)
    push(reorder, [100], at_ns=5)
    assert told(reorder.expire(4 + FIRST_HOLD_NS)) == []
    assert told(reorder.expire(5 + FIRST_HOLD_NS)) == [100]
    reorder = Reorder(WINDOW_NS)
    push(reorder, [100], at_ns=5)
    assert push(reorder, [101], at_ns=5 + FIRST_HOLD_NS) == [100, 101]


def test_a_stream_of_one_packet_comes_out_at_its_end() -> None:
    reorder = Reorder(WINDOW_NS)
    push(reorder, [100])
    assert told(reorder.flush()) == [100]


def test_a_hole_among_the_first_packets_is_waited_for() -> None:
    reorder = Reorder(WINDOW_NS)
    assert push(reorder, [100, 104, 102]) == [100]
    assert list(reorder.missing) == [CYCLE + 101, CYCLE + 103]
    assert push(reorder, [103, 101]) == [101, 102, 103, 104]


def test_a_double_first_packet_is_one() -> None:
    reorder = Reorder(WINDOW_NS)
    assert push(reorder, [100, 100, 101, 101, 102]) == [100, 101, 102]
    assert reorder.duplicates == 2


def test_a_stray_packet_among_the_first_is_left_out() -> None:
    reorder = Reorder(WINDOW_NS)
    assert push(reorder, [100, 31_000, 101, 102]) == [100, 101, 102]
    assert (reorder.late, reorder.restarts) == (1, 0)


def test_a_beginning_at_the_wrap_is_put_in_order() -> None:
    assert push(Reorder(WINDOW_NS), [65_536, 65_537, 65_535]) == [65_535, 65_536, 65_537]


# Jumps


def test_a_sender_that_started_anew_is_followed_from_its_first_packet_on() -> None:
    reorder = begun()
    out = push(reorder, [104, *range(40_000, 40_005)])
    assert out == ["lost 1", 104, "lost 0", *range(40_000, 40_005)]
    assert (reorder.restarts, reorder.late) == (1, 0)
    assert not reorder.missing


def test_numbers_grow_over_a_restart_in_either_direction() -> None:
    reorder = begun()
    last = 0
    for first in (40_000, 2, 60_000, 20_000, 12_000):
        for sequence in range(first, first + 5):
            for item in reorder.push(packet(sequence)):
                if isinstance(item, RtpPacket):
                    assert item.sequence > last
                    last = item.sequence
    assert reorder.restarts == 5


def test_a_restart_whose_first_packets_are_shuffled_and_doubled_loses_none() -> None:
    reorder = begun()
    assert push(reorder, [40_001, 40_001, 40_000, 40_002, 40_003]) == ["lost 0", 40_000, 40_001, 40_002, 40_003]


def test_a_single_stray_packet_changes_nothing() -> None:
    reorder = begun()
    assert push(reorder, [40_000, 103, 104]) == [103, 104]
    assert push(reorder, [40_001, 105]) == [105], "the stream went on between the two"
    assert (reorder.restarts, reorder.late) == (0, 2)


def test_strays_far_from_each_other_change_nothing() -> None:
    reorder = begun()
    assert push(reorder, [40_000, 20_000, 50_000, 103]) == [103]
    assert reorder.late == 3


def test_retransmissions_never_tell_of_a_restart() -> None:
    reorder = begun()
    for sequence in range(40_000, 40_010):
        assert reorder.push(packet(sequence), is_repair=True) == ()
    assert push(reorder, [103]) == [103]


def test_a_restart_a_little_behind_is_noticed_when_the_old_stream_stands_still() -> None:
    """Otherwise up to 3,000 packets, a minute of audio, would be taken for late ones."""
    reorder = begun(*range(103, 600))
    assert push(reorder, [300, 301], at_ns=STANDSTILL_NS) == []
    assert push(reorder, [302, 303, 304], at_ns=STANDSTILL_NS + 1) == ["lost 0", 302, 303, 304]


def test_old_packets_that_come_again_are_no_restart_while_the_stream_goes_on() -> None:
    reorder = begun()
    for sequence in range(103, 200):
        push(reorder, [sequence], at_ns=sequence * 50 * NS_PER_MS)
    assert push(reorder, [150, 151, 152], at_ns=200 * 50 * NS_PER_MS) == []
    assert (reorder.restarts, reorder.duplicates) == (0, 3)


def test_a_large_hole_is_lost_at_once() -> None:
    reorder = begun(104)
    ahead = 104 + MAX_HOLE + 2
    assert push(reorder, [ahead, ahead + 1]) == ["lost 1", 104, f"lost {MAX_HOLE + 1}", ahead, ahead + 1]
    assert not reorder.missing


def test_a_hole_of_the_largest_size_is_waited_for() -> None:
    reorder = begun()
    assert push(reorder, [103 + MAX_HOLE]) == []
    assert len(reorder.missing) == MAX_HOLE
    assert len(push(reorder, range(103, 103 + MAX_HOLE))) == MAX_HOLE + 1


def test_the_steps_up_to_a_jump_are_losses() -> None:
    reorder = begun()
    assert push(reorder, [102 + MAX_JUMP]) == [f"lost {MAX_JUMP - 1}", 102 + MAX_JUMP]
    assert push(reorder, [103 + 2 * MAX_JUMP]) == []
    assert reorder.late == 1


def test_a_whole_key_frame_of_thousands_of_packets_waits_for_its_first_one() -> None:
    reorder = begun()
    assert push(reorder, range(104, 104 + 5000)) == []
    assert push(reorder, [103]) == list(range(103, 104 + 5000))


def test_memory_is_bounded_by_the_span() -> None:
    reorder = begun()
    assert push(reorder, range(104, 103 + MAX_SPAN)) == []
    assert push(reorder, [103 + MAX_SPAN]) == ["lost 1", *range(104, 104 + MAX_SPAN)]
    assert push(reorder, [104 + MAX_SPAN]) == [104 + MAX_SPAN]


def test_memory_is_bounded_against_a_sender_of_holes() -> None:
    reorder = begun()
    for step in range(1, 100):
        reorder.push(packet(102 + step * MAX_HOLE))
        assert len(reorder.missing) <= MAX_SPAN
    assert len(reorder.missing) > MAX_SPAN - 2 * MAX_HOLE
    reorder.flush()
    assert not reorder.missing


def test_memory_of_what_was_given_up_is_bounded() -> None:
    reorder = begun()
    for place in range(1, 100):
        push(reorder, [102 + place * 500])
        reorder.flush()
    assert len(reorder._given_up) < MAX_SPAN + MAX_JUMP
    assert push(reorder, [102 + 99 * 500 - 1]) == []
    assert reorder.late == 1, "what is near is still known"


def test_hours_of_silence_with_contiguous_numbers_are_no_loss() -> None:
    reorder = begun()
    hour_ns = 3_600_000 * NS_PER_MS
    assert push(reorder, [103], at_ns=hour_ns) == [103]
    assert told(reorder.expire(2 * hour_ns)) == []
    assert push(reorder, [104], at_ns=3 * hour_ns) == [104]


# What receiver reports say


def test_expected_packets_are_counted_by_their_numbers() -> None:
    reorder = Reorder(WINDOW_NS)
    assert reorder.expected == 0
    push(reorder, [65_530, 65_531, 65_533])
    assert reorder.expected == 4
    push(reorder, [65_540])
    assert reorder.expected == 11
    assert reorder.highest_sequence == CYCLE + 65_540


def test_a_restart_is_no_loss_of_what_it_jumped_over() -> None:
    reorder = begun()
    push(reorder, range(40_000, 40_005))
    assert reorder.expected == 3 + 5


# Properties


def played(packets: Sequence[RtpPacket]) -> list[int | str]:
    """Push packets at their arrival, with a tick every 20 ms; end the stream."""
    reorder = Reorder(WINDOW_NS)
    out: list[int | str] = []
    tick_ns = 0
    for item in packets:
        while tick_ns < item.arrival_ns:
            out += told(reorder.expire(tick_ns))
            tick_ns += 20 * NS_PER_MS
        out += told(reorder.push(item))
    return out + told(reorder.flush())


@given(st.integers(0, 0xFFFF), st.integers(2, 120), st.randoms(use_true_random=False))
def test_any_order_within_the_window_and_any_doubles_give_the_stream(first: int, count: int, random: Random) -> None:
    """Of the beginning: those of the first packets that come within its hold."""
    later = list(range(first + 3, first + 3 + count)) * random.choice((1, 2))
    arrivals = sorted((random.randrange(WINDOW_NS - FIRST_HOLD_NS), sequence) for sequence in later)
    beginning = random.sample(range(first, first + 3), 3)
    packets = [packet(sequence) for sequence in beginning]
    packets += [packet(sequence, at_ns) for at_ns, sequence in arrivals]
    assert played(packets) == list(range(first, first + 3 + count))


@given(st.integers(0, 0xFFFF), st.sets(st.integers(3, 80)), st.randoms(use_true_random=False))
def test_what_never_comes_is_lost_at_its_place(first: int, gone: set[int], random: Random) -> None:
    """Whatever the order of the rest."""
    here = [number for number in range(82) if number not in gone]
    packets = [packet(first + number, max(0, number * 20 + random.randrange(300)) * NS_PER_MS) for number in here]
    packets[:3] = [packet(first + number) for number in range(3)]
    packets.sort(key=lambda item: item.arrival_ns)
    out = played(packets)
    assert [item for item in out if isinstance(item, int)] == [first + number for number in here]
    place = first
    for item in out:
        if isinstance(item, int):
            assert item == place
            place += 1
        else:
            place += int(item.removeprefix("lost "))


@given(st.lists(st.tuples(st.integers(0, 0xFFFF) | st.integers(990, 1010), st.integers(0, 400 * NS_PER_MS))))
def test_any_numbers_come_out_growing_and_at_most_once(arrivals: list[tuple[int, int]]) -> None:
    reorder = Reorder(WINDOW_NS)
    last = now_ns = count = 0
    for sequence, pause_ns in arrivals:
        now_ns += pause_ns
        for item in (*reorder.expire(now_ns), *reorder.push(packet(sequence, now_ns))):
            if isinstance(item, RtpPacket):
                assert item.sequence > last
                last = item.sequence
                count += 1
    count += sum(isinstance(item, RtpPacket) for item in reorder.flush())
    assert count + reorder.late + reorder.duplicates == len(arrivals), "every packet is accounted for"
    assert not reorder.missing


@pytest.mark.parametrize("window_ms", [200, 1000])
def test_nothing_is_held_for_longer_than_the_window(window_ms: int) -> None:
    reorder = Reorder(window_ms * NS_PER_MS)
    random = Random(1)
    push(reorder, [0, 1, 2])
    for number in range(3, 2000):
        now_ns = number * NS_PER_MS
        if random.random() > 0.1:
            reorder.push(packet(number, now_ns))
        reorder.expire(now_ns)
        waiting_ns = reorder.waiting_since_ns
        assert waiting_ns is None or now_ns - waiting_ns < window_ms * NS_PER_MS


def test_a_repaired_packet_arrives_with_the_one_that_overtook_it() -> None:
    """How long a repair took says nothing of when the packet was sent: sound and picture are placed by arrival."""
    reorder = begun()
    assert push(reorder, [104], at_ns=7) == []
    assert push(reorder, [105], at_ns=9) == []
    repaired, overtaken_by, _ = reorder.push(packet(103, 2_000_000_000), is_repair=True)
    assert isinstance(repaired, RtpPacket)
    assert isinstance(overtaken_by, RtpPacket)
    assert (repaired.arrival_ns, overtaken_by.arrival_ns) == (7, 7)
