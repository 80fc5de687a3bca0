"""Sender reports (RFC 3550 section 6.4.1): which to believe, and how much later one kind arrives than the other."""

from collections.abc import Iterable, Mapping
from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.sync.line import Line
from rokuga.recorder.sync.media_clock import UNSCALED

MAX_DELAY_NS: Final = 1500 * NS_PER_MS
"""Sender reports that tell of more are about two different clocks and are not used."""
REPORT_JUMP_NS: Final = 40 * NS_PER_MS
"""By how much two reports of one source may disagree, beside drift."""
STEADY_NS: Final = 8 * NS_PER_MS
"""Reports of a clock that runs at its rate agree within this, beside 500 ppm."""
PAIR_AGE_NS: Final = 30 * NS_PER_S
"""A pair of reports is used while both kinds flow and report; else the delays stay as they are, whatever drifts."""


class Reports:
    """The reports of all kinds, kept in their lines. `aligned` says whether the delays rest on a pair of them."""

    __slots__ = ("_lines", "aligned")

    def __init__(self, lines: Mapping[Kind, Line]) -> None:
        self._lines = lines
        self.aligned = False

    def add(self, line: Line, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Take a report: its NTP time in ns since any epoch, its RTP time unwrapped as the kind's units are.

        One report alone changes nothing that the reports before it contradict: a jump is believed when arrival
        shows the same (the media clock stood still), or when the next report repeats it (the sender's wall clock
        was set; the other kind's reports are void then, being told by the old clock).
        """
        line.reports += 1
        report_ns = ntp_ns - line.clock.media_ns(rtp_time)
        if ntp_ns <= 0 or line.has_void_reports or not self._believe(line, report_ns, arrival_ns):
            line.reports_ignored += 1
            return
        if line.report_ns is not None:
            drift_ns = max(arrival_ns - line.report_arrival_ns, 0) >> 11
            line.has_steady_reports = abs(report_ns - line.report_ns) <= STEADY_NS + drift_ns
            # A measured rate that its reports contradict: the clock that they are told by runs wrong, too.
            line.has_void_reports = line.clock.scale != UNSCALED and not line.has_steady_reports
        line.report_ns = report_ns
        line.report_arrival_ns = arrival_ns
        line.sender_clock_ns = line.arrivals.recent_ns - report_ns if line.running else None
        line.doubtful_ns = None
        line.stood_ns = 0
        self.align()

    def align(self) -> None:
        """Set the target of each kind: the base by arrival, less the kind's delay as the reports of both tell it."""
        lines = self._lines
        if len(lines) > 1:
            audio, video = lines["audio"], lines["video"]
            video_delay_ns = _measured_delay(audio, video)
            if video_delay_ns is not None:
                self.aligned = abs(video_delay_ns) <= MAX_DELAY_NS
                if self.aligned:
                    audio.delay_ns = max(-video_delay_ns, 0)
                    video.delay_ns = max(video_delay_ns, 0)
        for line in lines.values():
            line.aim(line.arrivals.base_ns - line.delay_ns)

    def _believe(self, line: Line, report_ns: int, arrival_ns: int) -> bool:
        if line.report_ns is None:
            return True
        jump_ns = report_ns - line.report_ns
        allowed_ns = REPORT_JUMP_NS + (max(arrival_ns - line.report_arrival_ns, 0) >> 11)
        if abs(jump_ns) <= allowed_ns:
            return True
        if line.running and line.sender_clock_ns is not None:
            clock_step_ns = line.arrivals.recent_ns - report_ns - line.sender_clock_ns
            # In one step: what grows from unit to unit is a clock's rate, see rate.py.
            if abs(clock_step_ns) <= abs(jump_ns) // 2 and line.stood_ns >= abs(jump_ns) // 2:
                self._media_clock_jumped(line, report_ns, arrival_ns)
                return True
        if line.doubtful_ns is None or abs(report_ns - line.doubtful_ns) > allowed_ns:
            line.doubtful_ns = report_ns
            return False
        _forget_others(self._lines.values(), line)
        self.aligned = False
        return True

    def _media_clock_jumped(self, line: Line, report_ns: int, arrival_ns: int) -> None:
        """Report and arrival agree that media time stood still or leapt: what comes from now on has a new base."""
        line.stalls += 1
        line.arrivals.restart(line.arrivals.recent_ns, arrival_ns)
        line.report_ns = report_ns
        self.align()
        line.offset_ns = max(line.offset_ns, line.target_ns)


def _forget_others(lines: Iterable[Line], line: Line) -> None:
    for other in lines:
        if other is not line:
            other.forget_reports()


def _clock_ns(line: Line, report_ns: int) -> int | None:
    """Return our clock minus the sender's, as this kind arrives: now, or where its rate is in doubt at its report.

    None where that cannot be told: the report is old, or its units came ever later, by a queue or by a slow clock.
    """
    now_ns = line.arrivals.base_ns - report_ns
    if line.has_steady_reports or line.sender_clock_ns is None:
        return now_ns
    is_old = line.arrival_ns - line.report_arrival_ns > NS_PER_S
    if is_old or line.arrivals.recent_ns - line.arrivals.base_ns > STEADY_NS * 4:
        return None
    return now_ns if abs(now_ns - line.sender_clock_ns) <= STEADY_NS // 2 else line.sender_clock_ns


def _measured_delay(audio: Line, video: Line) -> int | None:
    """By how much video arrives after its sound, if both kinds have flowed and reported lately."""
    if audio.report_ns is None or video.report_ns is None or not (audio.running and video.running):
        return None
    ages = (audio.arrival_ns, video.arrival_ns, audio.report_arrival_ns, video.report_arrival_ns)
    if max(ages) - min(ages) > PAIR_AGE_NS:
        return None
    audio_ns, video_ns = _clock_ns(audio, audio.report_ns), _clock_ns(video, video.report_ns)
    return None if audio_ns is None or video_ns is None else video_ns - audio_ns
