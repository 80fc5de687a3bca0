"""CPU and memory of a process, per second, and whether its memory stays constant."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import linear_regression, mean, median
from typing import Final

import msgspec

WARM_UP_S: Final = 300
"""The memory of a daemon is judged from so long after its start."""
MIN_MINUTES: Final = 2
MAX_CHANGE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Usage:
    """The CPU time of a process so far, and its resident memory in MB."""

    cpu_s: float
    resident_mb: float


class Sample(msgspec.Struct, frozen=True, rename={"daemon": "life", "daemon_s": "life_s"}):
    """One second of a soak, `at_s` after its start and `daemon_s` after that of the present daemon process.

    `daemon` counts the processes from 1; `lag_ms` is that of the event loop, `answer_ms` the latency of /metrics.
    """

    at_s: float
    daemon: int
    daemon_s: float
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
    """Return the newest lag of the event loop from the text of /metrics. Raises ValueError if there is none."""
    found = re.search(r"^rokuga_event_loop_lag_seconds (\S+)$", metrics, re.MULTILINE)
    if found is None:
        raise ValueError("/metrics does not tell of the event loop")
    return float(found[1]) * 1000


def usage(pid: int) -> Usage:
    """Read the usage of a process from /proc. Raises OSError if it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def kernel_drops(port: int) -> int:
    """Return how many datagrams the kernel has dropped at a UDP port."""
    rows = [row.split() for name in ("udp", "udp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sum(int(row[-1]) for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port)


class MemoryTrend(msgspec.Struct, frozen=True, rename={"daemon": "life"}):
    """The memory of one daemon process after its warm-up, by the median of each minute.

    `deviation` is the largest distance of a minute from the mean, `rise` that of the least-squares line from first
    to its last minute, both as shares of the mean. The deviation alone would miss a leak of twice the limit, half of
    it below the mean; the ratio of the last minute to the first would depend on two minutes of many.
    """

    daemon: int
    minutes: int
    mean_mb: float
    first_mb: float
    last_mb: float
    deviation: float
    rise: float

    @property
    def is_flat(self) -> bool:
        """Whether no minute is far from the mean, and the line through them neither rises nor falls by as much."""
        return max(self.deviation, abs(self.rise)) <= MAX_CHANGE


def memory_trends(samples: Sequence[Sample]) -> Iterator[MemoryTrend]:
    """Return the trend of each daemon process that ran for long enough."""
    for daemon, warm in groupby((s for s in samples if s.daemon_s >= WARM_UP_S), key=lambda s: s.daemon):
        minutes = [
            median(s.resident_mb for s in minute) for _, minute in groupby(warm, key=lambda s: int(s.daemon_s) // 60)
        ]
        if len(minutes) >= MIN_MINUTES:
            middle = mean(minutes)
            worst = max(abs(minute - middle) for minute in minutes) / middle
            rise = linear_regression(range(len(minutes)), minutes).slope * (len(minutes) - 1) / middle
            yield MemoryTrend(daemon, len(minutes), middle, minutes[0], minutes[-1], worst, rise)
