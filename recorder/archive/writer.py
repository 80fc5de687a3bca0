"""The thread that writes media, behind one bounded queue, and the threads that finish and sync files.

Frames are handed over in batches, a list per file and tick. The queue is bounded in bytes over all archives: a disk
that stalls costs memory up to that bound; an archive that finds no room then fails, not the daemon.

The writer thread never syncs. Whatever waits for the disk (finishing a file, a document, a sync) runs in one of two
pools, so that a slow sync delays only the file that it belongs to.
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

MAX_QUEUED_BYTES: Final = 512_000_000
"""Media that waits for the disk, over all archives: 5 s of 400 publishers at 2 Mbit/s, 100 s of 20."""

FINISHING_THREADS: Final = 32
"""So many files are finished at a time; threads are started when they are needed.

Parts of 10 s of 40 publishers, on a disk that takes a second for each of the four syncs of a file, take 16.
"""

SYNC_THREADS: Final = 16
"""So many files that are being written are synced at a time."""


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

    What is `behind` begins after all that was queued before it, in a thread of a pool: what is queued later does not
    wait for it. Who needs an order among such work awaits one before it submits the next.

    The loop is woken once for all that was done since it last looked. An executor's futures wake it, and are locked,
    for each: some 7 % of the daemon's samples.
    """

    def __init__(self, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_queued_bytes = max_queued_bytes
        self._worker = Thread(target=self._run, name="writer")
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: deque[_Work] = deque()
        self._is_told = False
        self._finishing_threads = ThreadPoolExecutor(FINISHING_THREADS, thread_name_prefix="finish")
        self._sync_threads = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="sync")
        self._unfinished: set[asyncio.Future[Any]] = set()
        self._syncs: set[Future[None]] = set()
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
        await asyncio.to_thread(self._finishing_threads.shutdown)
        self._answer()
        await asyncio.to_thread(self._sync_threads.shutdown)

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more media may wait."""
        return self.queued_bytes + size_bytes <= self._max_queued_bytes

    def submit(self, work: Callable[[], T], size_bytes: int = 0, *, behind: bool = False) -> "asyncio.Future[T]":
        """Queue work that carries so many bytes of media. It is done also if the answer is cancelled: shield it."""
        self.queued_bytes += size_bytes
        answer: asyncio.Future[T] = self._loop.create_future()
        if behind:
            self._unfinished.add(answer)
            answer.add_done_callback(self._unfinished.discard)
        self._queue.put(_Work(work, size_bytes, answer, behind))
        return answer

    def beside(self, work: Callable[[], None]) -> "Future[None]":
        """Sync what was written, while the writer goes on. May be called in any thread."""
        syncing = self._sync_threads.submit(work)
        self._syncs.add(syncing)
        syncing.add_done_callback(self._syncs.discard)
        return syncing

    async def drain(self) -> None:
        """Wait for all that was submitted before this call, in all threads."""
        await self.submit(_nothing)
        if unfinished := list(self._unfinished):
            await asyncio.wait(unfinished)
        if syncs := [asyncio.wrap_future(sync) for sync in list(self._syncs)]:
            await asyncio.wait(syncs)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if item.is_behind:
                self._finishing_threads.submit(self._do, item)
            else:
                self._do(item)

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


def _nothing() -> None:
    """Be done at once."""
