"""From RTP times and sender reports to one clock: ours.

Each kind is a line: `time = media time + offset`, where media time is the unwrapped RTP time in ns. The spacing of
units is that of their RTP times; only the offset moves, and it moves slowly.

* Arrival gives the base: the smallest "arrival - media time" of the last seconds (`EarliestArrival`).
* Two sender reports (RFC 3550 section 6.4.1), one of each kind, say how much later than its counterpart a kind
  arrives: its `delay`. The kind that arrives first has none, so it stays at its arrival and the other is moved to it.
* The offset goes towards `base - delay`: by at most 1/32 of the time that passes (3 ms in 100 ms); at once only
  forward, and only by more than 1 s or where the sender's media clock stood still.

A time is never more than 0.3 s after its arrival (but where order demands it) nor, once it has shown that it is no
burst that catches up, more than 4.5 s before it: 2 s of network and repair, 1.5 s of delay, 1 s being corrected.
The README of this room has the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.timing.arrival import EarliestArrival

SyncSource = Literal["SR", "arrival"]

MAX_DELAY_NS: Final = 1500 * NS_PER_MS
"""Sender reports that tell of more are about two different clocks and are not used."""
MAX_EARLY_NS: Final = 300 * NS_PER_MS
"""A unit placed this far after its arrival was sent with an RTP time that jumped."""
STALL_NS: Final = 2 * NS_PER_S
"""A packet this late was not delayed (repair takes 1 s, a pacer 2 s): the sender's media clock stood still."""
PATIENCE_NS: Final = 300 * NS_PER_MS
"""How long lateness must last if nothing else shows that the network is well: a network's burst catches up."""
FORWARD_NS: Final = NS_PER_S
"""An offset that is too small by more than this is corrected at once."""
REPORT_JUMP_NS: Final = 40 * NS_PER_MS
"""By how much two reports of one source may disagree, beside drift."""
PAIR_AGE_NS: Final = 30 * NS_PER_S
"""A pair of reports is used while both kinds flow and report; else the delays stay as they are, whatever drifts."""
TOLERANCE_NS: Final = NS_PER_MS // 4
"""What a file cannot show is not corrected: it would only cost time, at every unit."""
SETTLING_NS: Final = 2 * NS_PER_S
"""Video's first picture is large and arrives late by up to its own length; the pictures after it may close up."""


@dataclass(slots=True)
class _Line:
    """One kind. `lag` is arrival minus media time; `report_ns` is NTP minus media time of the last good report."""

    rate_hz: int
    settling_ns: int
    delay_ns: int = 0
    arrivals: EarliestArrival = field(default_factory=EarliestArrival)
    running: bool = False
    media_ns: int = 0
    arrival_ns: int = 0
    lag_ns: int = 0
    offset_ns: int = 0
    target_ns: int = 0
    settled_ns: int = 0
    flowing_since_ns: int = 0
    late_until_ns: int = 0
    first_late_lag_ns: int = 0
    late_lag_ns: int = 0
    time_ns: int | None = None
    report_ns: int | None = None
    report_arrival_ns: int = 0
    sender_clock_ns: int | None = None
    doubtful_ns: int | None = None
    reports: int = 0
    reports_ignored: int = 0
    source_changes: int = 0
    stalls: int = 0
    jumps: int = 0

    def forget_reports(self) -> None:
        self.report_ns = self.sender_clock_ns = self.doubtful_ns = None


