"""The pauses before the next archive of a connection, after one that ended by an error. Pure."""

from typing import Final

from rokuga.recorder.media import NS_PER_S

FIRST_PAUSE_NS: Final = NS_PER_S
"""From the end of an archive to the next one; doubled each time while archives are short."""
MAX_PAUSE_NS: Final = 60 * NS_PER_S
LONG_NS: Final = 60 * NS_PER_S
"""An archive of this duration shows that the error before it is over."""
MAX_INTERNAL_ERRORS: Final = 5
"""After so many short archives in a row that ended by internal errors no other one begins."""


class ArchiveBackoff:
    """The errors of one connection's archives in one recording."""

    __slots__ = ("_due_ns", "_internal_errors", "_pause_ns")

    def __init__(self) -> None:
        self._pause_ns = FIRST_PAUSE_NS
        self._due_ns = 0
        self._internal_errors = 0

    def add_end(self, begin_ns: int, end_ns: int, *, is_internal: bool) -> None:
        """Count an archive that ended early; `is_internal`: by an error of our own, which no repaired disk ends."""
        if end_ns - begin_ns >= LONG_NS:
            self._pause_ns, self._internal_errors = FIRST_PAUSE_NS, 0
        self._due_ns = end_ns + self._pause_ns
        self._pause_ns = min(2 * self._pause_ns, MAX_PAUSE_NS)
        self._internal_errors += is_internal

    @property
    def is_given_up(self) -> bool:
        """Whether no other archive begins."""
        return self._internal_errors >= MAX_INTERNAL_ERRORS

    def may_begin(self, now_ns: int) -> bool:
        """Return whether the next archive may begin now."""
        return now_ns >= self._due_ns and not self.is_given_up
