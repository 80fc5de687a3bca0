"""The order in which ends of files are announced: that in which they were decided, whatever the disk ends first.

Files are finished side by side. Their events go to the store one after the other, so that a recording has the same
order of events in every run.
"""

import asyncio


class Turn:
    """One place in the order. Who holds it awaits `wait` before it announces, and calls `end` in any case."""

    __slots__ = ("_before", "_over")

    def __init__(self, before: "asyncio.Future[None] | None") -> None:
        self._before = before
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> "asyncio.Future[None]":
        """Is done when the next turn may announce."""
        return self._over

    async def wait(self) -> None:
        """Return when all turns that were taken before have ended."""
        if self._before is not None:
            await asyncio.shield(self._before)
            self._before = None

    def end(self) -> None:
        """Let the next one announce, as soon as this one's predecessors have ended. Safe to repeat."""
        if self._over.done():
            return
        if self._before is None or self._before.done():
            self._over.set_result(None)
        else:
            before, self._before = self._before, None
            before.add_done_callback(lambda _before: self.end())


class Turns:
    """Hands out turns, each behind the one before it."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    def take(self) -> Turn:
        """Take the next turn, now."""
        turn = Turn(self._last)
        self._last = turn.over
        return turn
