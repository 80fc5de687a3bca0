"""Owner turn it is: owners take turns, and none has more of them in a second than it may (pure).

Times are monotonic nanoseconds.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from rokuga.recorder.media import NS_PER_S

Item = TypeVar("Item", bound=Hashable)

MAX_REMEMBERED: Final = 4096
"""Owners whose last turns are remembered; one who is forgotten has all of its turns again."""


class RoundRobinQueue(Generic[Item]):
    """Items that wait, each owner's in the order of their coming. `per_second` turns may be taken all at once."""

    def __init__(self, per_second: int) -> None:
        self._waiting: OrderedDict[str, dict[Item, None]] = OrderedDict()
        self._interval_ns = NS_PER_S // per_second
        self._full_ns = self._interval_ns * (per_second - 1)
        self._due_ns: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, owner: str, item: Item) -> None:
        """Let an item wait."""
        self._waiting.setdefault(owner, {})[item] = None

    def remove(self, owner: str, item: Item) -> None:
        """Let an item wait no more. Nothing happens where it does not."""
        items = self._waiting.get(owner)
        if items is not None and item in items:
            del items[item]
            if not items:
                del self._waiting[owner]

    def pop_due(self, now_ns: int, most: int) -> list[Item]:
        """Give up to so many items whose turn it is, one of each owner after the other."""
        taken: list[Item] = []
        passed = 0
        while passed < len(self._waiting) and len(taken) < most:
            owner, items = next(iter(self._waiting.items()))
            self._waiting.move_to_end(owner)
            if not self._may(owner, now_ns):
                passed += 1
                continue
            passed = 0
            item = next(iter(items))
            taken.append(item)
            self.remove(owner, item)
        return taken

    def _may(self, owner: str, now_ns: int) -> bool:
        """Say whether an owner has a turn left, and take it (GCRA: a turn is due an interval after the last)."""
        full_ns = now_ns - self._full_ns
        due_ns = max(self._due_ns.get(owner, full_ns), full_ns)
        if due_ns > now_ns:
            return False
        self._due_ns[owner] = due_ns + self._interval_ns
        self._due_ns.move_to_end(owner)
        if len(self._due_ns) > MAX_REMEMBERED:
            self._due_ns.popitem(last=False)
        return True
