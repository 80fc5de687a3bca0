"""Items grouped by owner, with the owner of most items at hand, from whom one is removed under pressure (pure)."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class ItemsByOwner(Generic[Item]):
    """Items by their owners, oldest first. Every method runs in constant time."""

    def __init__(self) -> None:
        self._items: dict[str, dict[Item, None]] = {}
        self._owners: list[dict[str, None]] = [{}]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, owner: str, item: Item) -> None:
        """Add an item as the newest of its owner."""
        items = self._items.setdefault(owner, {})
        if item not in items:
            items[item] = None
            self._move(owner, len(items) - 1, len(items))

    def remove(self, owner: str, item: Item) -> None:
        """Remove an item. Nothing happens if it is not there."""
        items = self._items.get(owner, {})
        if item in items:
            del items[item]
            self._move(owner, len(items) + 1, len(items))
            if not items:
                del self._items[owner]

    def oldest_of_largest(self) -> Item | None:
        """Return the oldest item of the owner with most items, the first such owner; None without items."""
        if not self._count:
            return None
        owner = next(iter(self._owners[-1]))
        return next(iter(self._items[owner]))

    def _move(self, owner: str, before: int, after: int) -> None:
        """Move an owner to the group of owners with `after` items; `_owners[n]` are those with n items."""
        self._count += after - before
        if before:
            del self._owners[before][owner]
        if after == len(self._owners):
            self._owners.append({})
        if after:
            self._owners[after][owner] = None
        if len(self._owners) > 1 and not self._owners[-1]:
            self._owners.pop()
