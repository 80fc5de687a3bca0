"""The thread that writes media, with one bounded queue, and the pools of threads that finish and sync files.

Frames are queued in batches, one per file and tick. The queue is bounded in bytes over all archives: a disk that
stalls costs memory up to that bound; then an archive whose batch does not fit fails, not the daemon.

The writer thread never syncs. What waits for the disk (finishing a file, a document, a sync) runs in one of two
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
"""How many files are finished at a time; threads are started when they are needed."""

SYNC_THREADS: Final = 16
"""How many files that are being written are synced at a time."""


class _Call:
    """A queued call, its result and the future that receives it."""

    __slots__ = ("error", "function", "future", "is_in_pool", "result", "size_bytes")

    def __init__(
        self, function: Callable[[], Any], size_bytes: int, future: "asyncio.Future[Any]", is_in_pool: bool
    ) -> None:
        self.function = function
        self.size_bytes = size_bytes
        self.future = future
        self.is_in_pool = is_in_pool
        self.result: Any = None
        self.error: Exception | None = None


class WriterThread:
    """Runs calls in its thread, first in, first out; `async with` ends when all of them are done.

    A call with `in_pool` begins after all calls that were queued before it, in a thread of the finishing pool: calls
    that are queued later do not wait for it. To order such calls, await one before submitting the next.

    The event loop is woken once for all calls that are done, not for each as by the futures of an executor.
    """

    def __init__(self, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_queued_bytes = max_queued_bytes
        self._writing_thread = Thread(target=self._run, name="writer")
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._done: deque[_Call] = deque()
        self._is_wakeup_scheduled = False
        self._finishing_threads = ThreadPoolExecutor(FINISHING_THREADS, thread_name_prefix="finish")
        self._sync_threads = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="sync")
        self._in_pool: set[asyncio.Future[Any]] = set()
        self._syncs: set[Future[None]] = set()
        self.queued_bytes = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._writing_thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._writing_thread.join)
        await asyncio.to_thread(self._finishing_threads.shutdown)
        self._set_results()
        await asyncio.to_thread(self._sync_threads.shutdown)

    def can_queue(self, size_bytes: int) -> bool:
        """Return whether so many more bytes of media fit into the queue."""
        return self.queued_bytes + size_bytes <= self._max_queued_bytes

    def submit(self, function: Callable[[], T], size_bytes: int = 0, *, in_pool: bool = False) -> "asyncio.Future[T]":
        """Queue a call that holds so many bytes of media; return the future of its result.

        Cancelling the future does not cancel the call: shield it.
        """
        self.queued_bytes += size_bytes
        future: asyncio.Future[T] = self._loop.create_future()
        if in_pool:
            self._in_pool.add(future)
            future.add_done_callback(self._in_pool.discard)
        self._queue.put(_Call(function, size_bytes, future, in_pool))
        return future

    def submit_sync(self, function: Callable[[], None]) -> "Future[None]":
        """Run a sync in its own pool, without waiting for the queue. May be called in any thread."""
        sync = self._sync_threads.submit(function)
        self._syncs.add(sync)
        sync.add_done_callback(self._syncs.discard)
        return sync

    async def drain(self) -> None:
        """Wait for all that was submitted before this call, in all threads."""
        await self.submit(_nothing)
        if in_pool := list(self._in_pool):
            await asyncio.wait(in_pool)
        if syncs := [asyncio.wrap_future(sync) for sync in list(self._syncs)]:
            await asyncio.wait(syncs)

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            if call.is_in_pool:
                self._finishing_threads.submit(self._execute, call)
            else:
                self._execute(call)

    def _execute(self, call: _Call) -> None:
        try:
            call.result = call.function()
        except Exception as error:  # raised to the awaiter, which has a policy
            call.error = error
        self._done.append(call)
        if not self._is_wakeup_scheduled:
            self._is_wakeup_scheduled = True
            self._loop.call_soon_threadsafe(self._set_results)

    def _set_results(self) -> None:
        """Set the results of all calls that are done. One that is added meanwhile is seen or schedules a wakeup."""
        self._is_wakeup_scheduled = False
        while self._done:
            call = self._done.popleft()
            self.queued_bytes -= call.size_bytes
            if call.future.done():  # cancelled
                continue
            if call.error is not None:
                call.future.set_exception(call.error)
            else:
                call.future.set_result(call.result)


def _nothing() -> None:
    """Do nothing: `drain` waits for this to be reached."""
