"""A sender and a network, small: capture times in, RTP times, sender reports and arrivals out.

All times are ns. True time starts at 0; our monotonic clock shows true time + `OUR_START_NS`, the sender's wall clock
`NTP_START_NS` + true time. What is captured at true time t should be placed at t + one constant for both kinds.
"""

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Frame, Kind
from rokuga.recorder.sync.timeline import Timeline

MS = NS_PER_MS
S = NS_PER_S
OUR_START_NS = 5_000 * S
NTP_START_NS = 3_900_000_000 * S
RATES: dict[Kind, int] = {"audio": 48000, "video": 90000}
LIP_SYNC_NS = 40 * MS
"""What nobody sees."""


def steps(start_ns: int, stop_ns: int, interval_ns: int) -> list[int]:
    """Capture times from start to stop."""
    return list(range(start_ns, stop_ns, interval_ns))


@dataclass(slots=True)
class Source:
    """One kind as it is sent: when it is captured, how it arrives, what its reports say.

    `media_clock` gives the media time of a true time (drift, stalls), `ntp_clock` the wall clock of the reports.
    """

    kind: Kind
    captures_ns: list[int]
    reports_ns: list[int] = field(default_factory=list)
    delay_ns: int = 20 * MS
    jitter_ns: int = 0
    rtp_base: int = 123_456_789
    media_clock: Callable[[int], int] = lambda true_ns: true_ns
    ntp_clock: Callable[[int], int] = lambda true_ns: NTP_START_NS + true_ns
    extra_delay: Callable[[int], int] = lambda true_ns: 0
    changes_source: bool = False
    seed: int = 1

    def rtp_time(self, true_ns: int) -> int:
        """The RTP time of what is captured at this time."""
        return self.rtp_base + self.media_clock(true_ns) * RATES[self.kind] // NS_PER_S


@dataclass(frozen=True, slots=True)
class Placed:
    """One unit: when it was captured and arrived, and where the timeline put it."""

    capture_ns: int
    arrival_ns: int
    time_ns: int

    @property
    def shift_ns(self) -> int:
        """Placed minus true time: equal for both kinds when lips are in sync."""
        return self.time_ns - self.capture_ns - OUR_START_NS


def run(sources: Iterable[Source], timeline: Timeline | None = None) -> dict[Kind, list[Placed]]:
    """Feed everything in order of arrival; return the placed units of each kind."""
    events: list[tuple[int, int, str, Source, int]] = []
    for source in sources:
        chance = random.Random(source.seed)
        last_ns = 0
        for capture_ns in source.captures_ns:
            jitter_ns = chance.randrange(source.jitter_ns) if source.jitter_ns else 0
            late_ns = source.delay_ns + jitter_ns + source.extra_delay(capture_ns)
            last_ns = max(last_ns, OUR_START_NS + capture_ns + late_ns)  # in order, as the reorder buffer gives them
            events.append((last_ns, len(events), "unit", source, capture_ns))
        for report_ns in source.reports_ns:
            events.append((OUR_START_NS + report_ns + source.delay_ns, len(events), "report", source, report_ns))
        if source.changes_source:
            events.append((OUR_START_NS + source.captures_ns[0], -1, "change", source, 0))
    events.sort(key=lambda event: event[:2])
    timeline = timeline or Timeline(RATES)
    placed: dict[Kind, list[Placed]] = {"audio": [], "video": []}

    def take(frames: Sequence[Frame]) -> None:
        for frame in frames:
            placed[frame.kind].append(Placed(int(frame.unit.data), frame.unit.arrival_ns, frame.time_ns))

    for arrival_ns, _, what, source, true_ns in events:
        take(timeline.tick(arrival_ns))
        if what == "unit":
            data = b"%d" % true_ns
            take(timeline.push(source.kind, AccessUnit(source.rtp_time(true_ns), data, True, arrival_ns)))
        elif what == "report":
            ntp_ns = source.ntp_clock(true_ns)
            timeline.sender_report(source.kind, ntp_ns, source.rtp_time(true_ns), arrival_ns)
        else:
            take(timeline.source_changed(source.kind))
    take(timeline.flush())
    for units in placed.values():
        assert all(before.time_ns < after.time_ns for before, after in pairwise(units))
    return placed


class Placer:
    """A timeline of which the test asks for times: of what is held, too."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.times_ns: dict[int, int] = {}
        self._number = 0

    def push(self, kind: Kind, rtp_time: int, arrival_ns: int) -> int:
        """Return a unit; return its number."""
        self._number += 1
        unit = AccessUnit(rtp_time, b"%d" % self._number, True, arrival_ns)
        self._take(self.timeline.push(kind, unit))
        return self._number

    def place(self, kind: Kind, rtp_time: int, arrival_ns: int) -> int:
        """Return a unit; return its time, without waiting for what comes after it."""
        number = self.push(kind, rtp_time, arrival_ns)
        self._take(self.timeline.flush())
        return self.times_ns[number]

    def _take(self, frames: Sequence[Frame]) -> None:
        self.times_ns.update((int(frame.unit.data), frame.time_ns) for frame in frames)


def lip_sync_ns(placed: dict[Kind, list[Placed]], after_ns: int = 0, within_ns: int = 100 * MS) -> int:
    """The greatest difference, either way, between a picture and the sound captured nearest to it."""
    audio = [unit for unit in placed["audio"] if unit.capture_ns >= after_ns]
    times_ns = [unit.capture_ns for unit in audio]
    worst_ns = 0
    for video in placed["video"]:
        at = min(bisect_left(times_ns, video.capture_ns), len(audio) - 1)
        if video.capture_ns >= after_ns and abs(times_ns[at] - video.capture_ns) <= within_ns:
            worst_ns = max(worst_ns, abs(video.shift_ns - audio[at].shift_ns))
    return worst_ns


def microphone(stop_ns: int, start_ns: int = 0, **changes: Any) -> Source:
    """Opus: 20 ms, a report every 5 s from 2.5 s on, 20 ms on the way with up to 15 ms of jitter."""
    source = Source("audio", steps(start_ns, stop_ns, 20 * MS), steps(start_ns + 2500 * MS, stop_ns, 5 * S))
    source.jitter_ns = 15 * MS
    return _changed(source, changes)


def camera(stop_ns: int, start_ns: int = 0, **changes: Any) -> Source:
    """30 pictures a second, a report every second, 35 ms later than audio, up to 25 ms of jitter."""
    source = Source("video", steps(start_ns, stop_ns, 33_333_333), steps(start_ns + 700 * MS, stop_ns, S), 55 * MS)
    source.jitter_ns, source.rtp_base, source.seed = 25 * MS, 4_000_000_000, 2
    return _changed(source, changes)


def _changed(source: Source, changes: dict[str, Any]) -> Source:
    for name, value in changes.items():
        setattr(source, name, value)
    return source
