"""Units of one kind that are held until their time is known.

* The units of a new run are held for a second: the packets at the head of a queue that is flushed are late, and only
  those at its end show the true delay.
* A unit that arrives more than 2 s late may be the first of a burst that catches up, or of a media clock that stood
  still. Units are held for 0.3 s to find out which.
"""

from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit

LOOK_AHEAD_NS: Final = NS_PER_S
"""How long the first units of a run are held."""
MAX_LOOK_AHEAD_NS: Final = 2 * NS_PER_S
"""The same while the run's delay still shrinks."""
SETTLED_NS: Final = 250 * NS_PER_MS
"""A delay that has not shrunk for this long is the true one."""
JITTER_NS: Final = 20 * NS_PER_MS
"""A smaller change of the delay is jitter."""
BURST_WINDOW_NS: Final = 300 * NS_PER_MS
"""How long late units are held: within this time those of a burst catch up."""
STEP_NS: Final = 2 * NS_PER_S
"""The lags of two successive units of one run differ by less than this."""
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_UNITS: Final = 4000
"""Limits of what is held: 64 Mbit/s, or a queue of 26 s of audio and 60 pictures a second."""


class PendingUnits:
    """Held units and what their arrivals show. A lag is arrival minus media time in ns.

    `is_late`: the run is known, and its units arrive late. `first_ns` and `least_ns` are the first and the least lag.
    """

    __slots__ = ("_bytes", "_fell_ns", "_lag_ns", "first_ns", "is_late", "least_ns", "since_ns", "units")

    def __init__(self, is_late: bool = False) -> None:
        self.is_late = is_late
        self.units: list[AccessUnit] = []
        self._bytes = 0
        self.since_ns = self.first_ns = self.least_ns = self._lag_ns = self._fell_ns = 0

    def is_of_run(self, lag_ns: int) -> bool:
        """Return whether a lag belongs to the run of the held units."""
        return not self.units or abs(lag_ns - self._lag_ns) <= STEP_NS

    def add(self, unit: AccessUnit, lag_ns: int) -> None:
        """Append a unit; the lag of one of another run (a single wrong RTP time, a new base) is not used."""
        if not self.units:
            self.since_ns = self._fell_ns = unit.arrival_ns
            self.first_ns = self.least_ns = lag_ns
        elif not self.is_of_run(lag_ns):
            lag_ns = self._lag_ns
        self._lag_ns = lag_ns
        if lag_ns < self.least_ns - JITTER_NS:
            self._fell_ns = unit.arrival_ns
        self.least_ns = min(self.least_ns, lag_ns)
        self.units.append(unit)
        self._bytes += len(unit.data)

    @property
    def is_full(self) -> bool:
        """Whether a limit is exceeded."""
        return self._bytes > MAX_BYTES or len(self.units) > MAX_UNITS

    def has_settled(self, now_ns: int) -> bool:
        """Return whether the least lag is about the run's true delay."""
        passed_ns = now_ns - self.since_ns
        return passed_ns >= LOOK_AHEAD_NS and (now_ns - self._fell_ns >= SETTLED_NS or passed_ns >= MAX_LOOK_AHEAD_NS)

    @property
    def catches_up(self) -> bool:
        """Whether the lag has shrunk as only that of a burst does."""
        return self.first_ns - self.least_ns >= BURST_WINDOW_NS // 2

    def stays_late(self, now_ns: int) -> bool:
        """Return whether the units have been late for too long to be a burst."""
        return now_ns - self.since_ns >= BURST_WINDOW_NS
