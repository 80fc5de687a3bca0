"""From RTP times and sender reports to one clock: ours. Units in, frames out.

Each kind is a line: `time = media time + offset`, where media time is the unwrapped RTP time in ns. The spacing of
units is that of their RTP times; only the offset moves, and it moves slowly.

* Arrival gives the base: the smallest "arrival - media time" of the last seconds (`MinimumDelayFilter`).
* Two sender reports (RFC 3550 section 6.4.1), one of each kind, say how much later than its counterpart a kind
  arrives: its `delay`. The kind that arrives first has none, so it stays at its arrival and the other is moved to it.
* The offset goes towards `base - delay`: by at most 1/32 of the time that passes (3 ms in 100 ms); at once only
  forward, and only by more than 1 s or where the sender's media clock stood still.
* Where a base is not known yet, or in doubt, units are held until it is (`Hold`).

The README of this folder has the picture.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Frame, Kind
from rokuga.recorder.sync.hold import PATIENCE_NS, SHRINKS_NS, Hold
from rokuga.recorder.sync.line import SETTLING_NS, Line
from rokuga.recorder.sync.media_clock import MediaClock
from rokuga.recorder.sync.reports import Reports

SyncSource = Literal["SR", "arrival"]

MAX_EARLY_NS: Final = 300 * NS_PER_MS
"""RTP time that leaves its base behind by more than this, from one unit to the next, has jumped."""
MAX_AHEAD_NS: Final = 15 * NS_PER_S
"""No time is further after its unit's arrival: an RTP time that runs away is no clock."""
STALL_NS: Final = 2 * NS_PER_S
"""A packet this late was hardly delayed (repair takes 1 s, a pacer 2 s): the sender's media clock may have stood."""
REORDER_NS: Final = NS_PER_S
"""Pictures sent in decoding order (B-frames) step back by no more than this."""
CAUGHT_UP_NS: Final = 50 * NS_PER_MS
"""A burst is over once its units are no later than this."""
COMES_BACK_NS: Final = NS_PER_S
"""A base that was left goes on within this time, or never."""
TOLERANCE_NS: Final = NS_PER_MS // 4
"""What a file cannot show is not corrected: it would only cost time, at every unit."""


