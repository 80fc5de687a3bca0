"""What a soak has come to: the figures that its table shows and its report keeps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from rokuga.devtools.soak.inspector import Tally
from rokuga.devtools.soak.plan import Options
from rokuga.devtools.soak.watch import Flatness, Sample, flatness


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, with where it was seen, `at_s` after the start."""

    at_s: float
    where: str
    what: str


@dataclass(slots=True)
class Figures:
    """All of a run."""

    options: Options
    machine: str = ""
    date: str = ""
    samples: list[Sample] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    kills_s: list[float] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
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
        """Whether nothing was wrong."""
        return not self.faults

    @property
    def lives(self) -> Sequence[Flatness]:
        """Memory of each daemon that lived long enough."""
        return list(flatness(self.samples))

    def median_of(self, name: str) -> float:
        """Give the median of a value over all seconds in which somebody published."""
        values = [getattr(sample, name) for sample in self.samples if sample.publishers]
        return median(values) if values else 0.0

    def high(self, name: str) -> float:
        """Give what 99 of 100 seconds stayed below."""
        values = [getattr(sample, name) for sample in self.samples if sample.publishers]
        return float(quantiles(values, n=100)[-1]) if len(values) > 1 else float(sum(values))
