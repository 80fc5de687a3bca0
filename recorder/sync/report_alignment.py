"""Sender reports (RFC 3550 section 6.4.1): which are accepted, and how much later one kind arrives than the other."""

from collections.abc import Iterable, Mapping
from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from rokuga.recorder.sync.media_clock import UNSCALED
from rokuga.recorder.sync.time_mapping import TimeMapping

MAX_DELAY_NS: Final = 1500 * NS_PER_MS
"""Reports that show a longer delay are of two different clocks and are not used."""
REPORT_JUMP_NS: Final = 40 * NS_PER_MS
"""By how much two reports of one source may disagree, in addition to drift."""
STEADY_NS: Final = 8 * NS_PER_MS
"""Reports of a clock that runs at its rate agree within this, in addition to 500 ppm."""
PAIR_AGE_NS: Final = 30 * NS_PER_S
"""How old a report or a unit of a pair may be; with an older one the delays are not measured again."""


class ReportAlignment:
    """Aligns the kinds by their reports, which are stored in the mappings. `aligned`: a pair of reports is in use."""

    __slots__ = ("_mappings", "aligned")

    def __init__(self, mappings: Mapping[Kind, TimeMapping]) -> None:
        self._mappings = mappings
        self.aligned = False

    def add(self, mapping: TimeMapping, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Add a report: its NTP time in ns since any epoch, its RTP time unwrapped as the kind's units are.

        A report that contradicts the ones before it is accepted if arrival shows the same jump (the media clock stood
        still), or if the next report repeats it (the sender's wall clock was set; the other kind's reports, of the
        old clock, are then discarded).
        """
        mapping.reports += 1
        report_ns = ntp_ns - mapping.clock.media_ns(rtp_time)
        if ntp_ns <= 0 or mapping.has_void_reports or not self._is_accepted(mapping, report_ns, arrival_ns):
            mapping.reports_ignored += 1
            return
        if mapping.report_ns is not None:
            drift_ns = max(arrival_ns - mapping.report_arrival_ns, 0) >> 11
            mapping.has_steady_reports = abs(report_ns - mapping.report_ns) <= STEADY_NS + drift_ns
            # Reports that contradict a measured rate come from a clock that is wrong as well.
            mapping.has_void_reports = mapping.clock.scale != UNSCALED and not mapping.has_steady_reports
        mapping.report_ns = report_ns
        mapping.report_arrival_ns = arrival_ns
        mapping.sender_clock_ns = mapping.arrivals.recent_ns - report_ns if mapping.is_running else None
        mapping.rejected_report_ns = None
        mapping.lag_step_ns = 0
        self.align()

    def align(self) -> None:
        """Set the target of each kind: its base by arrival, minus the delay that the reports of both kinds show."""
        mappings = self._mappings
        if len(mappings) > 1:
            audio, video = mappings["audio"], mappings["video"]
            video_delay_ns = _measured_delay(audio, video)
            if video_delay_ns is not None:
                self.aligned = abs(video_delay_ns) <= MAX_DELAY_NS
                if self.aligned:
                    audio.delay_ns = max(-video_delay_ns, 0)
                    video.delay_ns = max(video_delay_ns, 0)
        for mapping in mappings.values():
            mapping.set_target(mapping.arrivals.base_ns - mapping.delay_ns)

    def _is_accepted(self, mapping: TimeMapping, report_ns: int, arrival_ns: int) -> bool:
        if mapping.report_ns is None:
            return True
        jump_ns = report_ns - mapping.report_ns
        allowed_ns = REPORT_JUMP_NS + (max(arrival_ns - mapping.report_arrival_ns, 0) >> 11)
        if abs(jump_ns) <= allowed_ns:
            return True
        if mapping.is_running and mapping.sender_clock_ns is not None:
            clock_step_ns = mapping.arrivals.recent_ns - report_ns - mapping.sender_clock_ns
            # In one step: what grows from unit to unit is a clock's rate, see clock_rate.py.
            if abs(clock_step_ns) <= abs(jump_ns) // 2 and mapping.lag_step_ns >= abs(jump_ns) // 2:
                self._media_clock_jumped(mapping, report_ns, arrival_ns)
                return True
        if mapping.rejected_report_ns is None or abs(report_ns - mapping.rejected_report_ns) > allowed_ns:
            mapping.rejected_report_ns = report_ns
            return False
        _reset_others(self._mappings.values(), mapping)
        self.aligned = False
        return True

    def _media_clock_jumped(self, mapping: TimeMapping, report_ns: int, arrival_ns: int) -> None:
        """Begin a new base: report and arrival agree that media time stood still or jumped."""
        mapping.stalls += 1
        mapping.arrivals.restart(mapping.arrivals.recent_ns, arrival_ns)
        mapping.report_ns = report_ns
        self.align()
        mapping.offset_ns = max(mapping.offset_ns, mapping.target_ns)


def _reset_others(mappings: Iterable[TimeMapping], mapping: TimeMapping) -> None:
    for other in mappings:
        if other is not mapping:
            other.reset_reports()


def _clock_ns(mapping: TimeMapping, report_ns: int) -> int | None:
    """Return our clock minus the sender's, by this kind's arrivals: now, or at its report if its rate is uncertain.

    None where that is unknown: the report is old, or the lag has grown, by a queue or by a slow clock.
    """
    now_ns = mapping.arrivals.base_ns - report_ns
    if mapping.has_steady_reports or mapping.sender_clock_ns is None:
        return now_ns
    is_old = mapping.arrival_ns - mapping.report_arrival_ns > NS_PER_S
    if is_old or mapping.arrivals.recent_ns - mapping.arrivals.base_ns > STEADY_NS * 4:
        return None
    return now_ns if abs(now_ns - mapping.sender_clock_ns) <= STEADY_NS // 2 else mapping.sender_clock_ns


def _measured_delay(audio: TimeMapping, video: TimeMapping) -> int | None:
    """Return by how much video arrives after its audio, None unless both kinds have sent and reported recently."""
    if audio.report_ns is None or video.report_ns is None or not (audio.is_running and video.is_running):
        return None
    ages = (audio.arrival_ns, video.arrival_ns, audio.report_arrival_ns, video.report_arrival_ns)
    if max(ages) - min(ages) > PAIR_AGE_NS:
        return None
    audio_ns, video_ns = _clock_ns(audio, audio.report_ns), _clock_ns(video, video.report_ns)
    return None if audio_ns is None or video_ns is None else video_ns - audio_ns
