"""When which recording expires: a heap, so that a look at it costs the same however many recordings there are."""

from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MIN_STALE: Final = 64
"""Removed recordings keep their entry in the heap until there are more of these than of others, and than this."""


class Expiries(Generic[T]):
    """Values by key, each with the monotonic time in ns at which it expires."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[int, T]] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, key: str, expires_ns: int, value: T) -> None:
        """Add a value, or give the one of this key another time."""
        self._values[key] = (expires_ns, value)
        heappush(self._heap, (expires_ns, key))
        self._shrink()

    def remove(self, key: str) -> None:
        """Remove a value. Does nothing for a key that is not there."""
        self._values.pop(key, None)
        self._shrink()

    def pop_expired(self, now_ns: int) -> list[T]:
        """Remove and return what has expired, the earliest first."""
        expired = []
        while self._heap and self._heap[0][0] <= now_ns:
            expires_ns, key = heappop(self._heap)
            found = self._values.get(key)
            if found is not None and found[0] == expires_ns:
                expired.append(self._values.pop(key)[1])
        return expired

    def _shrink(self) -> None:
        """Build the heap anew where most of it is stale: O(1) per call on average."""
        if len(self._heap) - len(self._values) > max(len(self._values), MIN_STALE):
            self._heap = [(expires_ns, key) for key, (expires_ns, _) in self._values.items()]
            heapify(self._heap)
