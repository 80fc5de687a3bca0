"""The thread that writes what is recorded, behind one bounded queue; beside it one that waits for the disk.

Frames are handed over in batches, a list per file and tick. The queue is bounded in bytes, over all archives and for
each: a disk that stalls for some seconds costs memory, one that stalls for longer fails an archive, not the daemon.
"""

import asyncio
import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from rokuga.recorder.archive.ebml import LayoutError
from rokuga.recorder.archive.media_file import put_all
from rokuga.recorder.archive.metadata import encode_document
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.events import Document

T = TypeVar("T")

MAX_QUEUED_BYTES: Final = 512 * 1024 * 1024
"""Media that waits for the disk, over all archives: 5 s of 400 publishers at 2 Mbit/s."""


class ArchiveError(Exception):
    """A file cannot be written. `errno` is None where the fault is not the disk's."""

    def __init__(self, reason: str, errno: int | None, path: str) -> None:
        super().__init__(f"{reason}: {path}")
        self.reason = reason
        self.errno = errno
        self.path = path


@contextlib.contextmanager
def archive_errors(path: str) -> Iterator[None]:
    """Turn what the disk and the layout raise into ArchiveError."""
    try:
        yield
    except OSError as error:
        number = error.errno
        raise ArchiveError(str(error) if number is None else os.strerror(number), number, path) from error
    except LayoutError as error:
        raise ArchiveError(str(error), None, path) from error


@dataclass(slots=True)
class _Work:
    """Work on its way through the thread, and who waits for it."""

    work: Callable[[], Any]
    size_bytes: int
    answer: "asyncio.Future[Any]"
    is_behind: bool = False
    result: Any = None
    error: Exception | None = None


class WriterThread:
    """Runs work in its thread, first in, first out; ends when all of it is done.

    What is `behind` comes after all that was queued before it, and lets what was queued since go first, one piece of
    it at a time: the media of others does not wait until a hundred files are finished, each with four syncs.

    The loop is woken once for all that was done since it last looked. An executor's futures wake it, and are locked,
    for each: some 7 % of the daemon's samples.
    """

    def __init__(self, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_queued_bytes = max_queued_bytes
        self._thread = Thread(target=self._run, name="writer")
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: deque[_Work] = deque()
        self._is_told = False
        self._sync_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")
        self.queued_bytes = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
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


def make_folder(path: str, mode: int, min_free_bytes: int = 0) -> None:
    """Make a recording's folder. Raises ArchiveError where files cannot be made in it, or not for long."""
    with archive_errors(path):
        Path(path).mkdir(mode=mode, parents=True, exist_ok=True)
        Path(path).chmod(mode)
        sync_folder(str(Path(path).parent))
        if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if has_less_free(path, min_free_bytes):
            Path(path).rmdir()
            raise low_space(path)


def remove_empty_folder(path: str) -> None:
    """Undo `make_folder`, if nothing came into the folder."""
    with contextlib.suppress(OSError):  # it is not empty, or gone
        Path(path).rmdir()


def free_bytes(path: str) -> int:
    """Give what can still be written under a folder, or under the nearest one above it. Raises OSError."""
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def has_less_free(path: str, min_free_bytes: int) -> bool:
    """Whether less can be written in a folder; False for one that does not exist yet."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < min_free_bytes


def low_space(path: str) -> ArchiveError:
    """Say that nothing new is begun because the disk is nearly full."""
    return ArchiveError("less space is free than archive_min_free_bytes", errno.ENOSPC, path)


def publish_file(names: FileNames) -> None:
    """Give a file that is whole and on the disk its final name, and make that last."""
    Path(names.in_progress_path).rename(names.path)
    sync_folder(str(Path(names.path).parent))


def write_json(names: FileNames, document: Document, mode: int) -> None:
    """Write a document so that its name appears with all of its content or not at all. Raises ArchiveError."""
    with archive_errors(names.path):
        try:
            descriptor = os.open(names.in_progress_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            try:
                os.fchmod(descriptor, mode)
                put_all(descriptor, encode_document(document), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            publish_file(names)
        except OSError:
            with contextlib.suppress(OSError):
                Path(names.in_progress_path).unlink()
            raise


def sync_folder(path: str) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
