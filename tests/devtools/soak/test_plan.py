"""The plan: the same numbers give the same one, no seat is empty for long, every form is had."""

from collections import defaultdict
from itertools import pairwise
from random import Random

import pytest

from rokuga.devtools.soak.plan import CLIPS, Options, make_plan

HOUR = Options(publishers=20, seconds=3600, churn=True, split_s=60, kill_every_s=900)


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(HOUR, Random(1).random) == make_plan(HOUR, Random(1).random)
    assert make_plan(HOUR, Random(1).random) != make_plan(HOUR, Random(2).random)


def test_with_churn_each_seat_is_taken_again_and_again() -> None:
    """Lives of one seat do not overlap, and it is empty for 3 s at most; all clips are had."""
    lives = defaultdict(list)
    plan = make_plan(HOUR, Random(1).random)
    for role in plan.roles:
        lives[role.seat].append(role)
    assert set(lives) == set(range(20))
    for of_seat in lives.values():
        assert len(of_seat) > 10
        assert all(0 < b.begin_ms - a.end_ms <= 3_000 for a, b in pairwise(of_seat))
        assert of_seat[-1].end_ms <= 3_600_000
    assert {(role.clip, tuple(role.kinds)) for role in plan.roles} == {(clip, tuple(kinds)) for clip, kinds in CLIPS}
    assert {role.leaves for role in plan.roles} == {"goodbye", "cut"}


def test_without_churn_everybody_stays() -> None:
    plan = make_plan(Options(publishers=7, seconds=60), Random(1).random)
    assert [role.seat for role in plan.roles] == list(range(7))
    assert {role.end_ms for role in plan.roles} == {60_000}
    assert not plan.kills_ms
    assert not any(take.split_s for takes in plan.takes for take in takes)


def test_each_channel_is_recorded_in_every_form_one_recording_after_the_other() -> None:
    plan = make_plan(HOUR, Random(1).random)
    assert len(plan.takes) == 4
    for takes in plan.takes:
        assert {(take.split_s, take.split_only, take.expires) for take in takes} == {
            (0, False, False), (0, False, True), (60, False, False), (60, True, False)
        }  # fmt: skip
        assert all(a.end_ms < b.begin_ms for a, b in pairwise(takes))
        assert takes[-1].end_ms <= 3_600_000


@pytest.mark.parametrize(("every_s", "kills"), [(900, [900, 1800, 2700]), (3599, []), (0, [])])
def test_kills_are_even_and_none_is_at_the_end(every_s: int, kills: list[int]) -> None:
    plan = make_plan(Options(publishers=1, seconds=3600, kill_every_s=every_s), Random(1).random)
    assert [kill_ms // 1000 for kill_ms in plan.kills_ms] == kills
