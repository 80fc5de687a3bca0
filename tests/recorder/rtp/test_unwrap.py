"""Counters that wrap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.rtp.unwrap import Unwrapper, difference, nearest

CYCLE = 1 << 16


def test_the_first_value_begins_the_second_cycle() -> None:
    assert Unwrapper(16).unwrap(5) == CYCLE + 5


def test_values_grow_across_a_wrap() -> None:
    unwrapper = Unwrapper(16)
    assert [unwrapper.unwrap(value) - CYCLE for value in (65_534, 65_535, 0, 1)] == [65_534, 65_535, 65_536, 65_537]


def test_an_older_value_is_before_the_wrap() -> None:
    unwrapper = Unwrapper(32)
    last = unwrapper.unwrap(0)
    assert unwrapper.unwrap(0xFFFFFFFF) == last - 1
    assert unwrapper.unwrap(1) == last + 1


def test_what_is_peeked_at_before_all_others_is_their_place() -> None:
    """A sender report that comes just before the first unit, on the other side of the wrap."""
    unwrapper = Unwrapper(16)
    assert unwrapper.peek(5) == CYCLE + 5
    assert unwrapper.unwrap(65_530) == 65_530


def test_peek_follows_nothing() -> None:
    unwrapper = Unwrapper(16)
    assert unwrapper.unwrap(0) == CYCLE
    assert unwrapper.peek(30_000) == CYCLE + 30_000
    assert unwrapper.peek(60_000) == 60_000, "a peek at 30,000 has not moved it"


@pytest.mark.parametrize(("value", "way"), [(0, 0), (1, 1), (0x7FFF, 0x7FFF), (0x8000, -0x8000), (0xFFFF, -1)])
def test_the_shorter_way_is_taken(value: int, way: int) -> None:
    assert difference(value, 0, CYCLE) == way
    assert difference(value + 5 & 0xFFFF, 3 * CYCLE + 5, CYCLE) == way


@given(st.integers(0, 1 << 20), st.lists(st.integers(-0x7FFF, 0x7FFF), max_size=50))
def test_every_walk_in_steps_of_less_than_half_a_cycle_is_followed(first: int, steps: list[int]) -> None:
    unwrapper = Unwrapper(16)
    offset = unwrapper.unwrap(first & 0xFFFF) - first
    place = first
    for step in steps:
        place += step if place + offset + step >= 0 else -step
        assert unwrapper.unwrap(place & 0xFFFF) == place + offset


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=100))
def test_no_values_lead_below_zero(values: list[int]) -> None:
    unwrapper = Unwrapper(16)
    for value in values:
        unwrapped = unwrapper.unwrap(value)
        assert unwrapped >= 0
        assert unwrapped & 0xFFFF == value


def test_the_nearest_to_the_beginning_is_not_negative() -> None:
    assert nearest(0xFFFF, 0, CYCLE) == 0xFFFF