class Timeline:
    """The timeline of one connection. `clock_rates_hz` has the kinds that were negotiated, one or both."""

    __slots__ = ("_aligned", "_lines")

    def __init__(self, clock_rates_hz: Mapping[Kind, int]) -> None:
        self._lines: dict[Kind, _Line] = {
            kind: _Line(
                rate_hz=rate_hz,
                settling_ns=SETTLING_NS if kind == "video" else 0,
            )
            for kind, rate_hz in clock_rates_hz.items()
        }
        self._aligned = False

    def place(self, kind: Kind, rtp_time: int, arrival_ns: int) -> int:
        """Give the unit's time on the clock of `arrival_ns`.

        Never less than the last one of this kind, and more where `rtp_time` (unwrapped) is more.
        """
        line = self._lines[kind]
        media_ns = _media_ns(rtp_time, line.rate_hz)
        lag_ns = arrival_ns - media_ns
        elapsed_ns = media_ns - line.media_ns
        if not line.running:
            self._start(line, media_ns, lag_ns, arrival_ns)
        elif lag_ns - line.arrivals.base_ns > STALL_NS:
            if self._has_stalled(line, elapsed_ns, lag_ns, arrival_ns):
                line.stalls += 1
                line.forget_reports()
                self._start(line, media_ns, min(lag_ns, line.late_lag_ns), arrival_ns)
        else:
            line.late_until_ns = 0
            if line.arrivals.add(lag_ns, arrival_ns):
                self._align()
        target_ns = line.target_ns + (self._sound_error_ns(arrival_ns) if kind == "video" else 0)
        if elapsed_ns > 0 and not -TOLERANCE_NS < target_ns - line.offset_ns < TOLERANCE_NS:
            _correct(line, target_ns, media_ns, elapsed_ns)
        time_ns = media_ns + line.offset_ns
        if time_ns > arrival_ns + MAX_EARLY_NS:
            self._pull_back(line, media_ns, lag_ns, arrival_ns)
            time_ns = media_ns + line.offset_ns
        last_ns = line.time_ns
        if last_ns is not None and time_ns <= last_ns:
            time_ns = last_ns + min(max(elapsed_ns, 0), NS_PER_MS)
        if arrival_ns - line.arrival_ns > PATIENCE_NS:
            line.flowing_since_ns = arrival_ns
        line.media_ns = media_ns
        line.arrival_ns = arrival_ns
        line.lag_ns = lag_ns
        line.time_ns = time_ns
        return time_ns

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Take a sender report: its NTP time in ns since any epoch, its RTP time unwrapped as the kind's units are.

        One report alone changes nothing that the reports before it contradict: a jump is believed when arrival
        shows the same (the media clock stood still), or when the next report repeats it (the sender's wall clock
        was set; the other kind's reports are void then, being told by the old clock).
        """
        line = self._lines.get(kind)
        if line is None:
            return
        line.reports += 1
        report_ns = ntp_ns - _media_ns(rtp_time, line.rate_hz)
        if ntp_ns <= 0 or not self._believe(line, report_ns, arrival_ns):
            line.reports_ignored += 1
            return
        line.report_ns = report_ns
        line.report_arrival_ns = arrival_ns
        line.sender_clock_ns = line.arrivals.recent_ns - report_ns if line.running else None
        line.doubtful_ns = None
        self._align()

    def source_changed(self, kind: Kind) -> None:
        """Learn that the next unit of this kind is of a new source: its RTP times have nothing to do with the old."""
        line = self._lines[kind]
        line.source_changes += 1
        line.running = False
        line.forget_reports()
        self._aligned = False

    def sync_source(self, kind: Kind) -> SyncSource:
        """Say what the present placement of this kind against the other rests on."""
        return "SR" if self._aligned and self._lines[kind].report_ns is not None else "arrival"

    def counters(self, kind: Kind) -> dict[str, int]:
        """Give what happened to this kind since the connection's start."""
        line = self._lines[kind]
        return {
            "sender_reports": line.reports,
            "sender_reports_ignored": line.reports_ignored,
            "source_changes": line.source_changes,
            "stalls": line.stalls,
            "rtp_time_jumps": line.jumps,
        }

    def _sound_error_ns(self, now_ns: int) -> int:
        """How far sound that flows stands from its target: the picture goes there with it, slowly, and in sync."""
        audio = self._lines.get("audio")
        if audio is None or not self._aligned or not audio.running or now_ns - audio.arrival_ns > PATIENCE_NS:
            return 0
        return audio.offset_ns - audio.target_ns

    def _start(self, line: _Line, media_ns: int, lag_ns: int, arrival_ns: int) -> None:
        """Begin a run at this arrival; what is known of the kind's delay stays."""
        line.running = True
        line.late_until_ns = 0
        line.arrivals.restart(lag_ns, arrival_ns)
        line.settled_ns = media_ns + line.settling_ns
        self._align()
        line.offset_ns = line.target_ns

    def _pull_back(self, line: _Line, media_ns: int, lag_ns: int, arrival_ns: int) -> None:
        """Place a unit at its arrival that would come long after it.

        Either its RTP time leapt, in one step, and the run is a new one; or a long queue has drained that the base
        had risen with, and both kinds go back together.
        """
        if line.lag_ns - lag_ns > MAX_EARLY_NS:
            line.jumps += 1
            line.forget_reports()
            self._start(line, media_ns, lag_ns, arrival_ns)
            return
        for each in self._lines.values() if self._aligned else (line,):
            each.offset_ns = min(each.offset_ns, each.target_ns)

    def _has_stalled(self, line: _Line, elapsed_ns: int, lag_ns: int, arrival_ns: int) -> bool:
        """Tell a media clock that stood still (or was set back) from a network that delivers late, in a burst.

        Where the other kind flowed on undelayed the network is well. Else lateness must last, and not shrink.
        """
        if line.late_until_ns == 0:
            line.late_until_ns = arrival_ns + PATIENCE_NS
            line.first_late_lag_ns = line.late_lag_ns = lag_ns
        line.late_lag_ns = min(line.late_lag_ns, lag_ns)
        if elapsed_ns < 0:
            return True
        if arrival_ns >= line.late_until_ns:
            if line.first_late_lag_ns - line.late_lag_ns < PATIENCE_NS // 2:
                return True
            line.late_until_ns = 0
        return any(
            other is not line
            and other.running
            and arrival_ns - other.arrival_ns < PATIENCE_NS < arrival_ns - other.flowing_since_ns
            and other.lag_ns - other.arrivals.base_ns < FORWARD_NS
            for other in self._lines.values()
        )

    def _believe(self, line: _Line, report_ns: int, arrival_ns: int) -> bool:
        if line.report_ns is None:
            return True
        jump_ns = report_ns - line.report_ns
        allowed_ns = REPORT_JUMP_NS + (max(arrival_ns - line.report_arrival_ns, 0) >> 11)
        if abs(jump_ns) <= allowed_ns:
            return True
        if line.running and line.sender_clock_ns is not None:
            clock_step_ns = line.arrivals.recent_ns - report_ns - line.sender_clock_ns
            if abs(clock_step_ns) <= abs(jump_ns) // 2:
                self._media_clock_jumped(line, report_ns, arrival_ns)
                return True
        if line.doubtful_ns is None or abs(report_ns - line.doubtful_ns) > allowed_ns:
            line.doubtful_ns = report_ns
            return False
        for other in self._lines.values():
            if other is not line:
                other.forget_reports()
        self._aligned = False
        return True

    def _media_clock_jumped(self, line: _Line, report_ns: int, arrival_ns: int) -> None:
        """Report and arrival agree that media time stood still or leapt: what comes from now on has a new base."""
        line.stalls += 1
        line.arrivals.restart(line.arrivals.recent_ns, arrival_ns)
        line.report_ns = report_ns
        self._align()
        line.offset_ns = max(line.offset_ns, line.target_ns)

    def _align(self) -> None:
        """Set the target of each kind: the base by arrival, less the kind's delay as the reports of both tell it."""
        lines = self._lines
        if len(lines) > 1:
            audio, video = lines["audio"], lines["video"]
            video_delay_ns = _measured_delay(audio, video)
            if video_delay_ns is not None:
                self._aligned = abs(video_delay_ns) <= MAX_DELAY_NS
                if self._aligned:
                    audio.delay_ns = max(-video_delay_ns, 0)
                    video.delay_ns = max(video_delay_ns, 0)
        for line in lines.values():
            line.target_ns = line.arrivals.base_ns - line.delay_ns


def _media_ns(rtp_time: int, rate_hz: int) -> int:
    """Give an RTP time in ns, rounded down, by products that stay within 62 bits: larger ints cost ten times more."""
    return rtp_time // rate_hz * NS_PER_S + rtp_time % rate_hz * NS_PER_S // rate_hz


def _measured_delay(audio: _Line, video: _Line) -> int | None:
    """By how much video arrives after its sound, if both kinds have flowed and reported lately."""
    if audio.report_ns is None or video.report_ns is None or not (audio.running and video.running):
        return None
    ages = (audio.arrival_ns, video.arrival_ns, audio.report_arrival_ns, video.report_arrival_ns)
    if max(ages) - min(ages) > PAIR_AGE_NS:
        return None
    return video.arrivals.base_ns - video.report_ns - (audio.arrivals.base_ns - audio.report_ns)


def _correct(line: _Line, target_ns: int, media_ns: int, elapsed_ns: int) -> None:
    """Move the offset towards a target, as far as the media time that has passed allows.

    A share of the error with a time constant of about 1 s, at most 1/32 of what has passed; over a gap at most 31 ms
    or the drift of 500 ppm, whichever is more; while video settles all of it, up to half of what has passed.
    """
    error_ns = target_ns - line.offset_ns
    if error_ns > FORWARD_NS:
        line.offset_ns = target_ns
        return
    if media_ns < line.settled_ns:
        step_ns, limit_ns = error_ns, elapsed_ns >> 1
    else:
        step_ns = error_ns * min(elapsed_ns, 1 << 30) >> 30
        limit_ns = max(min(elapsed_ns, NS_PER_S) >> 5, elapsed_ns >> 11)
    line.offset_ns += max(-limit_ns, min(step_ns, limit_ns))
