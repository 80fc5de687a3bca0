"""The I/O of the archive journal while recording: stores state and events, writes documents.

Events that the store does not accept are stored with the next change.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.disk import ArchiveError, write_json
from rokuga.recorder.archive.facts import (
    ArchiveClosed,
    ArchiveFailed,
    ArchiveOpened,
    DocumentWritten,
    Fact,
    Failure,
    FileFinished,
    Interrupted,
    PartAnnounced,
    PartSalvaged,
    PartsEndAnnounced,
    PartsEnded,
)
from rokuga.recorder.archive.journal import DocumentFile, Journal, apply
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.archive.stats import EMPTY, archive_stats
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.clock import Clock
from rokuga.recorder.events import Event
from rokuga.recorder.media import Kind
from rokuga.recorder.models import WHOLE_FILE, ArchiveState
from rokuga.recorder.sync.gap_stats import GapStats

NO_MEDIA: Final = Failure("no media was received")

Save = Callable[[ArchiveState, Sequence[Event]], Awaitable[bool]]
"""Stores an archive's state and the events of the change in one transaction; False where the store failed."""

Counters = Callable[[], Mapping[Kind, Mapping[str, Any]]]
"""Returns the counters of each kind since the archive's start."""


class JournalWriter:
    """The journal of one archive that begins at `start_ns`. `gaps` are filled by the archiver."""

    def __init__(
        self,
        journal: Journal,
        start_ns: int,
        *,
        file_mode: int,
        writer: WriterThread,
        clock: Clock,
        wall_at: Callable[[int], int],
        counters: Counters,
        save: Save,
    ) -> None:
        """Open the archive; archive.started is stored by the first `store`. `wall_at` is the recording's clock."""
        self.start_ns = start_ns
        self.wall_at = wall_at
        self.counters = counters
        self.gaps: dict[Kind, GapStats] = {"audio": GapStats(), "video": GapStats()}
        self._journal = journal
        self._file_mode = file_mode
        self._writer = writer
        self._clock = clock
        self._save = save
        self._unstored: list[Event] = []
        self._is_ending_parts = False
        self._unwritten_parts = asyncio.Lock()
        self._apply(ArchiveOpened())

    @property
    def state(self) -> ArchiveState:
        """The archive as it is now."""
        return self._journal.archive

    def names(self, index: str) -> FileNames:
        """Return the names of a media file, by a part's `split_index` or WHOLE_FILE."""
        return self._journal.media_names(index)

    async def store(self) -> None:
        """Store the state and the events that are not stored yet."""
        events = list(self._unstored)
        if await self._save(self.state, events):
            self._unstored = [event for event in self._unstored if event not in events]

    async def finish_file(self, index: str, file: FinishedFile, stop_ns: int) -> None:
        """Store the document of a finished file as pending, then write it. Raises ArchiveError."""
        stats = self._file_stats(index, file, stop_ns)
        documents = self._apply(FileFinished(index, file, self.wall_at(stop_ns), stats))
        await self.store()
        await self._write(documents)
        self._apply(DocumentWritten(index))

    def salvage_part(self, index: str, file: FinishedFile, stop_ns: int) -> None:
        """Keep the document of a part that the disk failed under, for `announce_unwritten_parts`."""
        stats = self._file_stats(index, file, stop_ns)
        self._apply(PartSalvaged(index, file, self.wall_at(stop_ns), stats))

    async def announce_unwritten_parts(self) -> None:
        """Write and announce the parts that an error left without their documents. Raises ArchiveError."""
        async with self._unwritten_parts:
            for index, document in self._journal.unwritten_parts():
                await self._write([document])
                self._apply(DocumentWritten(index))
                await self.announce_part(index)

    def announce_part(self, index: str) -> Awaitable[None]:
        """Announce a part whose document is written. Its place among the events is fixed when this returns."""
        self._apply(PartAnnounced(index))
        return asyncio.ensure_future(self.store())

    async def end_parts(self, stop_ns: int) -> None:
        """Write the document of split-archive.end if there was a part.

        `announce_parts_end` or `end` stores the event.

        Safe to repeat. Raises ArchiveError where the document cannot be written; the event is stored even so.
        """
        if self._is_ending_parts:
            return
        self._is_ending_parts = True
        with contextlib.suppress(ArchiveError):  # the disk is still full: their files stay without documents
            await self.announce_unwritten_parts()
        await self._write(self._apply(PartsEnded(self.wall_at(stop_ns), self._stats(stop_ns))))

    async def announce_parts_end(self) -> None:
        """Announce the end of the parts, after all parts."""
        self._apply(PartsEndAnnounced())
        await self.store()

    def interrupt(self, reason: str) -> None:
        """Put the reason into the documents from now on."""
        self._apply(Interrupted(reason))

    def end(self, stop_ns: int, error: ArchiveError | None) -> Awaitable[None]:
        """Announce the end of the archive. Its place among the events is fixed when this returns."""
        stop_wall_ns, stats = self.wall_at(stop_ns), self._stats(stop_ns)
        if error is None:
            self._apply(ArchiveClosed(stop_wall_ns, stats, NO_MEDIA))
        else:
            self._apply(ArchiveFailed(stop_wall_ns, stats, error.failure))
        return asyncio.ensure_future(self.store())

    def _apply(self, fact: Fact) -> Sequence[DocumentFile]:
        """Apply a fact; return the documents to write. Events wait for the next `store`."""
        step = apply(self._journal, fact, self.wall_at(self._clock.monotonic_ns()))
        self._journal = step.journal
        self._unstored += step.events
        return step.documents

    async def _write(self, documents: Sequence[DocumentFile]) -> None:
        for file in documents:
            work = partial(write_json, file.names, file.document, self._file_mode)
            await asyncio.shield(self._writer.submit(work, in_pool=True))

    def _file_stats(self, index: str, file: FinishedFile, stop_ns: int) -> Mapping[str, Any]:
        """Return the stats of a file; those of a part do not count the silence between its end and now as a gap."""
        return self._stats(stop_ns if index == WHOLE_FILE else None, file.stored)

    def _stats(self, stop_ns: int | None, stored: Mapping[str, int] = EMPTY) -> Mapping[str, Any]:
        stop_offset_ns = None if stop_ns is None else stop_ns - self.start_ns
        counters = {
            kind: {**counters, **self.gaps[kind].summary(stop_offset_ns)}
            for kind, counters in self.counters().items()
        }
        return archive_stats(counters, stored)
