"""The thread that writes what is recorded, behind one bounded queue; beside it one that waits for the disk.

Frames are handed over in batches, a list per file and tick. The queue is bounded in bytes, over all archives and for
each: a disk that stalls for some seconds costs memory, one that stalls for longer fails an archive, not the daemon.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

MAX_QUEUED_BYTES: Final = 512 * 1024 * 1024
"""Media that waits for the disk, over all archives: 5 s of 400 publishers at 2 Mbit/s."""


class _Work:
    """Work on its way through the thread, and who waits for it."""

    __slots__ = ("answer", "error", "is_behind", "result", "size_bytes", "work")

    def __init__(
        self, work: Callable[[], Any], size_bytes: int, answer: "asyncio.Future[Any]", is_behind: bool
    ) -> None:
        self.work = work
        self.size_bytes = size_bytes
        self.answer = answer
        self.is_behind = is_behind
        self.result: Any = None
        self.error: Exception | None = None


class WriterThread:
    """Runs work in its thread, first in, first out; ends when all of it is done.

    What is `behind` comes after all that was queued before it, and lets what was queued since go first, one piece of
    it at a time: the media of others does not wait until a hundred files are finished, each with four syncs.

    The loop is woken once for all that was done since it last looked. An executor's futures wake it, and are locked,
    for each: some 7 % of the daemon's samples.
    """

    def __init__(self, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_queued_bytes = max_queued_bytes
        self._worker = Thread(target=self._run, name="writer")
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: deque[_Work] = deque()
        self._is_told = False
        self._sync_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")
        self.queued_bytes = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._worker.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._worker.join)
        self._answer()
        await asyncio.to_thread(self._sync_thread.shutdown)

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more media may wait."""
        return self.queued_bytes + size_bytes <= self._max_queued_bytes

    def submit(self, work: Callable[[], T], size_bytes: int = 0, *, behind: bool = False) -> "asyncio.Future[T]":
        """Queue work that carries so many bytes of media. It is done also if the answer is cancelled: shield it."""
        self.queued_bytes += size_bytes
        answer: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Work(work, size_bytes, answer, behind))
        return answer

    def beside(self, work: Callable[[], None]) -> "Future[None]":
        """Have the disk take what was written, while the writer goes on."""
        return self._sync_thread.submit(work)

    def _run(self) -> None:
        behind: deque[_Work] = deque()
        goes_on = True
        while goes_on or behind:
            for _ in range(self._queue.qsize() or not behind):  # waits where there is nothing to do
                item = self._queue.get()
                if item is None:
                    goes_on = False
                elif item.is_behind:
                    behind.append(item)
                else:
                    self._do(item)
            if behind:
                self._do(behind.popleft())

    def _do(self, item: _Work) -> None:
        try:
            item.result = item.work()
        except Exception as error:  # whoever awaits the answer has a policy
            item.error = error
        self._done.append(item)
        if not self._is_told:
            self._is_told = True
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        """Answer all that was done. What is added while this runs is either seen here or told anew."""
        self._is_told = False
        while self._done:
            item = self._done.popleft()
            self.queued_bytes -= item.size_bytes
            if item.answer.done():  # cancelled
                continue
            if item.error is not None:
                item.answer.set_exception(item.error)
            else:
                item.answer.set_result(item.result)
