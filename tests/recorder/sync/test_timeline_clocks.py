"""The sender's clocks drift, stand still, are set, and tell nonsense: both kinds stay together."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import Kind
from rokuga.recorder.sync.report_alignment import MAX_DELAY_NS
from rokuga.recorder.sync.time_mapping import FORWARD_NS
from rokuga.recorder.sync.timeline import MAX_EARLY_NS, STALL_NS, Timeline
from tests.recorder.sync.simulator import (
    LIP_SYNC_NS,
    MS,
    NTP_START_NS,
    OUR_START_NS,
    RATES,
    Placer,
    S,
    camera,
    lip_sync_ns,
    microphone,
    run,
    steps,
)


@pytest.mark.parametrize("sign", [1, -1])
def test_four_hours_of_drift_keep_lip_sync(sign: int) -> None:
    """Audio clock 100 ppm fast, video clock 100 ppm slow (2.88 s at the end if ignored), and the reverse."""
    hours = 4 * 3600 * S

    def drift(ppm: int) -> dict[str, Any]:
        return {
            "captures_ns": steps(0, hours, 250 * MS),  # time-compressed: few units, the same clocks
            "reports_ns": steps(2 * S, hours, 5 * S),
            "media_clock": lambda true_ns: true_ns + true_ns * ppm // 1_000_000,
        }

    placed = run([microphone(0, **drift(sign * 100)), camera(0, **drift(sign * -100))])
    assert lip_sync_ns(placed) <= 80 * MS
    assert lip_sync_ns(placed, after_ns=60 * S) <= 10 * MS
    for units in placed.values():
        assert max(abs(unit.shift_ns - 25 * MS) for unit in units) <= 60 * MS


def stalled(at_ns: int, for_ns: int, stop_ns: int, **changes: Any) -> dict[str, Any]:
    """A microphone that captures nothing for a while and whose media clock stands still in the meantime."""
    stall_ns = at_ns + for_ns
    return {
        "captures_ns": [at for at in steps(0, stop_ns, 20 * MS) if not at_ns <= at < stall_ns],
        "reports_ns": [at for at in steps(2_500 * MS, stop_ns, 5 * S) if not at_ns <= at < stall_ns],
        "media_clock": lambda true_ns: true_ns if true_ns < at_ns else max(at_ns, true_ns - for_ns),
        **changes,
    }


def test_a_capture_stall_with_continuous_rtp_time_keeps_its_length() -> None:
    timeline = Timeline(RATES)
    placed = run([microphone(80 * S, **stalled(30 * S, 18 * S, 80 * S)), camera(80 * S)], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert placed["audio"][-1].time_ns == pytest.approx(placed["video"][-1].time_ns, abs=100 * MS)
    assert timeline.counters("audio")["stalls"] == 1
    assert timeline.counters("video")["stalls"] == 0


def test_without_video_and_reports_a_stall_is_noticed_within_a_few_packets() -> None:
    source = microphone(80 * S, **stalled(30 * S, 18 * S, 80 * S, reports_ns=[]))
    audio = run([source], Timeline({"audio": 48000}))["audio"]
    resumed = [unit for unit in audio if unit.capture_ns >= 48 * S]
    assert sum(unit.shift_ns < 0 for unit in resumed) <= 20
    assert resumed[-1].shift_ns - audio[0].shift_ns == pytest.approx(0, abs=20 * MS)


def test_without_reports_a_stall_of_more_than_a_second_is_reported_by_arrival() -> None:
    source = microphone(80 * S, **stalled(30 * S, 1500 * MS, 80 * S, reports_ns=[]))
    audio = run([source], Timeline({"audio": 48000}))["audio"]
    assert audio[-1].shift_ns - audio[0].shift_ns == pytest.approx(0, abs=20 * MS)
    assert all(unit.shift_ns >= 0 for unit in audio if unit.capture_ns >= 42 * S)


@pytest.mark.parametrize("stall_ms", [100, 300, 700, 1500])
def test_a_stall_too_short_for_arrival_to_tell_is_reported_by_the_next_report(stall_ms: int) -> None:
    placed = run([microphone(80 * S, **stalled(30 * S, stall_ms * MS, 80 * S)), camera(80 * S)])
    assert lip_sync_ns(placed, after_ns=(30_100 + stall_ms) * MS + 5 * S) <= LIP_SYNC_NS
    assert lip_sync_ns(placed) <= stall_ms * MS + LIP_SYNC_NS


def test_media_time_that_leaps_ahead_does_not_leave_the_clock() -> None:
    def leap(true_ns: int) -> int:
        return true_ns + (100 * S if true_ns >= 10 * S else 0)

    timeline = Timeline(RATES)
    placed = run([microphone(30 * S, media_clock=leap), camera(30 * S)], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert timeline.counters("audio")["rtp_time_jumps"] == 1


def test_media_time_that_is_set_back_continues_at_its_arrival() -> None:
    def back(true_ns: int) -> int:
        return true_ns - (1000 * S if true_ns >= 10 * S else 0)

    placed = run([microphone(30 * S, media_clock=back), camera(30 * S)])
    assert lip_sync_ns(placed) <= LIP_SYNC_NS


def test_media_time_that_is_set_back_moves_no_time_back() -> None:
    timeline = Placer(Timeline({"audio": 48000}))
    at_ns = timeline.place("audio", 10 * 48000, OUR_START_NS)
    assert timeline.place("audio", 0, OUR_START_NS - MS) == at_ns
    assert timeline.place("audio", 48, OUR_START_NS) == at_ns + MS
    assert timeline.place("audio", 48 + 960, OUR_START_NS + 20 * MS) == pytest.approx(at_ns + 20 * MS, abs=MS)


@pytest.mark.parametrize("ppm", [100, -100])
def test_an_hour_of_muted_video_comes_back_in_sync_although_its_clock_drifted(ppm: int) -> None:
    hour_ns = 3600 * S

    def drift(true_ns: int) -> int:
        return true_ns + true_ns * ppm // 1_000_000

    captures = [*steps(0, 20 * S, 33_333_333), *steps(hour_ns, hour_ns + 10 * S, 33_333_333)]
    video = camera(0, captures_ns=captures, reports_ns=steps(S, 20 * S, S), media_clock=drift, jitter_ns=0)
    audio = microphone(0, captures_ns=steps(0, hour_ns + 10 * S, 500 * MS), reports_ns=steps(S, hour_ns, 5 * S))
    placed = run([audio, video])
    assert lip_sync_ns(placed, within_ns=250 * MS) <= LIP_SYNC_NS


def test_a_kind_that_has_ended_does_not_pull_the_other_by_its_old_report() -> None:
    """The sender's wall clock is 100 ppm fast; in an hour without audio that is 360 ms."""

    def clock(true_ns: int) -> int:
        return NTP_START_NS + true_ns + true_ns // 10_000

    video = camera(0, captures_ns=steps(0, 3600 * S, 250 * MS), reports_ns=steps(S, 3600 * S, 5 * S), ntp_clock=clock)
    shifts = [unit.shift_ns for unit in run([microphone(30 * S, ntp_clock=clock), video])["video"]]
    assert max(shifts) - min(shifts) <= LIP_SYNC_NS


