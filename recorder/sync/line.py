"""One kind's line, `time = media time + offset`: where it is, and how its offset moves."""

from dataclasses import dataclass, field
from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S
from rokuga.recorder.sync.arrival import MinimumDelayFilter
from rokuga.recorder.sync.hold import Hold
from rokuga.recorder.sync.media_clock import UNSCALED, MediaClock
from rokuga.recorder.sync.rate import MEASURE_NS, RateMeter

FORWARD_NS: Final = NS_PER_S
"""An offset that is too small by more than this is corrected at once."""
SETTLING_NS: Final = 2 * NS_PER_S
"""Video's first picture is large and arrives late by up to its own length; the pictures after it may close up."""
QUEUE_STEP_NS: Final = 30 * NS_PER_MS
"""A target that moves by as much at once shows a queue that came or went, or a report; not a clock's drift."""


@dataclass(slots=True)
class Saved:
    """A run that was left for another one, until it is sure that it does not go on."""

    arrivals: MinimumDelayFilter
    offset_ns: int
    media_ns: int
    lag_ns: int
    report_ns: int | None
    sender_clock_ns: int | None
    until_ns: int


@dataclass(slots=True)
class Line:
    """One kind. `lag` is arrival minus media time; `report_ns` is NTP minus media time of the last good report.

    `hold` has the units that are not placed yet, None where the next one is placed at once. `excess_ns` is how far
    the offset stands from its target because a queue came or went.
    """

    clock: MediaClock
    rate_hz: int
    reorders: bool
    is_scaled: bool = False
    delay_ns: int = 0
    arrivals: MinimumDelayFilter = field(default_factory=MinimumDelayFilter)
    rate: RateMeter = field(default_factory=RateMeter)
    hold: Hold | None = field(default_factory=Hold)
    saved: Saved | None = None
    running: bool = False
    media_ns: int = 0
    arrival_ns: int = 0
    lag_ns: int = 0
    offset_ns: int = 0
    target_ns: int = 0
    settled_ns: int = 0
    excess_ns: int = 0
    measure_ns: int = 0
    stood_ns: int = 0
    is_catching_up: bool = False
    caught_lag_ns: int = 0
    caught_until_ns: int = 0
    time_ns: int | None = None
    report_ns: int | None = None
    report_arrival_ns: int = 0
    has_steady_reports: bool = False
    has_void_reports: bool = False
    sender_clock_ns: int | None = None
    doubtful_ns: int | None = None
    reports: int = 0
    reports_ignored: int = 0
    source_changes: int = 0
    stalls: int = 0
    jumps: int = 0

    def forget_reports(self) -> None:
        """Have the next report be the first one."""
        self.report_ns = self.sender_clock_ns = self.doubtful_ns = None
        self.has_steady_reports = False

    def restart(self, lag_ns: int, arrival_ns: int) -> None:
        """Begin a run whose base is this lag; what is known of the kind's delay stays."""
        self.running = True
        self.is_catching_up = False
        self.excess_ns = self.stood_ns = 0
        self.measure_ns = arrival_ns + MEASURE_NS
        self.arrivals.restart(lag_ns, arrival_ns)
        if self.report_ns is not None and self.sender_clock_ns is None:
            self.sender_clock_ns = lag_ns - self.report_ns
        self.target_ns = self.offset_ns = lag_ns - self.delay_ns

    def save(self, until_ns: int) -> Saved:
        """Return the present run, to come back to; the next one has its own arrivals."""
        saved = Saved(
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

    def go_back_to(self, saved: Saved) -> None:
        """Go on with a run that was left."""
        self.arrivals, self.offset_ns = saved.arrivals, saved.offset_ns
        self.media_ns, self.lag_ns = saved.media_ns, saved.lag_ns
        self.report_ns, self.sender_clock_ns = saved.report_ns, saved.sender_clock_ns

    def follow_rate(self, rtp_time: int, lag_ns: int, arrival_ns: int) -> None:
        """Measure the clock's rate; follow one that is wrong from this RTP time on."""
        self.measure_ns = arrival_ns + MEASURE_NS
        if not self.rate.looks(self.arrivals.moved_ns):
            return
        ends_ns, lags_ns = self.arrivals.steps()
        slope_ppm = self.rate.slope_ppm(ends_ns, lags_ns, self.has_steady_reports)
        if slope_ppm:
            # Where its reports bear out a rate that arrival does not, the clock that they are told by runs wrong.
            self.has_void_reports = self.has_steady_reports
            self.clock.follow(rtp_time, slope_ppm)
            self.is_scaled = True
            self.arrivals.restart(lag_ns, arrival_ns)
            self.forget_reports()
            self.excess_ns = 0

    def aim(self, target_ns: int) -> None:
        """Set the target; remember how far it leaves the offset behind where it moves in one step."""
        moved_ns = target_ns - self.target_ns
        self.target_ns = target_ns
        if not -QUEUE_STEP_NS < moved_ns < QUEUE_STEP_NS:
            self.excess_ns -= moved_ns

    @property
    def queue_error_ns(self) -> int:
        """How far units stand from their place because a queue came or went; 0 for a clock of a wrong rate."""
        excess_ns = self.excess_ns
        if excess_ns == 0 or self.clock.scale != UNSCALED:
            return 0
        error_ns = self.offset_ns - self.target_ns
        excess_ns = min(excess_ns, max(error_ns, 0)) if excess_ns > 0 else max(excess_ns, min(error_ns, 0))
        self.excess_ns = excess_ns
        return excess_ns

    def correct(self, target_ns: int, media_ns: int, elapsed_ns: int) -> None:
        """Move the offset towards a target, as far as the media time that has passed allows.

        A share of the error with a time constant of about 1 s, at most 1/32 of what has passed; over a gap at most
        31 ms or the drift of 500 ppm, whichever is more; while video settles all of it, up to half of what passed.
        """
        error_ns = target_ns - self.offset_ns
        if error_ns > FORWARD_NS:
            self.offset_ns = target_ns
            return
        if media_ns < self.settled_ns:
            step_ns, limit_ns = error_ns, elapsed_ns >> 1
        else:
            step_ns = error_ns * min(elapsed_ns, 1 << 30) >> 30
            limit_ns = max(min(elapsed_ns, NS_PER_S) >> 5, elapsed_ns >> 11)
        self.offset_ns += max(-limit_ns, min(step_ns, limit_ns))
