"""The numbered changes of webhooks, so that a viewer that reconnects receives those that it missed (pure)."""

from collections import deque
from collections.abc import Sequence
from typing import Final

MAX_KEPT: Final = 1000


class Changes:
    """The newest changes, as JSON texts. `run` identifies this run of the daemon, to which the numbers belong."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._kept: deque[str] = deque(maxlen=MAX_KEPT)
        self._count = 0

    def add(self, text: str) -> str:
        """Append a change and return its id."""
        self._count += 1
        self._kept.append(text)
        return self.last_id

    @property
    def last_id(self) -> str:
        """The id of the newest change."""
        return f"{self._run}-{self._count}"

    def since(self, last_id: str) -> Sequence[tuple[str, str]] | None:
        """Return id and text of the changes after an id; None where some are no longer stored."""
        run, _, number = last_id.rpartition("-")
        if run != self._run or not (number.isascii() and number.isdecimal()) or len(number) > 18:
            return None
        missed = self._count - int(number)
        if not 0 <= missed <= len(self._kept):
            return None
        first = self._count - missed + 1
        newest = list(self._kept)[len(self._kept) - missed :]
        return [(f"{self._run}-{first + place}", text) for place, text in enumerate(newest)]
