"""Packets back in order, or said to be lost."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import NS_PER_MS, RtpPacket
from rokuga.recorder.rtp.reorder import FIRST_HOLD_NS, REORDER_TOLERANCE_NS, ReorderBuffer
from tests.recorder.rtp.numbered import CYCLE, WINDOW_NS, described, packet, push, started


def test_packets_in_order_are_returned_at_once() -> None:
    reorder = started()
    assert [push(reorder, [sequence]) for sequence in (103, 104, 105)] == [[103], [104], [105]]
    assert reorder.waiting_since_ns is None
    assert not reorder.missing


def test_what_was_overtaken_is_waited_for() -> None:
    reorder = started()
    assert push(reorder, [104, 105], at_ns=7) == []
    assert reorder.waiting_since_ns == 7
    assert list(reorder.missing) == [CYCLE + 103]
    assert reorder.missing[CYCLE + 103].due_ns == 7 + REORDER_TOLERANCE_NS
    assert push(reorder, [103]) == [103, 104, 105]
    assert not reorder.missing
    assert reorder.repaired == 0, "nobody had asked for it"


def test_numbers_that_are_returned_are_unwrapped() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    out = [item for sequence in range(65_534, 65_539) for item in reorder.push(packet(sequence))]
    assert [item.sequence for item in out if isinstance(item, RtpPacket)] == [
        CYCLE + n for n in range(65_534, 65_539)
    ]


def test_what_does_not_come_within_the_window_is_lost() -> None:
    reorder = started(103, 106)
    assert described(reorder.expire(WINDOW_NS - 1)) == []
    assert described(reorder.expire(WINDOW_NS)) == ["lost 2", 106]
    assert push(reorder, [107]) == [107]


def test_each_hole_has_its_own_window() -> None:
    reorder = started()
    push(reorder, [104], at_ns=0)
    push(reorder, [106], at_ns=10)
    assert described(reorder.expire(WINDOW_NS)) == ["lost 1", 104]
    assert reorder.waiting_since_ns == 10
    assert described(reorder.expire(WINDOW_NS + 10)) == ["lost 1", 106]


def test_holes_of_different_ages_are_declared_lost_together_if_both_are_old() -> None:
    reorder = started(104, 106)
    assert described(reorder.expire(WINDOW_NS)) == ["lost 1", 104, "lost 1", 106]


def test_late_packets_and_duplicates_are_counted_apart() -> None:
    reorder = started(104, 105)
    assert push(reorder, [105]) == [], "is held"
    assert push(reorder, [101]) == [], "is out"
    assert (reorder.duplicates, reorder.late) == (2, 0)
    reorder.expire(WINDOW_NS)
    assert push(reorder, [103]) == []
    assert (reorder.duplicates, reorder.late) == (2, 1)
    assert push(reorder, [103]) == []
    assert (reorder.duplicates, reorder.late) == (3, 1)


def test_a_packet_that_was_requested_or_came_by_rtx_is_repaired() -> None:
    reorder = started(106)
    reorder.missing[CYCLE + 103].tries = 1
    push(reorder, [103, 104])
    assert reorder.repaired == 1
    assert described(reorder.push(packet(105), is_repair=True)) == [105, 106]
    assert reorder.repaired == 2


def test_the_end_gives_all_that_came() -> None:
    reorder = started(104, 106, 107)
    assert described(reorder.flush()) == ["lost 1", 104, "lost 1", 106, 107]
    assert reorder.flush() == ()
    assert push(reorder, [108]) == [108], "the stream may go on"


# What receiver reports say


def test_expected_packets_are_counted_by_their_numbers() -> None:
    reorder = ReorderBuffer(WINDOW_NS)
    assert reorder.expected == 0
    push(reorder, [65_530, 65_531, 65_533])
    assert reorder.expected == 4
    push(reorder, [65_540])
    assert reorder.expected == 11
    assert reorder.highest_sequence == CYCLE + 65_540


# Properties


def played(packets: Sequence[RtpPacket]) -> list[int | str]:
    """Push packets at their arrival, with a tick every 20 ms; end the stream."""
    reorder = ReorderBuffer(WINDOW_NS)
    out: list[int | str] = []
    tick_ns = 0
    for item in packets:
        while tick_ns < item.arrival_ns:
            out += described(reorder.expire(tick_ns))
            tick_ns += 20 * NS_PER_MS
        out += described(reorder.push(item))
    return out + described(reorder.flush())


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
def test_any_numbers_are_returned_growing_and_at_most_once(arrivals: list[tuple[int, int]]) -> None:
    reorder = ReorderBuffer(WINDOW_NS)
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
    reorder = ReorderBuffer(window_ms * NS_PER_MS)
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
    reorder = started()
    assert push(reorder, [104], at_ns=7) == []
    assert push(reorder, [105], at_ns=9) == []
    repaired, overtaken_by, _ = reorder.push(packet(103, 2_000_000_000), is_repair=True)
    assert isinstance(repaired, RtpPacket)
    assert isinstance(overtaken_by, RtpPacket)
    assert (repaired.arrival_ns, overtaken_by.arrival_ns) == (7, 7)
