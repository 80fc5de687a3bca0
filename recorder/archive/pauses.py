"""When the next archive of a connection may begin after one that ended by a fault. Pure."""

from typing import Final

from rokuga.recorder.media import NS_PER_S

FIRST_PAUSE_NS: Final = NS_PER_S
"""From the end of an archive to the next one; twice as long each time, if the archives are short."""
MAX_PAUSE_NS: Final = 60 * NS_PER_S
LONG_NS: Final = 60 * NS_PER_S
"""An archive that lived for so long shows that the fault before it was over."""
MAX_FAULTS_OF_OURS: Final = 5
"""So many short archives in a row may end by faults of our own; then no other one begins."""


class Pauses:
    """The faults of one connection's archives in one recording."""

    __slots__ = ("_due_ns", "_faults_of_ours", "_pause_ns")

    def __init__(self) -> None:
        self._pause_ns = FIRST_PAUSE_NS
        self._due_ns = 0
        self._faults_of_ours = 0

    def ended(self, begin_ns: int, end_ns: int, *, is_ours: bool) -> None:
        """Note that an archive ended early; `is_ours`: by a fault of our own, which no disk will mend."""
        if end_ns - begin_ns >= LONG_NS:
            self._pause_ns, self._faults_of_ours = FIRST_PAUSE_NS, 0
        self._due_ns = end_ns + self._pause_ns
        self._pause_ns = min(2 * self._pause_ns, MAX_PAUSE_NS)
        self._faults_of_ours += is_ours

    @property
    def is_given_up(self) -> bool:
        """Whether no other archive is to begin."""
        return self._faults_of_ours >= MAX_FAULTS_OF_OURS

    def is_over(self, now_ns: int) -> bool:
        """Whether the next archive may begin now."""
        return now_ns >= self._due_ns and not self.is_given_up
