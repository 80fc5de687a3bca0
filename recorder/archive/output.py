"""One media file from the event loop's side: batches are submitted to the writer thread, its errors are received."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from rokuga.recorder.archive.archive_file import ArchiveFile
from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.media import AccessUnit, Kind
from rokuga.recorder.models import WHOLE_FILE

log = structlog.get_logger()

TOO_SLOW: Final = "the disk is too slow"
UNEXPECTED: Final = "unexpected fault"
"""The beginning of the reason of an internal error."""


class Output:
    """One file under way, by its `index`: that of a part, or WHOLE_FILE. Its zero is `begin_ns`."""

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_file",
        "_on_failure",
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
        index: str = WHOLE_FILE,
    ) -> None:
        self.names = names
        self.begin_ns = begin_ns
        self.index = index
        self._file = file
        self._writer = writer
        self._on_failure = on_failure
        self._batch: list[tuple[Kind, AccessUnit, int]] = []
        self._batch_bytes = 0

    def open(self) -> None:
        """Have the file created; an error is passed to `on_failure`."""
        self._writer.submit(self._file.open).add_done_callback(self._check)

    def add(self, kind: Kind, unit: AccessUnit, offset_ns: int) -> None:
        """Add a unit to the batch, at its offset from the archive's start."""
        self._batch.append((kind, unit, offset_ns - self.begin_ns))
        self._batch_bytes += len(unit.data)

    def submit_batch(self) -> None:
        """Submit the batch to the writer; an error where too many bytes wait for the disk."""
        if not self._batch:
            return
        if not self._writer.can_queue(self._batch_bytes):
            self._on_failure(ArchiveError(TOO_SLOW, None, self.names.path))
            return
        batch, self._batch = self._batch, []
        size, self._batch_bytes = self._batch_bytes, 0
        self._writer.submit(lambda: self._file.write(batch), size).add_done_callback(self._check)

    async def finish(self) -> FinishedFile | None:
        """Finish the file under its final name; return None if nothing was in it. Raises ArchiveError."""
        try:
            return await asyncio.shield(self._writer.submit(self._file.finish, in_pool=True))
        except Exception as error:
            raise self._failure(error) from error

    async def abandon(self) -> FinishedFile | None:
        """Repair a file that failed, under its final name; return None if it cannot be played."""
        try:
            return await asyncio.shield(self._writer.submit(self._file.abandon, in_pool=True))
        except Exception:  # an internal error in a file that failed before
            log.exception("internal error, file not repaired", path=self.names.in_progress_path)
            return None

    def _check(self, work: "asyncio.Future[None]") -> None:
        error = work.exception()
        if error is not None:
            self._on_failure(self._failure(error))

    def _failure(self, error: BaseException) -> ArchiveError:
        """Return any error as an ArchiveError; an internal one has no errno."""
        if isinstance(error, ArchiveError):
            return error
        log.error("internal error, archive failed", path=self.names.in_progress_path, exc_info=error)
        return ArchiveError(f"{UNEXPECTED}: {error!r}", None, self.names.path)