class Timeline:
    """The timeline of one connection. `clock_rates_hz` has the kinds that were negotiated, one or both."""

    __slots__ = ("_lines", "_reports", "is_holding")

    def __init__(self, clock_rates_hz: Mapping[Kind, int]) -> None:
        self._lines: dict[Kind, Line] = {
            kind: Line(MediaClock(rate_hz), rate_hz, reorders=kind == "video")
            for kind, rate_hz in clock_rates_hz.items()
        }
        self._reports = Reports(self._lines)
        self.is_holding = False
        """Whether units may be held, so that a tick has something to do."""

    def push(self, kind: Kind, unit: AccessUnit) -> Sequence[Frame]:
        """Place a unit on the clock of its arrival; return the frames of this kind that can be placed by now.

        Times of one kind go up with RTP time, but where pictures come in decoding order.
        """
        line = self._lines[kind]
        arrival_ns, rtp_time, rate_hz = unit.arrival_ns, unit.rtp_time, line.rate_hz
        if line.is_scaled:
            media_ns = line.clock.media_ns(rtp_time)
        else:  # as MediaClock does, without a call for each unit
            media_ns = rtp_time // rate_hz * NS_PER_S + rtp_time % rate_hz * NS_PER_S // rate_hz
        lag_ns = arrival_ns - media_ns
        if line.hold is not None:
            return self._hold(kind, line, unit, lag_ns)
        elapsed_ns = media_ns - line.media_ns
        if elapsed_ns < 0 or line.is_catching_up or not -MAX_EARLY_NS <= lag_ns - line.arrivals.base_ns <= STALL_NS:
            if not self._goes_on(line, media_ns, lag_ns, arrival_ns):
                return self._hold(kind, line, unit, lag_ns)
            elapsed_ns = media_ns - line.media_ns
        elif line.arrivals.add(lag_ns, arrival_ns):
            if arrival_ns >= line.measure_ns:
                line.follow_rate(rtp_time, lag_ns, arrival_ns)
            self._reports.align()
        target_ns = line.target_ns
        if kind == "video":
            target_ns += self._sound_error_ns(arrival_ns)
        if elapsed_ns > 0 and not -TOLERANCE_NS < target_ns - line.offset_ns < TOLERANCE_NS:
            line.correct(target_ns, media_ns, elapsed_ns)
        time_ns = media_ns + line.offset_ns
        if elapsed_ns < 0 and line.reorders and elapsed_ns >= -REORDER_NS:
            return (Frame(kind, unit, time_ns),)
        last_ns = line.time_ns
        if last_ns is not None and time_ns <= last_ns:
            time_ns = last_ns + min(max(elapsed_ns, 0), NS_PER_MS)
        if lag_ns - line.lag_ns > line.stood_ns:  # noqa: PLR1730  # max() is a call for each unit
            line.stood_ns = lag_ns - line.lag_ns
        line.media_ns = media_ns
        line.arrival_ns = arrival_ns
        line.lag_ns = lag_ns
        line.time_ns = time_ns
        return (Frame(kind, unit, time_ns),)

    def tick(self, now_ns: int) -> Sequence[Frame]:
        """Return the frames whose place is known by now."""
        frames: list[Frame] = []
        for kind, line in self._lines.items():
            if line.hold is not None and line.hold.units:
                frames += self._settle(kind, line, line.hold, now_ns)
        self.is_holding = bool(self.holding)
        return frames

    def flush(self) -> Sequence[Frame]:
        """Place all units that are held, by what is known."""
        return [frame for kind, line in self._lines.items() for frame in self._flush(kind, line)]

    @property
    def holding(self) -> Collection[Kind]:
        """The kinds of which units are held."""
        return [kind for kind, line in self._lines.items() if line.hold is not None and line.hold.units]

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Take a sender report; see `Reports`."""
        line = self._lines.get(kind)
        if line is not None:
            self._reports.add(line, ntp_ns, rtp_time, arrival_ns)

    def source_changed(self, kind: Kind) -> Sequence[Frame]:
        """Learn that the next unit of this kind is of a new source; return what is left of the old one.

        The RTP times of the two have nothing to do with each other.
        """
        line = self._lines[kind]
        frames = self._flush(kind, line)
        line.source_changes += 1
        self._begin_anew(line)
        return frames

    def sync_source(self, kind: Kind) -> SyncSource:
        """Say what the present placement of this kind against the other rests on."""
        return "SR" if self._reports.aligned and self._lines[kind].report_ns is not None else "arrival"

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

    def _goes_on(self, line: Line, media_ns: int, lag_ns: int, arrival_ns: int) -> bool:
        """Look at a unit that is not just the next one of its run; False where it is to be held."""
        late_ns = lag_ns - line.arrivals.base_ns
        back_ns = line.media_ns - media_ns
        if arrival_ns - line.arrival_ns > line.clock.cycle_ns // 2:
            self._begin_anew(line)  # so long after the last one an RTP time of 32 bits tells nothing
            return False
        if back_ns > 0:
            if not line.reorders or back_ns > REORDER_NS or late_ns > STALL_NS:
                self._jump(line, media_ns, lag_ns, arrival_ns)
            return True
        if late_ns < -MAX_EARLY_NS:
            if line.lag_ns - lag_ns > MAX_EARLY_NS or media_ns + line.offset_ns > arrival_ns + MAX_AHEAD_NS:
                self._jump(line, media_ns, lag_ns, arrival_ns)
                return True
        elif line.is_catching_up:
            if not self._has_caught_up(line, lag_ns, arrival_ns):
                return True
            late_ns = lag_ns - line.arrivals.base_ns
        if late_ns > STALL_NS:
            line.hold = Hold(is_late=True)
            return False
        if line.arrivals.add(lag_ns, arrival_ns):
            self._reports.align()
        return True

    @staticmethod
    def _has_caught_up(line: Line, lag_ns: int, arrival_ns: int) -> bool:
        """Follow a burst that catches up; True once it has, or does not any more. The base stays what it was."""
        base_ns = line.arrivals.base_ns
        if lag_ns - base_ns > CAUGHT_UP_NS:
            if lag_ns <= line.caught_lag_ns - SHRINKS_NS:
                line.caught_lag_ns = lag_ns
                line.caught_until_ns = arrival_ns + PATIENCE_NS
                return False
            if arrival_ns <= line.caught_until_ns:
                return False
        line.is_catching_up = False
        line.arrivals.restart(base_ns, arrival_ns)
        return True

    def _jump(self, line: Line, media_ns: int, lag_ns: int, arrival_ns: int) -> None:
        """Begin a new run at this arrival, or go back to the one that a lone odd RTP time has interrupted."""
        line.jumps += 1
        saved = line.saved
        if saved is not None and arrival_ns > saved.until_ns:
            saved = line.saved = None
        goes_back = (
            saved is not None
            and media_ns >= saved.media_ns
            and -MAX_EARLY_NS <= lag_ns - saved.arrivals.base_ns <= STALL_NS
        )
        if saved is not None and goes_back:
            line.go_back_to(saved)
            line.saved = None
            line.arrivals.add(lag_ns, arrival_ns)
        else:
            left = line.save(arrival_ns + COMES_BACK_NS)
            line.saved = saved or left
            line.forget_reports()
            line.restart(lag_ns, arrival_ns)
            line.settled_ns = media_ns + SETTLING_NS if line.reorders else media_ns
        self._reports.align()

    def _begin_anew(self, line: Line) -> None:
        """Have the next unit be the first of a run of which nothing is known."""
        line.hold = Hold()
        line.running = False
        line.saved = None
        line.clock.restart()
        line.is_scaled = False
        line.has_void_reports = False
        line.forget_reports()
        self._reports.aligned = False

    def _hold(self, kind: Kind, line: Line, unit: AccessUnit, lag_ns: int) -> Sequence[Frame]:
        """Hold a unit; return what its arrival has settled."""
        hold = line.hold
        if hold is None:
            return ()
        if hold.is_late and not hold.is_of_run(lag_ns):
            return [*self._flush(kind, line), *self.push(kind, unit)]
        hold.add(unit, lag_ns)
        self.is_holding = True
        return self._settle(kind, line, hold, unit.arrival_ns)

    def _settle(self, kind: Kind, line: Line, hold: Hold, now_ns: int) -> Sequence[Frame]:
        """Place what is held if it is known where."""
        if not hold.is_late:
            if hold.has_settled(now_ns) or hold.is_full:
                return self._release(kind, line, hold, is_new_run=True)
        elif hold.catches_up or hold.is_full:
            return self._release(kind, line, hold, is_new_run=False)
        elif hold.stays_late(now_ns):
            line.stalls += 1
            line.forget_reports()
            return self._release(kind, line, hold, is_new_run=True)
        return ()

    def _flush(self, kind: Kind, line: Line) -> Sequence[Frame]:
        """Place what is held, by what is known: several late units that do not come closer are no burst."""
        hold = line.hold
        if hold is None or not hold.units:
            return ()
        is_burst = hold.is_late and (len(hold.units) == 1 or hold.first_ns - hold.least_ns > SHRINKS_NS)
        return self._release(kind, line, hold, is_new_run=not is_burst)

    def _release(self, kind: Kind, line: Line, hold: Hold, *, is_new_run: bool) -> Sequence[Frame]:
        """Place what was held: as a run of its own, or as the burst that catches up with the present one."""
        first = hold.units[0]
        if is_new_run:
            line.restart(hold.least_ns, first.arrival_ns)
            line.settled_ns = line.clock.media_ns(first.rtp_time)
            line.media_ns = line.settled_ns - NS_PER_MS  # what precedes it is at least so long before it
            line.lag_ns, line.arrival_ns = hold.first_ns, first.arrival_ns
            self._reports.align()
            line.offset_ns = line.target_ns
        line.hold = None
        line.is_catching_up = True
        line.caught_lag_ns = hold.first_ns
        line.caught_until_ns = first.arrival_ns + PATIENCE_NS
        frames: list[Frame] = []
        for unit in hold.units:
            frames += self.push(kind, unit)
        return frames

    def _sound_error_ns(self, now_ns: int) -> int:
        """How far sound that flows stands from its target: the picture goes there with it, slowly, and in sync."""
        audio = self._lines.get("audio")
        if audio is None or not self._reports.aligned or not audio.running or now_ns - audio.arrival_ns > PATIENCE_NS:
            return 0
        return audio.queue_error_ns