@pytest.mark.parametrize("step_ns", [3600 * S, -3600 * S, S // 2, -S // 2])
def test_a_sender_whose_wall_clock_is_set_does_not_move_frames(step_ns: int) -> None:
    def clock(true_ns: int) -> int:
        return NTP_START_NS + true_ns + (step_ns if 30 * S <= true_ns < 50 * S else 0)

    placed = run([microphone(90 * S, ntp_clock=clock), camera(90 * S, ntp_clock=clock)])
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert lip_sync_ns(placed, after_ns=10 * S) <= 2 * MS
    shifts = [unit.shift_ns for unit in placed["audio"] if unit.capture_ns >= 10 * S]
    assert max(shifts) - min(shifts) <= 2 * MS


@pytest.mark.parametrize("nonsense", [("audio",), ("video",), ("audio", "video")])
def test_reports_that_are_nonsense_leave_arrival_in_charge(nonsense: tuple[Kind, ...]) -> None:
    chance = random.Random(4)
    garbage: dict[str, Any] = {"ntp_clock": lambda true_ns: chance.choice((0, -1, chance.randrange(1 << 62)))}
    timeline = Timeline(RATES)
    audio = microphone(40 * S, **(garbage if "audio" in nonsense else {}))
    video = camera(40 * S, **(garbage if "video" in nonsense else {}))
    placed = run([audio, video], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert timeline.sync_source("video") == "arrival"
    assert timeline.counters(nonsense[0])["sender_reports_ignored"] > 0


def test_one_false_report_among_good_ones_is_not_accepted() -> None:
    def clock(true_ns: int) -> int:
        return NTP_START_NS + true_ns + (700 * MS if 20 * S <= true_ns < 21 * S else 0)

    timeline = Timeline(RATES)
    placed = run([microphone(40 * S), camera(40 * S, ntp_clock=clock)], timeline)
    assert lip_sync_ns(placed, after_ns=10 * S) <= 2 * MS
    assert timeline.counters("video")["sender_reports_ignored"] == 1


def test_two_kinds_with_reports_of_different_clocks_are_placed_by_arrival() -> None:
    timeline = Timeline(RATES)
    placed = run([microphone(20 * S), camera(20 * S, ntp_clock=lambda true_ns: true_ns + S)], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert timeline.sync_source("video") == "arrival"
    assert timeline.counters("video")["sender_reports"] == 20


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(-(1 << 64), 1 << 64)), min_size=1, max_size=40),
    st.integers(0, 1 << 32),
)
def test_whatever_reports_say_a_time_stays_near_its_arrival(reports: list[tuple[int, int]], seed: int) -> None:
    """20 s of ordinary media with reports at any time with any NTP time."""
    sources = [microphone(20 * S, reports_ns=[], seed=seed), camera(20 * S, reports_ns=[], seed=seed + 1)]
    claims = {at * 20 * MS: ntp_ns for at, ntp_ns in reports}
    for source in sources:
        source.reports_ns = sorted(claims)
        source.ntp_clock = claims.__getitem__
    for units in run(sources).values():
        for unit in units:
            assert -(STALL_NS + MAX_DELAY_NS + FORWARD_NS) <= unit.time_ns - unit.arrival_ns <= MAX_EARLY_NS
