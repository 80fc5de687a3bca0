"""Every stretch of over 100 ms that a track does not cover is counted, the longest are told."""

from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.sync.gap_stats import LONGEST, MIN_GAP_NS, GapStats
from tests.recorder.sync.simulator import MS, S, steps


def test_a_track_without_gaps_has_none() -> None:
    stats = GapStats()
    for at_ns in steps(0, 10 * S, 20 * MS):
        stats.add(at_ns, 20 * MS)
    assert stats.summary(10 * S) == {"gaps": 0, "gaps_total_ms": 0, "gaps_longest": []}


def test_gaps_are_between_the_end_of_a_unit_and_the_next_and_at_both_ends() -> None:
    stats = GapStats()
    for at_ms in (300, 320, 941, 1061, 1081):
        stats.add(at_ms * MS, 20 * MS)
    assert stats.summary(1500 * MS) == {
        "gaps": 3,
        "gaps_total_ms": 300 + 601 + 399,
        "gaps_longest": [
            {"offset_ms": 340, "duration_ms": 601},
            {"offset_ms": 1101, "duration_ms": 399},
            {"offset_ms": 0, "duration_ms": 300},
        ],
    }


def test_a_gap_of_exactly_100_ms_is_not_counted() -> None:
    stats = GapStats()
    stats.add(0, 20 * MS)
    stats.add(120 * MS, 20 * MS)
    assert stats.summary()["gaps"] == 0


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(0, 120 * MS)), max_size=50))
def test_the_longest_are_the_longest_and_the_total_is_of_all(units: list[tuple[int, int]]) -> None:
    stats = GapStats()
    gaps: list[tuple[int, int]] = []
    at_ns = covered_ns = 0
    for step_ns, duration_ns in units:
        at_ns += step_ns
        if at_ns - covered_ns > MIN_GAP_NS:
            gaps.append((covered_ns - at_ns, covered_ns))
        covered_ns = max(covered_ns, at_ns + duration_ns)
        stats.add(at_ns, duration_ns)
    assert stats.summary() == {
        "gaps": len(gaps),
        "gaps_total_ms": -sum(gap[0] for gap in gaps) // MS,
        "gaps_longest": [
            {"offset_ms": offset_ns // MS, "duration_ms": -minus_ns // MS}
            for minus_ns, offset_ns in sorted(gaps)[:LONGEST]
        ],
    }


def test_pictures_in_decoding_order_leave_no_gap() -> None:
    """Each fourth is sent before the three that are shown before it."""
    gaps = GapStats()
    for begin_ms in range(0, 1600, 160):
        for picture_ms in (160, 80, 40, 120):
            gaps.add((begin_ms + picture_ms) * MS)
    assert gaps.summary(1600 * MS) == {"gaps": 0, "gaps_total_ms": 0, "gaps_longest": []}


def test_a_picture_within_the_last_gap_divides_it() -> None:
    gaps = GapStats()
    for offset_ms in (0, 1000, 300):
        gaps.add(offset_ms * MS)
    assert gaps.summary() == {
        "gaps": 2,
        "gaps_total_ms": 1000,
        "gaps_longest": [{"offset_ms": 300, "duration_ms": 700}, {"offset_ms": 0, "duration_ms": 300}],
    }
