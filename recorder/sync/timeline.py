"""Place the units of both kinds on one clock, ours, by their RTP times and the sender's reports.

For each kind, `time = media time + offset`, where media time is the unwrapped RTP time in ns (`TimeMapping`). The
spacing of units is that of their RTP times; only the offset moves, slowly.

* The base is the smallest "arrival - media time" of the last seconds (`MinimumDelayFilter`).
* A pair of sender reports (RFC 3550 section 6.4.1), one of each kind, shows how much later than the other a kind
  arrives: its `delay`. It is 0 for the kind that arrives first; the other one is moved to it.
* The offset moves towards `base - delay` by at most 1/32 of the passed time (3 ms in 100 ms); in one step only
  forward, and only by more than 1 s or where the sender's media clock stood still.
* Where the base is not known yet, or uncertain, units are held (`PendingUnits`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Frame, Kind
from rokuga.recorder.sync.media_clock import MediaClock
from rokuga.recorder.sync.pending_units import BURST_WINDOW_NS, JITTER_NS, PendingUnits
from rokuga.recorder.sync.report_alignment import ReportAlignment
from rokuga.recorder.sync.time_mapping import SETTLING_NS, TimeMapping

SyncSource = Literal["SR", "arrival"]

MAX_EARLY_NS: Final = 300 * NS_PER_MS
"""RTP time that is ahead of its base by more than this, from one unit to the next, has jumped."""
MAX_AHEAD_NS: Final = 15 * NS_PER_S
"""A unit's time is not further after its arrival than this."""
STALL_NS: Final = 2 * NS_PER_S
"""A later packet was hardly delayed (repair takes 1 s, a pacer 2 s): the sender's media clock may have stopped."""
REORDER_NS: Final = NS_PER_S
"""Pictures sent in decoding order (B-frames) step back by no more than this."""
CAUGHT_UP_NS: Final = 50 * NS_PER_MS
"""A burst is over when its units are no later than this."""
RETURN_NS: Final = NS_PER_S
"""How long an interrupted run is kept."""
TOLERANCE_NS: Final = NS_PER_MS // 4
"""A smaller error is not corrected: a file cannot show it."""


