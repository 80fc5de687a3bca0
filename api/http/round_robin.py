"""A fair queue: items of each key (here a client network) in turn, and at most so many of one key a second (pure).

Times are monotonic nanoseconds.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from rokuga.recorder.media import NS_PER_S

Item = TypeVar("Item", bound=Hashable)

MAX_REMEMBERED: Final = 4096
"""Owners whose rate is remembered. One that was dropped may use its whole burst again."""


class RoundRobinQueue(Generic[Item]):
    """Waiting items by owner, each owner's in order of arrival. An owner has `per_second` items, also as a burst."""

    def __init__(self, per_second: int) -> None:
        self._waiting: OrderedDict[str, dict[Item, None]] = OrderedDict()
        self._interval_ns = NS_PER_S // per_second
        self._burst_ns = self._interval_ns * (per_second - 1)
        self._due_ns: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, owner: str, item: Item) -> None:
        """Append an item of an owner."""
        self._waiting.setdefault(owner, {})[item] = None

    def remove(self, owner: str, item: Item) -> None:
        """Remove an item. Nothing happens if it is not queued."""
        items = self._waiting.get(owner)
        if items is not None and item in items:
            del items[item]
            if not items:
                del self._waiting[owner]

    def pop_due(self, now_ns: int, max_items: int) -> list[Item]:
        """Remove and return up to `max_items` items, one of each owner in turn, of owners within their rate."""
        popped: list[Item] = []
        skipped = 0
        while skipped < len(self._waiting) and len(popped) < max_items:
            owner, items = next(iter(self._waiting.items()))
            self._waiting.move_to_end(owner)
            if not self._acquire(owner, now_ns):
                skipped += 1
                continue
            skipped = 0
            item = next(iter(items))
            popped.append(item)
            self.remove(owner, item)
        return popped

    def _acquire(self, owner: str, now_ns: int) -> bool:
        """Count an item against the owner's rate (GCRA). Return False where the rate is used up."""
        earliest_ns = now_ns - self._burst_ns
        due_ns = max(self._due_ns.get(owner, earliest_ns), earliest_ns)
        if due_ns > now_ns:
            return False
        self._due_ns[owner] = due_ns + self._interval_ns
        self._due_ns.move_to_end(owner)
        if len(self._due_ns) > MAX_REMEMBERED:
            self._due_ns.popitem(last=False)
        return True
