"""Outages, queues and repair in the network do not change the spacing of frames."""

from itertools import pairwise

import pytest

from rokuga.recorder.sync.timeline import Timeline
from tests.recorder.sync.simulator import LIP_SYNC_NS, MS, RATES, Placer, S, camera, lip_sync_ns, microphone, run


def test_jitter_on_the_way_does_not_jitter_the_spacing() -> None:
    """Audio stays 20 ms apart but for a correction of at most 3 ms in 100 ms, and soon not even that."""
    placed = run([microphone(20 * S, jitter_ns=60 * MS)])["audio"]
    spacing = [after.time_ns - before.time_ns for before, after in pairwise(placed)]
    assert all(abs(each - 20 * MS) <= 20 * MS // 32 for each in spacing)
    assert all(abs(each - 20 * MS) <= 100_000 for each in spacing[250:])


def test_the_first_picture_is_large_and_late_and_the_others_close_up() -> None:
    placed = run([microphone(5 * S), camera(5 * S, extra_delay=lambda at_ns: 250 * MS if at_ns == 0 else 0)])
    assert lip_sync_ns(placed, after_ns=1 * S) <= LIP_SYNC_NS


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


@pytest.mark.parametrize("late_until_ms", [20, 3_000])
def test_video_follows_audio_whose_first_packets_were_late(late_until_ms: int) -> None:
    """Sound goes back to its place by 31 ms a second; until it is there the picture stands as far behind."""
    line = Placer(Timeline({"audio": 48_000, "video": 90_000}))
    late_ns = 200 * MS
    pairs: list[tuple[int, int, int]] = []
    for ms in range(0, 12_000, 20):
        now_ns = ms * MS
        sound = line.push("audio", ms * 48, now_ns + (late_ns if ms < late_until_ms else 0))
        if ms in {500, 1_500}:
            for kind, rate in (("audio", 48), ("video", 90)):
                line.timeline.sender_report(kind, now_ns + 1000 * MS, ms * rate, now_ns)  # type: ignore[arg-type]  # a kind
        if ms % 40 == 0:
            pairs.append((now_ns, sound, line.push("video", ms * 90, now_ns)))
    shifts = [
        (at_ns, line.times_ns[sound] - at_ns, line.times_ns[picture] - at_ns) for at_ns, sound, picture in pairs
    ]
    settled = [
        (sound_ns, picture_ns)
        for at_ns, sound_ns, picture_ns in shifts
        if at_ns > 6_000 * MS or late_until_ms < 1_000
    ]
    assert max(abs(picture_ns - sound_ns) for sound_ns, picture_ns in settled) < LIP_SYNC_NS
    assert abs(settled[-1][0]) < 10 * MS
