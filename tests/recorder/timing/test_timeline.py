"""One timeline for audio and video, whatever clocks, networks and reports do."""

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import Kind
from rokuga.recorder.timing.timeline import (
    FORWARD_NS,
    MAX_DELAY_NS,
    MAX_EARLY_NS,
    STALL_NS,
    Timeline,
)
from tests.recorder.timing.simulator import (
    MS,
    NTP_START_NS,
    OUR_START_NS,
    RATES,
    S,
    camera,
    lip_sync_ns,
    microphone,
    run,
    steps,
)

LIP_SYNC_NS = 40 * MS


def test_without_reports_a_kind_alone_is_at_its_earliest_arrival() -> None:
    placed = run([microphone(10 * S, reports_ns=[], jitter_ns=0)], Timeline({"audio": 48000}))
    assert {unit.time_ns - unit.arrival_ns for unit in placed["audio"]} <= {-1, 0, 1}


def test_jitter_on_the_way_does_not_jitter_the_spacing() -> None:
    """Audio stays 20 ms apart but for a correction of at most 3 ms in 100 ms, and soon not even that."""
    placed = run([microphone(20 * S, jitter_ns=60 * MS)])["audio"]
    spacing = [after.time_ns - before.time_ns for before, after in pairwise(placed)]
    assert all(abs(each - 20 * MS) <= 20 * MS // 32 for each in spacing)
    assert all(abs(each - 20 * MS) <= 100_000 for each in spacing[250:])


@pytest.mark.parametrize("video_delay_ms", [0, 20, 35, 50])
def test_lips_are_in_sync_before_the_reports_and_exact_after_them(video_delay_ms: int) -> None:
    """The camera's pipeline is up to 30 ms faster or slower than the microphone's, which takes 20 ms."""
    timeline = Timeline(RATES)
    placed = run([microphone(20 * S), camera(20 * S, delay_ns=video_delay_ms * MS)], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert lip_sync_ns(placed, after_ns=8 * S) <= 2 * MS
    assert (timeline.sync_source("audio"), timeline.sync_source("video")) == ("SR", "SR")


def test_a_microphone_that_is_slower_than_the_camera_is_moved_to_it() -> None:
    placed = run([microphone(20 * S, delay_ns=90 * MS), camera(20 * S, delay_ns=30 * MS)])
    assert lip_sync_ns(placed, after_ns=8 * S) <= 2 * MS


def test_until_both_kinds_have_a_report_arrival_is_the_source() -> None:
    timeline = Timeline(RATES)
    placed = run([microphone(5 * S, reports_ns=[]), camera(5 * S, jitter_ns=0)], timeline)
    assert timeline.sync_source("audio") == timeline.sync_source("video") == "arrival"
    assert placed["video"][-1].arrival_ns - placed["video"][-1].time_ns == pytest.approx(0, abs=100_000)


def test_a_report_moves_no_time_at_once() -> None:
    """The first reports correct a video delay of 100 ms: spacing changes by 1/32 at most."""
    video = run([microphone(20 * S), camera(20 * S, delay_ns=120 * MS, jitter_ns=0)])["video"]
    for before, after in pairwise(video):
        change_ns = after.time_ns - before.time_ns - (after.capture_ns - before.capture_ns)
        assert abs(change_ns) <= 33_333_333 // 32 + 12_000 or after.capture_ns < 4 * S


def test_the_first_picture_is_large_and_late_and_the_others_close_up() -> None:
    placed = run([microphone(5 * S), camera(5 * S, extra_delay=lambda at_ns: 250 * MS if at_ns == 0 else 0)])
    assert lip_sync_ns(placed, after_ns=1 * S) <= LIP_SYNC_NS


@pytest.mark.parametrize("every_ms", [1000, 400])
def test_d05_audio_muted_with_dtx_keeps_its_length(every_ms: int) -> None:
    captures = [*steps(0, 10 * S, 20 * MS), *steps(10 * S, 40 * S, every_ms * MS), *steps(40 * S, 50 * S, 20 * MS)]
    timeline = Timeline(RATES)
    placed = run([microphone(50 * S, captures_ns=captures), camera(50 * S)], timeline)
    audio = placed["audio"]
    first, last = audio[0], audio[-1]
    speech = next(unit for unit in audio if unit.capture_ns == 40 * S)
    assert last.time_ns + 20 * MS - first.time_ns == pytest.approx(50 * S, abs=10 * MS)
    assert speech.time_ns - first.time_ns == pytest.approx(40 * S, abs=10 * MS)
    assert lip_sync_ns(placed, within_ns=20 * MS) <= LIP_SYNC_NS
    assert timeline.counters("audio")["stalls"] == 0


def test_d06_video_starts_seconds_after_audio_and_its_report_comes_late() -> None:
    reports = steps(12_300 * MS, 30 * S, S)
    placed = run([microphone(30 * S, reports_ns=steps(S, 30 * S, S)), camera(30 * S, 7_300 * MS, reports_ns=reports)])
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    begins_ns = placed["video"][0].time_ns - placed["audio"][0].time_ns
    assert begins_ns == pytest.approx(7_300 * MS, abs=40 * MS)


def test_d07_tracks_that_began_long_before_are_on_one_zero() -> None:
    """Video from 0, audio from 10 s, recording from 20 s: both tracks have the same true zero from there on."""
    placed = run([camera(40 * S), microphone(40 * S, 10 * S)])
    assert lip_sync_ns(placed, after_ns=20 * S) <= 2 * MS
    shifts = [unit.shift_ns for units in placed.values() for unit in units if unit.capture_ns >= 20 * S]
    assert max(shifts) - min(shifts) <= 5 * MS
    assert min(shifts) >= 0


@pytest.mark.parametrize("sign", [1, -1])
def test_d08_four_hours_of_drift_keep_lip_sync(sign: int) -> None:
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


def test_d09_a_capture_stall_with_continuous_rtp_time_keeps_its_length() -> None:
    timeline = Timeline(RATES)
    placed = run([microphone(80 * S, **stalled(30 * S, 18 * S, 80 * S)), camera(80 * S)], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert placed["audio"][-1].time_ns == pytest.approx(placed["video"][-1].time_ns, abs=100 * MS)
    assert timeline.counters("audio")["stalls"] == 1
    assert timeline.counters("video")["stalls"] == 0


def test_d09_without_video_and_reports_it_takes_a_few_packets() -> None:
    source = microphone(80 * S, **stalled(30 * S, 18 * S, 80 * S, reports_ns=[]))
    audio = run([source], Timeline({"audio": 48000}))["audio"]
    resumed = [unit for unit in audio if unit.capture_ns >= 48 * S]
    assert sum(unit.shift_ns < 0 for unit in resumed) <= 20
    assert resumed[-1].shift_ns - audio[0].shift_ns == pytest.approx(0, abs=20 * MS)


def test_d09_without_reports_a_stall_of_more_than_a_second_is_told_by_arrival() -> None:
    source = microphone(80 * S, **stalled(30 * S, 1500 * MS, 80 * S, reports_ns=[]))
    audio = run([source], Timeline({"audio": 48000}))["audio"]
    assert audio[-1].shift_ns - audio[0].shift_ns == pytest.approx(0, abs=20 * MS)
    assert all(unit.shift_ns >= 0 for unit in audio if unit.capture_ns >= 42 * S)


@pytest.mark.parametrize("stall_ms", [100, 300, 700, 1500])
def test_d09_a_stall_too_short_for_arrival_to_tell_is_told_by_the_next_report(stall_ms: int) -> None:
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


def test_media_time_that_is_set_back_goes_on_at_its_arrival() -> None:
    def back(true_ns: int) -> int:
        return true_ns - (1000 * S if true_ns >= 10 * S else 0)

    placed = run([microphone(30 * S, media_clock=back), camera(30 * S)])
    assert lip_sync_ns(placed) <= LIP_SYNC_NS


def test_media_time_that_is_set_back_moves_no_time_back() -> None:
    timeline = Timeline({"audio": 48000})
    at_ns = timeline.place("audio", 10 * 48000, OUR_START_NS)
    assert timeline.place("audio", 0, OUR_START_NS - MS) == at_ns
    assert timeline.place("audio", 48, OUR_START_NS) == at_ns + MS
    assert timeline.place("audio", 48 + 960, OUR_START_NS + 20 * MS) == pytest.approx(at_ns + 20 * MS, abs=MS)


def test_a_new_source_has_a_new_base_and_old_reports_are_void() -> None:
    timeline = Timeline(RATES)
    first = camera(20 * S)
    second = camera(40 * S, 21 * S, rtp_base=77, changes_source=True, seed=3)
    placed = run([microphone(40 * S), first, second], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert timeline.sync_source("video") == "SR"
    assert timeline.counters("video")["source_changes"] == 1


def test_until_the_new_source_reports_its_delay_is_held() -> None:
    timeline = Timeline(RATES)
    run([microphone(30 * S), camera(20 * S)], timeline)
    timeline.source_changed("video")
    assert timeline.sync_source("audio") == timeline.sync_source("video") == "arrival"
    at_ns = OUR_START_NS + 30 * S
    assert at_ns - timeline.place("video", 5, at_ns) == pytest.approx(35 * MS, abs=3 * MS)


def test_video_muted_by_silence_comes_back_in_sync() -> None:
    captures = [at for at in steps(0, 140 * S, 33_333_333) if not 20 * S <= at < 100 * S]
    placed = run([microphone(140 * S), camera(140 * S, captures_ns=captures)])
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert lip_sync_ns(placed, after_ns=101 * S) <= 5 * MS


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
def test_d35_a_sender_whose_wall_clock_is_set_moves_nothing(step_ns: int) -> None:
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


def test_one_false_report_among_good_ones_is_not_believed() -> None:
    def clock(true_ns: int) -> int:
        return NTP_START_NS + true_ns + (700 * MS if 20 * S <= true_ns < 21 * S else 0)

    timeline = Timeline(RATES)
    placed = run([microphone(40 * S), camera(40 * S, ntp_clock=clock)], timeline)
    assert lip_sync_ns(placed, after_ns=10 * S) <= 2 * MS
    assert timeline.counters("video")["sender_reports_ignored"] == 1


def test_two_kinds_told_by_different_clocks_are_placed_by_arrival() -> None:
    timeline = Timeline(RATES)
    placed = run([microphone(20 * S), camera(20 * S, ntp_clock=lambda true_ns: true_ns + S)], timeline)
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert timeline.sync_source("video") == "arrival"
    assert timeline.counters("video")["sender_reports"] == 20


@pytest.mark.parametrize("seconds", [1, 3, 5])
def test_a_network_outage_that_delivers_everything_in_a_burst_moves_nothing(seconds: int) -> None:
    def outage(at_ns: int) -> int:
        return max(30 * S + seconds * S - at_ns, 0) if at_ns >= 30 * S else 0

    timeline = Timeline(RATES)
    placed = run([microphone(60 * S, extra_delay=outage), camera(60 * S, extra_delay=outage)], timeline)
    assert lip_sync_ns(placed, after_ns=10 * S) <= 2 * MS
    assert timeline.counters("audio")["stalls"] == timeline.counters("video")["stalls"] == 0


def test_a_network_outage_that_is_caught_up_with_slowly_moves_nothing() -> None:
    """5 s of nothing, then everything at twice its speed."""

    def outage(at_ns: int) -> int:
        return max(5 * S - (at_ns - 30 * S) // 2, 0) if at_ns >= 30 * S else 0

    timeline = Timeline(RATES)
    placed = run([microphone(60 * S, extra_delay=outage), camera(60 * S, extra_delay=outage)], timeline)
    assert lip_sync_ns(placed, after_ns=10 * S) <= 2 * MS
    assert timeline.counters("audio")["stalls"] == timeline.counters("video")["stalls"] == 0


def test_a_queue_that_drains_at_once_takes_both_kinds_back_together() -> None:
    def queue(at_ns: int) -> int:
        return max(0, min(900 * MS, 300 * (at_ns - 30 * S) // 1000)) if at_ns < 70 * S else 0

    placed = run([microphone(80 * S, extra_delay=queue), camera(80 * S, extra_delay=queue)])
    assert lip_sync_ns(placed, after_ns=71 * S) <= LIP_SYNC_NS


@pytest.mark.parametrize("queue_ms", [300, 800])
def test_a_queue_that_builds_up_and_drains_keeps_lip_sync(queue_ms: int) -> None:
    def queue(at_ns: int) -> int:
        full_ns = queue_ms * MS
        return max(0, min(full_ns, full_ns * (at_ns - 30 * S) // (3 * S), full_ns * (50 * S - at_ns) // (2 * S)))

    placed = run([microphone(80 * S, extra_delay=queue), camera(80 * S, extra_delay=queue)])
    assert lip_sync_ns(placed, after_ns=10 * S) <= LIP_SYNC_NS
    placed = run([microphone(80 * S), camera(80 * S, extra_delay=queue)])
    assert lip_sync_ns(placed, after_ns=10 * S) <= LIP_SYNC_NS


def test_a_unit_that_was_repaired_late_stays_in_its_place() -> None:
    """1.2 s of waiting for a retransmission, then the units behind it at once."""

    def repair(at_ns: int) -> int:
        return max(30 * S + 1200 * MS - at_ns, 0) if at_ns >= 30 * S else 0

    video = run([microphone(40 * S), camera(40 * S, extra_delay=repair)])["video"]
    shifts = [unit.shift_ns for unit in video if unit.capture_ns >= 10 * S]
    assert max(shifts) - min(shifts) <= 2 * MS


def test_the_same_rtp_time_has_the_same_time() -> None:
    timeline = Timeline(RATES)
    first_ns = timeline.place("video", 1000, S)
    assert timeline.place("video", 1000, S + 5 * MS) == first_ns


def test_a_report_of_a_kind_that_was_not_negotiated_is_passed_over() -> None:
    timeline = Timeline({"audio": 48000})
    timeline.sender_report("video", S, 0, S)
    assert timeline.sync_source("audio") == "arrival"


unit_steps = st.tuples(
    st.just("unit"),
    st.sampled_from(["audio", "video"]),
    st.one_of(st.integers(0, 5000), st.integers(-(1 << 33), 1 << 33)),
    st.one_of(st.integers(0, 100 * MS), st.integers(0, 4 * 3600 * S)),
)
report_steps = st.tuples(
    st.just("report"), st.sampled_from(["audio", "video"]), st.integers(-(1 << 70), 1 << 70), st.integers(0, S)
)
change_steps = st.tuples(st.just("change"), st.sampled_from(["audio", "video"]), st.just(0), st.just(0))


@given(st.lists(st.one_of(unit_steps, unit_steps, report_steps, change_steps), max_size=60))
def test_any_input_time_never_decreases_and_increases_with_rtp_time(
    inputs: list[tuple[str, Kind, int, int]],
) -> None:
    """Any RTP times, arrivals, reports and new sources. Time runs ahead of arrival only where order demands it."""
    timeline = Timeline(RATES)
    now_ns = OUR_START_NS
    rtp: dict[Kind, int] = {"audio": 0, "video": 1 << 31}
    last: dict[Kind, int] = {}
    for what, kind, number, passed_ns in inputs:
        now_ns += passed_ns
        if what == "report":
            timeline.sender_report(kind, number, rtp[kind], now_ns)
        elif what == "change":
            timeline.source_changed(kind)
        else:
            rtp[kind] += number
            time_ns = timeline.place(kind, rtp[kind], now_ns)
            if kind in last:
                assert time_ns >= last[kind]
                assert time_ns > last[kind] or number <= 0
                assert time_ns <= max(now_ns + MAX_EARLY_NS, last[kind] + MS)
            else:
                assert time_ns <= now_ns + MAX_EARLY_NS
            last[kind] = time_ns


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


def test_the_picture_follows_sound_whose_first_packet_was_late() -> None:
    """Sound goes back to its place by 31 ms a second; until it is there the picture stands as far behind."""
    line = Timeline({"audio": 48_000, "video": 90_000})
    late_ns = 200 * MS
    worst_ns = 0
    for ms in range(0, 8_000, 20):
        now_ns = ms * MS
        sound_ns = line.place("audio", ms * 48, now_ns + (late_ns if ms == 0 else 0)) - now_ns
        if ms in {500, 1_500}:
            for kind, rate in (("audio", 48), ("video", 90)):
                line.sender_report(kind, now_ns + 1000 * MS, ms * rate, now_ns)  # type: ignore[arg-type]  # a kind
        if ms % 40 == 0:
            picture_ns = line.place("video", ms * 90, now_ns) - now_ns
            worst_ns = max(worst_ns, abs(picture_ns - sound_ns) if ms > 2_000 else 0)
    assert worst_ns < LIP_SYNC_NS
    assert abs(sound_ns) < 10 * MS
