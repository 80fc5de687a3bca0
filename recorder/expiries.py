"""A heap of expiry times: finding the next one costs the same for any number of recordings."""

from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MIN_STALE: Final = 64
"""Entries of removed values stay in the heap until they outnumber both the others and this."""


class Expiries(Generic[T]):
    """Values by key, each with the monotonic time in ns at which it expires."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[int, T]] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, key: str, expires_ns: int, value: T) -> None:
        """Add a value, or change the time of a key."""
        self._values[key] = (expires_ns, value)
        heappush(self._heap, (expires_ns, key))
        self._shrink()

    def remove(self, key: str) -> None:
        """Remove a value, if the key exists."""
        self._values.pop(key, None)
        self._shrink()

    def pop_expired(self, now_ns: int) -> list[T]:
        """Remove and return the values that have expired, the earliest first."""
        expired = []
        while self._heap and self._heap[0][0] <= now_ns:
            expires_ns, key = heappop(self._heap)
            found = self._values.get(key)
            if found is not None and found[0] == expires_ns:
                expired.append(self._values.pop(key)[1])
        return expired

    def _shrink(self) -> None:
        """Rebuild the heap if most of it is stale: amortised O(1)."""
        if len(self._heap) - len(self._values) > max(len(self._values), MIN_STALE):
            self._heap = [(expires_ns, key) for key, (expires_ns, _) in self._values.items()]
            heapify(self._heap)
