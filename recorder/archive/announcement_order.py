"""The order in which ends of files are announced: that in which they were decided, whatever the disk finishes first.

Files are finished concurrently. Their events are stored one after the other, so that a recording has the same order
of events in every run.
"""

import asyncio


class OrderedSlot:
    """One place in the order: await `wait` before announcing, and call `release` in any case."""

    __slots__ = ("_previous", "_released")

    def __init__(self, previous: "asyncio.Future[None] | None") -> None:
        self._previous = previous
        self._released: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def released(self) -> "asyncio.Future[None]":
        """A future that is done when the next slot may announce."""
        return self._released

    async def wait(self) -> None:
        """Wait until all earlier slots are released."""
        if self._previous is not None:
            await asyncio.shield(self._previous)
            self._previous = None

    def release(self) -> None:
        """Allow the next slot to announce once all earlier ones are released. Safe to repeat."""
        if self._released.done():
            return
        if self._previous is None or self._previous.done():
            self._released.set_result(None)
        else:
            previous, self._previous = self._previous, None
            previous.add_done_callback(lambda _previous: self.release())


class AnnouncementOrder:
    """Reserves slots, each after the one before it."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    def reserve(self) -> OrderedSlot:
        """Return the next slot."""
        slot = OrderedSlot(self._last)
        self._last = slot.released
        return slot
