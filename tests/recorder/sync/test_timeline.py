"""One timeline for audio and video, by arrival until reports tell, and never backwards."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rokuga.recorder.media import AccessUnit, Frame, Kind
from rokuga.recorder.sync.pending_units import MAX_LOOK_AHEAD_NS
from rokuga.recorder.sync.timeline import MAX_AHEAD_NS, Timeline
from tests.recorder.sync.simulator import (
    LIP_SYNC_NS,
    MS,
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


def test_without_reports_a_kind_alone_is_at_its_earliest_arrival() -> None:
    placed = run([microphone(10 * S, reports_ns=[], jitter_ns=0)], Timeline({"audio": 48000}))
    assert {unit.time_ns - unit.arrival_ns for unit in placed["audio"]} <= {-1, 0, 1}


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


@pytest.mark.parametrize("every_ms", [1000, 400])
def test_audio_muted_with_dtx_keeps_its_length(every_ms: int) -> None:
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


def test_video_starts_seconds_after_audio_and_its_report_comes_late() -> None:
    reports = steps(12_300 * MS, 30 * S, S)
    placed = run([microphone(30 * S, reports_ns=steps(S, 30 * S, S)), camera(30 * S, 7_300 * MS, reports_ns=reports)])
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    begins_ns = placed["video"][0].time_ns - placed["audio"][0].time_ns
    assert begins_ns == pytest.approx(7_300 * MS, abs=40 * MS)


def test_tracks_that_began_long_before_share_one_start() -> None:
    """Video from 0, audio from 10 s, recording from 20 s: both tracks have the same true zero from there on."""
    placed = run([camera(40 * S), microphone(40 * S, 10 * S)])
    assert lip_sync_ns(placed, after_ns=20 * S) <= 2 * MS
    shifts = [unit.shift_ns for units in placed.values() for unit in units if unit.capture_ns >= 20 * S]
    assert max(shifts) - min(shifts) <= 5 * MS
    assert min(shifts) >= 0


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
    assert at_ns - Placer(timeline).place("video", 5, at_ns) == pytest.approx(35 * MS, abs=3 * MS)


def test_video_muted_by_silence_comes_back_in_sync() -> None:
    captures = [at for at in steps(0, 140 * S, 33_333_333) if not 20 * S <= at < 100 * S]
    placed = run([microphone(140 * S), camera(140 * S, captures_ns=captures)])
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
    assert lip_sync_ns(placed, after_ns=101 * S) <= 5 * MS


def test_the_same_rtp_time_has_the_same_time() -> None:
    timeline = Placer(Timeline(RATES))
    first_ns = timeline.place("video", 1000, S)
    assert timeline.place("video", 1000, S + 5 * MS) == first_ns


def test_a_report_of_a_kind_that_was_not_negotiated_is_skipped() -> None:
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
    """Any RTP times, arrivals, reports and new sources: every unit comes out once, in order, soon, near its arrival.

    Video alone may step back, by what pictures in decoding order do.
    """
    timeline = Timeline(RATES)
    now_ns = OUR_START_NS
    rtp: dict[Kind, int] = {"audio": 0, "video": 1 << 31}
    pushed: dict[Kind, list[AccessUnit]] = {"audio": [], "video": []}
    placed: dict[Kind, list[Frame]] = {"audio": [], "video": []}

    def take(frames: Sequence[Frame]) -> None:
        for frame in frames:
            placed[frame.kind].append(frame)

    for what, kind, number, passed_ns in inputs:
        now_ns += passed_ns
        take(timeline.tick(now_ns))
        for each in RATES:
            waiting = pushed[each][len(placed[each]) :]
            assert all(now_ns - unit.arrival_ns < MAX_LOOK_AHEAD_NS for unit in waiting)
        if what == "report":
            timeline.sender_report(kind, number, rtp[kind], now_ns)
        elif what == "change":
            take(timeline.source_changed(kind))
        else:
            rtp[kind] += number
            unit = AccessUnit(rtp[kind], b"", True, now_ns)
            pushed[kind].append(unit)
            take(timeline.push(kind, unit))
    take(timeline.flush())
    for kind, frames in placed.items():
        assert [frame.unit for frame in frames] == pushed[kind]
        reached: Frame | None = None
        for frame in frames:
            back = 0 if reached is None else reached.unit.rtp_time - frame.unit.rtp_time
            if kind == "video" and 0 < back <= RATES[kind]:
                continue
            if reached is not None:
                assert frame.time_ns >= reached.time_ns
                assert frame.time_ns > reached.time_ns or back >= 0
                assert frame.time_ns <= max(frame.unit.arrival_ns + MAX_AHEAD_NS, reached.time_ns + MS)
            reached = frame
