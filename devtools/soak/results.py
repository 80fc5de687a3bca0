"""The results of a soak, as the progress table shows them and the report stores them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from rokuga.devtools.soak.archive_audit import AuditTotals
from rokuga.devtools.soak.plan import SoakOptions
from rokuga.devtools.soak.process_usage import MemoryTrend, Sample, memory_trends


@dataclass(frozen=True, slots=True)
class Fault:
    """A violated check: where and `at_s` seconds after the start it was found, and what is wrong."""

    at_s: float
    where: str
    what: str


@dataclass(slots=True)
class SoakResults:
    """Everything that was measured and found."""

    options: SoakOptions
    machine: str = ""
    date: str = ""
    samples: list[Sample] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    kills_s: list[float] = field(default_factory=list)
    audit: AuditTotals = field(default_factory=AuditTotals)
    connections: int = 0
    recordings: int = 0
    archives: int = 0
    events: int = 0
    deliveries: int = 0
    repeats: int = 0
    failed_on_purpose: int = 0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether there are no faults."""
        return not self.faults

    @property
    def memory(self) -> Sequence[MemoryTrend]:
        """The memory trend of each daemon process that ran for long enough."""
        return list(memory_trends(self.samples))

    def median_of(self, name: str) -> float:
        """Return the median of a field of the samples, over all seconds with a publisher."""
        values = [getattr(sample, name) for sample in self.samples if sample.publishers]
        return median(values) if values else 0.0

    def percentile_99_of(self, name: str) -> float:
        """Return the 99th percentile of a field of the samples, over all seconds with a publisher."""
        values = [getattr(sample, name) for sample in self.samples if sample.publishers]
        return float(quantiles(values, n=100)[-1]) if len(values) > 1 else float(sum(values))
