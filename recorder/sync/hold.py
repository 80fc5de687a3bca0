"""Units of one kind that wait until it is known where they belong in time.

* A run that begins is looked at for a second before its first unit is placed: the packets at the head of a queue that
  is flushed are late, only those at its end show the true delay.
* A unit that comes more than 2 s late may be the first of a burst that catches up, or of a media clock that stood
  still. 0.3 s of units show which.
"""

from typing import Final

from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit

LOOK_AHEAD_NS: Final = NS_PER_S
"""So long a run that begins is looked at."""
MAX_LOOK_AHEAD_NS: Final = 2 * NS_PER_S
"""And no longer than this, where its delay still shrinks."""
SETTLED_NS: Final = 250 * NS_PER_MS
"""A delay that has not shrunk for so long is the true one."""
SHRINKS_NS: Final = 20 * NS_PER_MS
"""What jitter may be."""
PATIENCE_NS: Final = 300 * NS_PER_MS
"""How long late units are looked at: those of a network's burst catch up."""
STEP_NS: Final = 2 * NS_PER_S
"""Lags of one run differ by less from one unit to the next."""
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_UNITS: Final = 4000
"""A hold that is full ends: 64 Mbit/s, or a queue of 26 s of sound and 60 pictures a second."""


class Hold:
    """Units and what their arrivals show. A lag is arrival minus media time in ns.

    `is_late`: the run is known, its units come late. `least_ns` is the least lag of the first run in here.
    """

    __slots__ = ("_bytes", "_fell_ns", "_lag_ns", "first_ns", "is_late", "least_ns", "since_ns", "units")

    def __init__(self, is_late: bool = False) -> None:
        self.is_late = is_late
        self.units: list[AccessUnit] = []
        self._bytes = 0
        self.since_ns = self.first_ns = self.least_ns = self._lag_ns = self._fell_ns = 0

    def is_of_run(self, lag_ns: int) -> bool:
        """Return whether a lag belongs to the run of the units in here."""
        return not self.units or abs(lag_ns - self._lag_ns) <= STEP_NS

    def add(self, unit: AccessUnit, lag_ns: int) -> None:
        """Append a unit; one of another run (a lone odd RTP time, a new base) does not count."""
        if not self.units:
            self.since_ns = self._fell_ns = unit.arrival_ns
            self.first_ns = self.least_ns = lag_ns
        elif not self.is_of_run(lag_ns):
            lag_ns = self._lag_ns
        self._lag_ns = lag_ns
        if lag_ns < self.least_ns - SHRINKS_NS:
            self._fell_ns = unit.arrival_ns
        self.least_ns = min(self.least_ns, lag_ns)
        self.units.append(unit)
        self._bytes += len(unit.data)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be held."""
        return self._bytes > MAX_BYTES or len(self.units) > MAX_UNITS

    def has_settled(self, now_ns: int) -> bool:
        """Return whether the least lag is the run's true delay, or nearly."""
        passed_ns = now_ns - self.since_ns
        return passed_ns >= LOOK_AHEAD_NS and (now_ns - self._fell_ns >= SETTLED_NS or passed_ns >= MAX_LOOK_AHEAD_NS)

    @property
    def catches_up(self) -> bool:
        """Whether lateness has shrunk as only a burst's does."""
        return self.first_ns - self.least_ns >= PATIENCE_NS // 2

    def stays_late(self, now_ns: int) -> bool:
        """Return whether lateness has lasted for too long to be a burst's."""
        return now_ns - self.since_ns >= PATIENCE_NS
