"""A sender's media clock runs at a wrong rate for good: its measured rate is followed, without jumps."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from rokuga.recorder.media import Kind
from rokuga.recorder.sync.timeline import Timeline
from tests.recorder.sync.simulator import (
    LIP_SYNC_NS,
    MS,
    NTP_START_NS,
    RATES,
    Placed,
    S,
    camera,
    lip_sync_ns,
    microphone,
    run,
)

MINUTE = 60 * S
KINDS: tuple[Kind, ...] = ("audio", "video")
SOURCES: dict[Kind, Callable[..., Any]] = {"audio": microphone, "video": camera}


def at_rate(rate_ppm: int) -> Callable[[int], int]:
    return lambda true_ns: true_ns * (1_000_000 + rate_ppm) // 1_000_000


def assert_no_jumps(placed: list[Placed], most: float) -> None:
    """Units are placed about as far from each other as they were captured."""
    for before, after in pairwise(placed):
        captured_ns = after.capture_ns - before.capture_ns
        assert abs(after.time_ns - before.time_ns - captured_ns) <= captured_ns * most + MS // 10


@pytest.mark.parametrize("reports", [True, False])
@pytest.mark.parametrize("bad", KINDS)
@pytest.mark.parametrize("rate_ppm", [88_435, -81_250, 10_000, -10_000, -60_000, 60_000])
def test_a_bad_clock_keeps_the_length_of_the_call_and_moves_nobody(reports: bool, bad: Kind, rate_ppm: int) -> None:
    """48 kHz stamped as 44.1 kHz and the reverse, 1 % and 6 % off."""
    good: Kind = "video" if bad == "audio" else "audio"
    silent: dict[str, Any] = {} if reports else {"reports_ns": []}
    timeline = Timeline(RATES)
    placed = run(
        [SOURCES[bad](MINUTE, media_clock=at_rate(rate_ppm), **silent), SOURCES[good](MINUTE, **silent)], timeline
    )
    assert_no_jumps(placed[bad], abs(rate_ppm) / 1_000_000 + 1 / 31)
    length_ns = placed[bad][-1].time_ns - placed[bad][0].time_ns
    assert length_ns == pytest.approx(placed[bad][-1].capture_ns, abs=100 * MS)
    shifts = [unit.shift_ns for unit in placed[good]]
    assert max(shifts) - min(shifts) <= LIP_SYNC_NS
    assert lip_sync_ns(placed, after_ns=30 * S) <= 60 * MS
    assert timeline.counters(bad)["stalls"] == timeline.counters(bad)["rtp_time_jumps"] == 0


@pytest.mark.parametrize("rate_ppm", [-500_000, -300_000, 300_000])
def test_a_clock_that_is_grossly_wrong_is_followed_as_well(rate_ppm: int) -> None:
    timeline = Timeline(RATES)
    placed = run([microphone(MINUTE), camera(MINUTE, media_clock=at_rate(rate_ppm), reports_ns=[])], timeline)
    assert placed["video"][-1].shift_ns == pytest.approx(placed["audio"][-1].shift_ns, abs=2 * S)
    shifts = [unit.shift_ns for unit in placed["audio"]]
    assert max(shifts) - min(shifts) <= LIP_SYNC_NS
    assert all(after.time_ns - before.time_ns <= 2100 * MS for before, after in pairwise(placed["video"]))


@pytest.mark.parametrize("rate_ppm", [20_000, -20_000, 50_000])
def test_a_sender_all_of_whose_clocks_are_wrong_keeps_lip_sync(rate_ppm: int) -> None:
    """Wall clock and both media clocks run wrong alike: the reports do not tell."""
    clock = at_rate(rate_ppm)
    wrong: dict[str, Any] = {"media_clock": clock, "ntp_clock": lambda true_ns: NTP_START_NS + clock(true_ns)}
    placed = run([microphone(MINUTE, **wrong), camera(MINUTE, **wrong)])
    assert lip_sync_ns(placed, after_ns=30 * S) <= 2 * LIP_SYNC_NS
    for kind in KINDS:
        assert_no_jumps(placed[kind], abs(rate_ppm) / 1_000_000 + 1 / 31)
        assert placed[kind][-1].shift_ns - placed[kind][0].shift_ns == pytest.approx(0, abs=300 * MS)


@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_no_rate(seed: int) -> None:
    timeline = Timeline(RATES)
    run(
        [microphone(5 * MINUTE, jitter_ns=120 * MS, seed=seed), camera(5 * MINUTE, jitter_ns=150 * MS, seed=seed)],
        timeline,
    )
    assert [line.clock.scale for line in timeline._mappings.values()] == [1 << 20, 1 << 20]


@pytest.mark.parametrize("cycles", [0.6, 1, 1.4, 2])
def test_after_a_silence_of_half_a_day_the_first_picture_is_at_its_arrival(cycles: float) -> None:
    """2^32 ticks of 90 kHz are 13.26 h: what was sent meanwhile cannot be told from RTP time."""
    timeline = Timeline(RATES)
    silence_ns = int(cycles * (1 << 32)) * S // 90_000
    wrapped = [0, *(silence_ns + place * 33_333_333 for place in range(60))]

    def clock(true_ns: int) -> int:
        """RTP time as `Unwrapper` gives it: the nearest to the last one."""
        period_ns = (1 << 32) * S // 90_000
        return true_ns if true_ns < MINUTE else true_ns - round(silence_ns / period_ns) * period_ns

    placed = run([camera(0, captures_ns=wrapped, media_clock=clock, reports_ns=[], jitter_ns=0)], timeline)["video"]
    assert len(placed) == 61
    assert all(abs(unit.time_ns - unit.arrival_ns) <= LIP_SYNC_NS for unit in placed)


@pytest.mark.parametrize("off_s", [-9_800, 37_600])
def test_a_lone_odd_rtp_time_harms_its_own_picture_alone(off_s: int) -> None:
    """https://github.com/bluenviron/mediamtx/pull/6255"""

    def clock(true_ns: int) -> int:
        number = round(true_ns / 33_333_333)
        off_ns = (off_s * 90_000 + (1 << 31)) % (1 << 32) - (1 << 31)
        return true_ns + (off_ns * S // 90_000 if number % 60 == 0 else 0)

    placed = run([microphone(MINUTE), camera(MINUTE, media_clock=clock)])
    for unit in placed["video"]:
        is_odd = round(unit.capture_ns / 33_333_333) % 60 == 0
        assert abs(unit.shift_ns - 40 * MS) <= (100 * MS if is_odd else 40 * MS)
    assert lip_sync_ns({**placed, "video": placed["video"][-29:-1]}) <= LIP_SYNC_NS


def test_a_new_base_for_good_leaves_no_gap() -> None:
    placed = run([microphone(MINUTE), camera(MINUTE, media_clock=lambda ns: ns + (500 * S if ns >= 30 * S else 0))])
    assert all(after.time_ns - before.time_ns <= 100 * MS for before, after in pairwise(placed["video"]))
    assert lip_sync_ns(placed) <= LIP_SYNC_NS
