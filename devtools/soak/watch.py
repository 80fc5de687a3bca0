"""What the processes cost, second by second, and whether memory stays flat."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import linear_regression, mean, median
from typing import Final

WARM_S: Final = 300
"""A daemon's memory is looked at from so long after its start on."""
LEAST_MINUTES: Final = 2
MAX_CHANGE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Usage:
    """A process's CPU seconds so far and its resident megabytes."""

    cpu_s: float
    resident_mb: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One second of the soak. `life` counts the daemons, `lag_ms` is its event loop's, `answer_ms` its API's."""

    at_s: float
    life: int
    life_s: float
    publishers: int
    cpu_share: float
    resident_mb: float
    lag_ms: float
    answer_ms: float
    packets: int
    dropped: int
    retransmissions: int
    kernel_drops: int

    @property
    def cpu_ms(self) -> float:
        """CPU ms per publisher and second."""
        return self.cpu_share * 1000 / self.publishers if self.publishers else 0.0


def loop_lag_ms(metrics: str) -> float:
    """Read how late the event loop was last from what /metrics tells. Raises ValueError where it does not."""
    found = re.search(r"^rokuga_event_loop_lag_seconds (\S+)$", metrics, re.MULTILINE)
    if found is None:
        raise ValueError("/metrics does not tell of the event loop")
    return float(found[1]) * 1000


def usage(pid: int) -> Usage:
    """Read /proc. Raises OSError for a process that is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def kernel_drops(port: int) -> int:
    """Count the datagrams that the kernel dropped at a UDP port."""
    rows = [row.split() for name in ("udp", "udp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port)


@dataclass(frozen=True, slots=True)
class Flatness:
    """One daemon's memory after its first minutes, by the median of each minute; shares are of the mean.

    `deviation` is that of the minute which is farthest from the mean, `rise` what the least-squares line through the
    minutes climbs from the first to the last. The first alone would let a leak pass that climbs by twice the limit,
    half of it below the mean; the ratio of the last minute to the first would hang on two minutes of many.
    """

    life: int
    minutes: int
    mean_mb: float
    first_mb: float
    last_mb: float
    deviation: float
    rise: float

    @property
    def is_flat(self) -> bool:
        """Whether no minute is too far from the mean, and the minutes together do not climb or fall by as much."""
        return max(self.deviation, abs(self.rise)) <= MAX_CHANGE


def flatness(samples: Sequence[Sample]) -> Iterator[Flatness]:
    """Judge each life that was long enough, by the medians of its minutes."""
    for life, lived in groupby((s for s in samples if s.life_s >= WARM_S), key=lambda s: s.life):
        minutes = [
            median(s.resident_mb for s in minute) for _, minute in groupby(lived, key=lambda s: int(s.life_s) // 60)
        ]
        if len(minutes) >= LEAST_MINUTES:
            middle = mean(minutes)
            worst = max(abs(minute - middle) for minute in minutes) / middle
            rise = linear_regression(range(len(minutes)), minutes).slope * (len(minutes) - 1) / middle
            yield Flatness(life, len(minutes), middle, minutes[0], minutes[-1], worst, rise)
