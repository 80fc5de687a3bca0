"""The plan of a soak: reproducible, with every slot in use and every form of recording."""

from collections import defaultdict
from itertools import pairwise
from random import Random

import pytest

from rokuga.devtools.soak.plan import CLIPS, SoakOptions, make_plan

HOUR = SoakOptions(publishers=20, seconds=3600, churn=True, split_s=60, kill_every_s=900)


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(HOUR, Random(1).random) == make_plan(HOUR, Random(1).random)
    assert make_plan(HOUR, Random(1).random) != make_plan(HOUR, Random(2).random)


def test_with_churn_each_slot_is_used_again_and_again() -> None:
    """Publications of one slot do not overlap, and it is unused for 3 s at most; all clips are published."""
    by_slot = defaultdict(list)
    plan = make_plan(HOUR, Random(1).random)
    for each in plan.publications:
        by_slot[each.slot].append(each)
    assert set(by_slot) == set(range(20))
    for of_slot in by_slot.values():
        assert len(of_slot) > 10
        assert all(0 < b.begin_ms - a.end_ms <= 3_000 for a, b in pairwise(of_slot))
        assert of_slot[-1].end_ms <= 3_600_000
    assert {(each.clip, tuple(each.kinds)) for each in plan.publications} == {
        (clip, tuple(kinds)) for clip, kinds in CLIPS
    }
    assert {each.disconnect for each in plan.publications} == {"orderly", "abrupt"}


def test_without_churn_each_slot_publishes_to_the_end() -> None:
    plan = make_plan(SoakOptions(publishers=7, seconds=60), Random(1).random)
    assert [each.slot for each in plan.publications] == list(range(7))
    assert {each.end_ms for each in plan.publications} == {60_000}
    assert not plan.kills_ms
    assert not any(each.split_s for recordings in plan.recordings for each in recordings)


def test_each_channel_has_every_form_of_recording_without_overlap() -> None:
    plan = make_plan(HOUR, Random(1).random)
    assert len(plan.recordings) == 4
    for recordings in plan.recordings:
        assert {(each.split_s, each.split_only, each.expires) for each in recordings} == {
            (0, False, False), (0, False, True), (60, False, False), (60, True, False)
        }  # fmt: skip
        assert all(a.end_ms < b.begin_ms for a, b in pairwise(recordings))
        assert recordings[-1].end_ms <= 3_600_000


@pytest.mark.parametrize(("every_s", "kills"), [(900, [900, 1800, 2700]), (3599, []), (0, [])])
def test_kills_are_equidistant_and_none_is_at_the_end(every_s: int, kills: list[int]) -> None:
    plan = make_plan(SoakOptions(publishers=1, seconds=3600, kill_every_s=every_s), Random(1).random)
    assert [kill_ms // 1000 for kill_ms in plan.kills_ms] == kills
