"""The mapping of one kind's media time to our clock, `time = media time + offset`, and how its offset moves."""

from dataclasses import dataclass, field
from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.recorder.sync.clock_rate import MEASURE_NS, ClockRateEstimator
from rokuga.recorder.sync.media_clock import UNSCALED, MediaClock
from rokuga.recorder.sync.minimum_delay import MinimumDelayFilter
from rokuga.recorder.sync.pending_units import PendingUnits

FORWARD_NS: Final = NS_PER_S
"""An offset that is too small by more than this is corrected in one step."""
SETTLING_NS: Final = 2 * NS_PER_S
"""How long video is corrected faster at its begin: its first picture is large and arrives late."""
QUEUE_STEP_NS: Final = 30 * NS_PER_MS
"""A target that moves by this in one step shows a queue that grew or drained, or a report; not a clock's drift."""


@dataclass(slots=True)
class SavedRun:
    """A run that another one has interrupted, kept until `until_ns` in case it continues."""

    arrivals: MinimumDelayFilter
    offset_ns: int
    media_ns: int
    lag_ns: int
    report_ns: int | None
    sender_clock_ns: int | None
    until_ns: int


@dataclass(slots=True)
class TimeMapping:
    """The state of one kind. `lag` is arrival minus media time.

    `pending` has the units that are not placed yet, None where the next one is placed at once. `report_ns` is NTP
    minus media time of the last accepted sender report, `rejected_report_ns` that of the last one that was not.
    `lag_step_ns` is the largest growth of the lag from one unit to the next since the last report. `queue_excess_ns`
    is the part of the offset's error that a queue caused.
    """

    clock: MediaClock
    rate_hz: int
    reorders: bool
    is_scaled: bool = False
    delay_ns: int = 0
    arrivals: MinimumDelayFilter = field(default_factory=MinimumDelayFilter)
    rate: ClockRateEstimator = field(default_factory=ClockRateEstimator)
    pending: PendingUnits | None = field(default_factory=PendingUnits)
    saved: SavedRun | None = None
    is_running: bool = False
    media_ns: int = 0
    arrival_ns: int = 0
    lag_ns: int = 0
    offset_ns: int = 0
    target_ns: int = 0
    settling_until_ns: int = 0
    queue_excess_ns: int = 0
    measure_ns: int = 0
    lag_step_ns: int = 0
    is_catching_up: bool = False
    burst_lag_ns: int = 0
    burst_until_ns: int = 0
    time_ns: int | None = None
    report_ns: int | None = None
    report_arrival_ns: int = 0
    has_steady_reports: bool = False
    has_void_reports: bool = False
    sender_clock_ns: int | None = None
    rejected_report_ns: int | None = None
    reports: int = 0
    reports_ignored: int = 0
    source_changes: int = 0
    stalls: int = 0
    jumps: int = 0

    def reset_reports(self) -> None:
        """Treat the next report as the first one."""
        self.report_ns = self.sender_clock_ns = self.rejected_report_ns = None
        self.has_steady_reports = False

    def restart(self, lag_ns: int, arrival_ns: int) -> None:
        """Begin a run whose base is this lag; the kind's measured delay is kept."""
        self.is_running = True
        self.is_catching_up = False
        self.queue_excess_ns = self.lag_step_ns = 0
        self.measure_ns = arrival_ns + MEASURE_NS
        self.arrivals.restart(lag_ns, arrival_ns)
        if self.report_ns is not None and self.sender_clock_ns is None:
            self.sender_clock_ns = lag_ns - self.report_ns
        self.target_ns = self.offset_ns = lag_ns - self.delay_ns

    def save(self, until_ns: int) -> SavedRun:
        """Return the current run, for `restore`; the next one gets a minimum-delay filter of its own."""
        saved = SavedRun(
            self.arrivals,
            self.offset_ns,
            self.media_ns,
            self.lag_ns,
            self.report_ns,
            self.sender_clock_ns,
            until_ns,
        )
        self.arrivals = MinimumDelayFilter()
        return saved

    def restore(self, saved: SavedRun) -> None:
        """Continue a run that `save` returned."""
        self.arrivals, self.offset_ns = saved.arrivals, saved.offset_ns
        self.media_ns, self.lag_ns = saved.media_ns, saved.lag_ns
        self.report_ns, self.sender_clock_ns = saved.report_ns, saved.sender_clock_ns

    def follow_rate(self, rtp_time: int, lag_ns: int, arrival_ns: int) -> None:
        """Measure the clock's rate; scale media time from this RTP time on if it is wrong."""
        self.measure_ns = arrival_ns + MEASURE_NS
        if not self.rate.is_significant(self.arrivals.moved_ns):
            return
        ends_ns, lags_ns = self.arrivals.steps()
        slope_ppm = self.rate.slope_ppm(ends_ns, lags_ns, self.has_steady_reports)
        if slope_ppm:
            # Reports that confirm a rate which arrival contradicts come from a clock that is wrong as well.
            self.has_void_reports = self.has_steady_reports
            self.clock.follow(rtp_time, slope_ppm)
            self.is_scaled = True
            self.arrivals.restart(lag_ns, arrival_ns)
            self.reset_reports()
            self.queue_excess_ns = 0

    def set_target(self, target_ns: int) -> None:
        """Set the target; a move in one step is added to the error that a queue caused."""
        moved_ns = target_ns - self.target_ns
        self.target_ns = target_ns
        if not -QUEUE_STEP_NS < moved_ns < QUEUE_STEP_NS:
            self.queue_excess_ns -= moved_ns

    @property
    def queue_error_ns(self) -> int:
        """The part of the offset's error that a queue caused; 0 for a clock of a wrong rate."""
        excess_ns = self.queue_excess_ns
        if excess_ns == 0 or self.clock.scale != UNSCALED:
            return 0
        error_ns = self.offset_ns - self.target_ns
        excess_ns = min(excess_ns, max(error_ns, 0)) if excess_ns > 0 else max(excess_ns, min(error_ns, 0))
        self.queue_excess_ns = excess_ns
        return excess_ns

    def correct(self, target_ns: int, media_ns: int, elapsed_ns: int) -> None:
        """Move the offset towards a target, by a step that the passed media time limits.

        The error is corrected with a time constant of about 1 s, by at most 1/32 of the passed time; over a gap by at
        most 31 ms or 500 ppm, whichever is more; after video's first picture at once, by up to half the passed time.
        """
        error_ns = target_ns - self.offset_ns
        if error_ns > FORWARD_NS:
            self.offset_ns = target_ns
            return
        if media_ns < self.settling_until_ns:
            step_ns, limit_ns = error_ns, elapsed_ns >> 1
        else:
            step_ns = error_ns * min(elapsed_ns, 1 << 30) >> 30
            limit_ns = max(min(elapsed_ns, NS_PER_S) >> 5, elapsed_ns >> 11)
        self.offset_ns += max(-limit_ns, min(step_ns, limit_ns))