class Timeline:
    """The timeline of one connection. `clock_rates_hz` has the kinds that were negotiated, one or both."""

    __slots__ = ("_mappings", "_reports", "is_holding")

    def __init__(self, clock_rates_hz: Mapping[Kind, int]) -> None:
        self._mappings: dict[Kind, TimeMapping] = {
            kind: TimeMapping(MediaClock(rate_hz), rate_hz, reorders=kind == "video")
            for kind, rate_hz in clock_rates_hz.items()
        }
        self._reports = ReportAlignment(self._mappings)
        self.is_holding = False
        """Whether units may be held, so that a tick has something to do."""

    def push(self, kind: Kind, unit: AccessUnit) -> Sequence[Frame]:
        """Add a unit; return the frames of this kind that can be placed by now.

        Times of one kind grow with RTP time, except for pictures in decoding order.
        """
        mapping = self._mappings[kind]
        arrival_ns, rtp_time, rate_hz = unit.arrival_ns, unit.rtp_time, mapping.rate_hz
        if mapping.is_scaled:
            media_ns = mapping.clock.media_ns(rtp_time)
        else:  # as MediaClock does, without a call for each unit
            media_ns = rtp_time // rate_hz * NS_PER_S + rtp_time % rate_hz * NS_PER_S // rate_hz
        lag_ns = arrival_ns - media_ns
        if mapping.pending is not None:
            return self._hold(kind, mapping, unit, lag_ns)
        elapsed_ns = media_ns - mapping.media_ns
        if (
            elapsed_ns < 0
            or mapping.is_catching_up
            or not -MAX_EARLY_NS <= lag_ns - mapping.arrivals.base_ns <= STALL_NS
        ):
            if not self._continues_run(mapping, media_ns, lag_ns, arrival_ns):
                return self._hold(kind, mapping, unit, lag_ns)
            elapsed_ns = media_ns - mapping.media_ns
        elif mapping.arrivals.add(lag_ns, arrival_ns):
            if arrival_ns >= mapping.measure_ns:
                mapping.follow_rate(rtp_time, lag_ns, arrival_ns)
            self._reports.align()
        target_ns = mapping.target_ns
        if kind == "video":
            target_ns += self._audio_error_ns(arrival_ns)
        if elapsed_ns > 0 and not -TOLERANCE_NS < target_ns - mapping.offset_ns < TOLERANCE_NS:
            mapping.correct(target_ns, media_ns, elapsed_ns)
        time_ns = media_ns + mapping.offset_ns
        if elapsed_ns < 0 and mapping.reorders and elapsed_ns >= -REORDER_NS:
            return (Frame(kind, unit, time_ns),)
        last_ns = mapping.time_ns
        if last_ns is not None and time_ns <= last_ns:
            time_ns = last_ns + min(max(elapsed_ns, 0), NS_PER_MS)
        if lag_ns - mapping.lag_ns > mapping.lag_step_ns:  # noqa: PLR1730  # max() is a call for each unit
            mapping.lag_step_ns = lag_ns - mapping.lag_ns
        mapping.media_ns = media_ns
        mapping.arrival_ns = arrival_ns
        mapping.lag_ns = lag_ns
        mapping.time_ns = time_ns
        return (Frame(kind, unit, time_ns),)

    def tick(self, now_ns: int) -> Sequence[Frame]:
        """Return the frames whose time is known by now."""
        frames: list[Frame] = []
        for kind, mapping in self._mappings.items():
            if mapping.pending is not None and mapping.pending.units:
                frames += self._release_if_known(kind, mapping, mapping.pending, now_ns)
        self.is_holding = bool(self.holding)
        return frames

    def flush(self) -> Sequence[Frame]:
        """Place all held units by what is known."""
        return [frame for kind, mapping in self._mappings.items() for frame in self._flush(kind, mapping)]

    @property
    def holding(self) -> Collection[Kind]:
        """The kinds of which units are held."""
        return [
            kind for kind, mapping in self._mappings.items() if mapping.pending is not None and mapping.pending.units
        ]

    def sender_report(self, kind: Kind, ntp_ns: int, rtp_time: int, arrival_ns: int) -> None:
        """Add a sender report; see `ReportAlignment`."""
        mapping = self._mappings.get(kind)
        if mapping is not None:
            self._reports.add(mapping, ntp_ns, rtp_time, arrival_ns)

    def source_changed(self, kind: Kind) -> Sequence[Frame]:
        """Begin a new source of this kind, with RTP times of its own; return the held frames of the old one."""
        mapping = self._mappings[kind]
        frames = self._flush(kind, mapping)
        mapping.source_changes += 1
        self._reset(mapping)
        return frames

    def sync_source(self, kind: Kind) -> SyncSource:
        """Return by what this kind is aligned with the other one."""
        return "SR" if self._reports.aligned and self._mappings[kind].report_ns is not None else "arrival"

    def counters(self, kind: Kind) -> dict[str, int]:
        """Return the counters of this kind since the connection's start."""
        mapping = self._mappings[kind]
        return {
            "sender_reports": mapping.reports,
            "sender_reports_ignored": mapping.reports_ignored,
            "source_changes": mapping.source_changes,
            "stalls": mapping.stalls,
            "rtp_time_jumps": mapping.jumps,
        }

    def _continues_run(self, mapping: TimeMapping, media_ns: int, lag_ns: int, arrival_ns: int) -> bool:
        """Return whether a unit that is early, late or out of order can be placed at once; if not, it is held."""
        late_ns = lag_ns - mapping.arrivals.base_ns
        back_ns = mapping.media_ns - media_ns
        if arrival_ns - mapping.arrival_ns > mapping.clock.cycle_ns // 2:
            self._reset(mapping)  # so long after the last one an RTP time of 32 bits is ambiguous
            return False
        if back_ns > 0:
            if not mapping.reorders or back_ns > REORDER_NS or late_ns > STALL_NS:
                self._jump(mapping, media_ns, lag_ns, arrival_ns)
            return True
        if late_ns < -MAX_EARLY_NS:
            if mapping.lag_ns - lag_ns > MAX_EARLY_NS or media_ns + mapping.offset_ns > arrival_ns + MAX_AHEAD_NS:
                self._jump(mapping, media_ns, lag_ns, arrival_ns)
                return True
        elif mapping.is_catching_up:
            if not self._is_burst_over(mapping, lag_ns, arrival_ns):
                return True
            late_ns = lag_ns - mapping.arrivals.base_ns
        if late_ns > STALL_NS:
            mapping.pending = PendingUnits(is_late=True)
            return False
        if mapping.arrivals.add(lag_ns, arrival_ns):
            self._reports.align()
        return True

    @staticmethod
    def _is_burst_over(mapping: TimeMapping, lag_ns: int, arrival_ns: int) -> bool:
        """Return whether a burst has caught up, or no longer does. The base is kept."""
        base_ns = mapping.arrivals.base_ns
        if lag_ns - base_ns > CAUGHT_UP_NS:
            if lag_ns <= mapping.burst_lag_ns - JITTER_NS:
                mapping.burst_lag_ns = lag_ns
                mapping.burst_until_ns = arrival_ns + BURST_WINDOW_NS
                return False
            if arrival_ns <= mapping.burst_until_ns:
                return False
        mapping.is_catching_up = False
        mapping.arrivals.restart(base_ns, arrival_ns)
        return True

    def _jump(self, mapping: TimeMapping, media_ns: int, lag_ns: int, arrival_ns: int) -> None:
        """Begin a new run at this arrival, or continue the one that a single wrong RTP time has interrupted."""
        mapping.jumps += 1
        saved = mapping.saved
        if saved is not None and arrival_ns > saved.until_ns:
            saved = mapping.saved = None
        goes_back = (
            saved is not None
            and media_ns >= saved.media_ns
            and -MAX_EARLY_NS <= lag_ns - saved.arrivals.base_ns <= STALL_NS
        )
        if saved is not None and goes_back:
            mapping.restore(saved)
            mapping.saved = None
            mapping.arrivals.add(lag_ns, arrival_ns)
        else:
            interrupted = mapping.save(arrival_ns + RETURN_NS)
            mapping.saved = saved or interrupted
            mapping.reset_reports()
            mapping.restart(lag_ns, arrival_ns)
            mapping.settling_until_ns = media_ns + SETTLING_NS if mapping.reorders else media_ns
        self._reports.align()

    def _reset(self, mapping: TimeMapping) -> None:
        """Treat the next unit as the first one of an unknown run."""
        mapping.pending = PendingUnits()
        mapping.is_running = False
        mapping.saved = None
        mapping.clock.restart()
        mapping.is_scaled = False
        mapping.has_void_reports = False
        mapping.reset_reports()
        self._reports.aligned = False

    def _hold(self, kind: Kind, mapping: TimeMapping, unit: AccessUnit, lag_ns: int) -> Sequence[Frame]:
        """Hold a unit; return the frames that can be placed by its arrival."""
        pending = mapping.pending
        if pending is None:
            return ()
        if pending.is_late and not pending.is_of_run(lag_ns):
            return [*self._flush(kind, mapping), *self.push(kind, unit)]
        pending.add(unit, lag_ns)
        self.is_holding = True
        return self._release_if_known(kind, mapping, pending, unit.arrival_ns)

    def _release_if_known(
        self, kind: Kind, mapping: TimeMapping, pending: PendingUnits, now_ns: int
    ) -> Sequence[Frame]:
        """Place the held units if their times are known."""
        if not pending.is_late:
            if pending.has_settled(now_ns) or pending.is_full:
                return self._release(kind, mapping, pending, is_new_run=True)
        elif pending.catches_up or pending.is_full:
            return self._release(kind, mapping, pending, is_new_run=False)
        elif pending.stays_late(now_ns):
            mapping.stalls += 1
            mapping.reset_reports()
            return self._release(kind, mapping, pending, is_new_run=True)
        return ()

    def _flush(self, kind: Kind, mapping: TimeMapping) -> Sequence[Frame]:
        """Place the held units by what is known: several late units whose lag does not shrink are no burst."""
        pending = mapping.pending
        if pending is None or not pending.units:
            return ()
        is_burst = pending.is_late and (len(pending.units) == 1 or pending.first_ns - pending.least_ns > JITTER_NS)
        return self._release(kind, mapping, pending, is_new_run=not is_burst)

    def _release(
        self, kind: Kind, mapping: TimeMapping, pending: PendingUnits, *, is_new_run: bool
    ) -> Sequence[Frame]:
        """Place the held units: as a new run, or as a burst that catches up with the current one."""
        first = pending.units[0]
        if is_new_run:
            mapping.restart(pending.least_ns, first.arrival_ns)
            mapping.settling_until_ns = mapping.clock.media_ns(first.rtp_time)
            mapping.media_ns = mapping.settling_until_ns - NS_PER_MS  # of a unit before it, at the latest
            mapping.lag_ns, mapping.arrival_ns = pending.first_ns, first.arrival_ns
            self._reports.align()
            mapping.offset_ns = mapping.target_ns
        mapping.pending = None
        mapping.is_catching_up = True
        mapping.burst_lag_ns = pending.first_ns
        mapping.burst_until_ns = first.arrival_ns + BURST_WINDOW_NS
        frames: list[Frame] = []
        for unit in pending.units:
            frames += self.push(kind, unit)
        return frames

    def _audio_error_ns(self, now_ns: int) -> int:
        """Return how far audio that is being sent is from its target: video is moved with it, in sync."""
        audio = self._mappings.get("audio")
        if audio is None or not audio.is_running or not self._reports.aligned:
            return 0
        return audio.queue_error_ns if now_ns - audio.arrival_ns <= BURST_WINDOW_NS else 0
