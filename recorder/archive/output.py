"""A file as the loop's thread sees it: batches go to the writer's thread, its first fault comes back."""

import asyncio
from collections.abc import Callable
from typing import Final

from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.archive.file import ArchiveFile
from rokuga.recorder.archive.metadata import WholeFile
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.media import NS_PER_S, AccessUnit, Kind

MAX_BEHIND_NS: Final = 10 * NS_PER_S
"""A file whose oldest unwritten frame is older fails: its disk does not keep up."""

TOO_SLOW: Final = "the disk is too slow"


class Output:
    """One file under way: the whole archive, or part `index` (from 1) of it, whose zero is `begin_ns`."""

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_file",
        "_is_late",
        "_on_failure",
        "_pending",
        "_writer",
        "begin_ns",
        "index",
        "names",
    )

    def __init__(
        self,
        file: ArchiveFile,
        names: FileNames,
        writer: WriterThread,
        on_failure: Callable[[ArchiveError], None],
        begin_ns: int = 0,
        index: int | None = None,
    ) -> None:
        self.names = names
        self.begin_ns = begin_ns
        self.index = index
        self._file = file
        self._writer = writer
        self._on_failure = on_failure
        self._batch: list[tuple[Kind, AccessUnit, int]] = []
        self._batch_bytes = 0
        self._is_late = False
        self._pending: list[int] = []  # since when each batch waits for the disk

    def begin(self) -> None:
        """Create the file before whatever is written to it; a fault comes back by `on_failure`."""
        self._writer.submit(self._file.open).add_done_callback(self._look)

    def add(self, kind: Kind, unit: AccessUnit, offset_ns: int) -> None:
        """Take a unit, at its offset from the archive's start."""
        self._batch.append((kind, unit, offset_ns - self.begin_ns))
        self._batch_bytes += len(unit.data)

    def hand_over(self, now_ns: int) -> None:
        """Give what was added to the writer. A disk that is late twice in a row is too slow.

        Once may be a process that was stopped for a while, and its writer's thread with it.
        """
        if not self._batch:
            return
        was_late, self._is_late = self._is_late, bool(self._pending) and now_ns - self._pending[0] > MAX_BEHIND_NS
        if (was_late and self._is_late) or not self._writer.has_room(self._batch_bytes):
            self._on_failure(ArchiveError(TOO_SLOW, None, self.names.path))
            return
        batch, self._batch = self._batch, []
        size, self._batch_bytes = self._batch_bytes, 0
        self._pending.append(now_ns)
        writing = self._writer.submit(lambda: self._file.write(batch), size)
        writing.add_done_callback(self._look_and_leave)

    async def finish(self) -> WholeFile | None:
        """Wait for the file to be whole under its final name; None if nothing was in it. Raises ArchiveError."""
        return await asyncio.shield(self._writer.submit(self._file.finish, behind=True))

    def abandon(self) -> "asyncio.Future[None]":
        """Give the file up; what can be played of it stays, under its final name, once the answer is there."""
        return self._writer.submit(self._file.abandon)

    def _look_and_leave(self, writing: "asyncio.Future[None]") -> None:
        self._pending.pop(0)
        self._look(writing)

    def _look(self, work: "asyncio.Future[None]") -> None:
        error = work.exception()
        if error is not None and not isinstance(error, ArchiveError):
            error = ArchiveError(f"unexpected fault: {error!r}", None, self.names.path)
        if error is not None:
            self._on_failure(error)
