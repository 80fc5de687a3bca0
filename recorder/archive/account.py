"""What is told of one archive: its state in the store, the documents beside its files, the events that they cause.

A document is stored as owed before it is written, and the event is stored with the change that it tells of. What the
store does not take is told with the next change.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.container_table import container_of
from rokuga.recorder.archive.disk import ArchiveError, write_json
from rokuga.recorder.archive.metadata import (
    FileFacts,
    archive_event,
    available_document,
    failed_document,
    kinds_of,
    split_end_document,
    started_document,
)
from rokuga.recorder.archive.names import FileNames, archive_names, split_end_names, split_index, split_names
from rokuga.recorder.archive.stats import EMPTY, archive_stats
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.clock import Clock, from_rfc3339
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.events import Document, Event, EventType
from rokuga.recorder.media import Kind
from rokuga.recorder.models import WHOLE_FILE, ArchiveState, ArchiveStatus, RecordingState
from rokuga.recorder.sync.gaps import GapStats

Save = Callable[[ArchiveState, Sequence[Event]], Awaitable[bool]]
"""Stores an archive's state with the events that the change causes; False where the store did not take them."""

Stats = Callable[[], Mapping[Kind, Mapping[str, Any]]]
"""Counters of each kind since the archive's start."""


class Account:
    """One archive's, from `start_ns` on. `state` is as of now; `gaps` are filled by who writes the frames."""

    def __init__(
        self,
        recording: RecordingState,
        state: ArchiveState,
        start_ns: int,
        *,
        config: RecorderConfig,
        writer: WriterThread,
        clock: Clock,
        wall_at: Callable[[int], int],
        stats: Stats,
        save: Save,
    ) -> None:
        """Begin with archive.started, which the first `tell` tells. `wall_at` is the recording's own clock."""
        self._recording = recording
        self.start_ns = start_ns
        self._config = config
        self._writer = writer
        self._clock = clock
        self.wall_at = wall_at
        self.stats = stats
        self._save = save
        self.state = state
        self.gaps: dict[Kind, GapStats] = {"audio": GapStats(), "video": GapStats()}
        self._untold = [self._event(EventType.ARCHIVE_STARTED, started_document(recording, state), *self._about())]
        self._is_parts_end_said = False
        self._parts_end: Event | None = None
        self._written: set[int] = set()
        self._last_part, self._part_kinds = int(state.split_last_index or 0), state.split_kinds
        self.reason = ""
        """Why the archive ends although its connection goes on."""

    async def tell(self) -> None:
        """Store the state and what was not told yet; what the store does not take is told the next time."""
        told = list(self._untold)
        if await self._save(self.state, told):
            self._untold = [event for event in self._untold if event not in told]

    def names(self, extension: str, index: int | None = None) -> FileNames:
        """Give the names of the whole file, or of part `index`, or of the document beside it."""
        if index is None:
            return archive_names(*self._place(), extension, self.state.number)
        return split_names(*self._place(), index, extension)

    async def document(
        self, file: FinishedFile, names: FileNames, stop_ns: int, index: int | None = None
    ) -> Document:
        """Write the document of a file that is whole, as owed first. Raises ArchiveError."""
        document = self.owe(file, names, stop_ns, index)
        await self.tell()
        await self._write(self.names("json", index), document)
        if index is not None:
            self._note_part(index, document)
        return document

    @property
    def has_parts(self) -> bool:
        """Whether there are parts of its own with their documents."""
        return self._last_part > self.state.parts_before

    def _note_part(self, index: int, document: Document) -> None:
        """Note a part whose document is written; it is told in its turn."""
        self._written.add(index)
        self._last_part = max(self._last_part, index)
        self._part_kinds |= kinds_of(document)

    def owe(self, file: FinishedFile, names: FileNames, stop_ns: int, index: int | None = None) -> Document:
        """Return the document of a file that is whole, and note it as owed."""
        facts = FileFacts(names, self.names("json", index), file, self.wall_at(stop_ns))
        stats = self._all_stats(stop_ns if index is None else None, file.stored)
        created_wall_ns = self.wall_at(self._clock.monotonic_ns())
        document = available_document(self._recording, self.state, facts, stats, created_wall_ns, index, self.reason)
        self.state = replace(self.state, owed={**self.state.owed, document.get("split_index", WHOLE_FILE): document})
        return document

    async def tell_owed_parts(self) -> None:
        """Write and tell the parts that a fault left without their documents. Raises ArchiveError."""
        for index, document in sorted(self.state.owed.items()):
            if index != WHOLE_FILE and int(index) not in self._written:
                await self._write(self.names("json", int(index)), document)
                self._note_part(int(index), document)
                await self.tell_part(document)

    def tell_part(self, document: Document) -> Awaitable[None]:
        """Tell a part whose document is written. Its place among the events is taken before this returns."""
        index = document["split_index"]
        last = max(int(self.state.split_last_index or 0), int(index))
        owed = {key: other for key, other in self.state.owed.items() if key != index}
        kinds = self.state.split_kinds | kinds_of(document)
        stop_wall_ns = max(self.state.stop_wall_ns or 0, from_rfc3339(document["stop_timestamp"]))
        self.state = replace(
            self.state,
            stop_wall_ns=stop_wall_ns,
            split_last_index=split_index(last),
            split_kinds=kinds,
            owed=owed,
        )
        self._untold.append(self._event(EventType.SPLIT_ARCHIVE_AVAILABLE, document, index))
        return asyncio.ensure_future(self.tell())

    async def end_parts(self, stop_ns: int) -> None:
        """Write once which part was the last, if there was any; `tell_parts_end` or `end` tells it.

        It is told also where its document finds no place: ArchiveError.
        """
        if self._is_parts_end_said:
            return
        self._is_parts_end_said = True
        with contextlib.suppress(ArchiveError):  # the disk is still full: their files stay without documents
            await self.tell_owed_parts()
        self.state = replace(self.state, owes_parts_end=False)
        if not self._last_part:
            return
        names = split_end_names(*self._place())
        stop_wall_ns = self.wall_at(stop_ns)
        parts = replace(self.state, split_last_index=split_index(self._last_part), split_kinds=self._part_kinds)
        document = split_end_document(self._recording, parts, names, stop_wall_ns, self._all_stats(stop_ns))
        self._parts_end = self._event(EventType.SPLIT_ARCHIVE_END, document)
        await self._write(names, document)

    async def tell_parts_end(self) -> None:
        """Tell which part was the last, after all parts."""
        self._append_parts_end()
        await self.tell()

    def _append_parts_end(self) -> None:
        if self._parts_end is not None:
            self._untold.append(self._parts_end)
            self._parts_end = None

    def end(self, stop_ns: int, whole: Document | None, failure: ArchiveError | None) -> Awaitable[None]:
        """Tell how the archive ended. Its place among the events is taken before this returns."""
        self._append_parts_end()
        if failure is not None:
            self._untold.append(self._failed_event(failure, stop_ns))
        elif whole is not None:
            self._untold.append(self._event(EventType.ARCHIVE_AVAILABLE, whole, *self._about()))
        is_more_owed = self._recording.parameters.split_duration is not None and not self._is_parts_end_said
        parts_owed = {index: document for index, document in self.state.owed.items() if index != WHOLE_FILE}
        self.state = replace(
            self.state,
            status=ArchiveStatus.AVAILABLE if failure is None else ArchiveStatus.FAILED,
            stop_wall_ns=self.wall_at(stop_ns),
            document=whole if failure is None else None,
            owed=parts_owed if is_more_owed else {},
            owes_parts_end=is_more_owed,
        )
        return asyncio.ensure_future(self.tell())

    def _failed_event(self, failure: ArchiveError, stop_ns: int) -> Event:
        document = failed_document(
            self._recording,
            self.state,
            self.names(container_of(self._recording.parameters).suffix),
            self.wall_at(stop_ns),
            self._all_stats(stop_ns),
            failure.reason,
            failure.errno,
            failure.path,
        )
        return self._event(EventType.ARCHIVE_FAILED, document, *self._about())

    def _about(self) -> tuple[str, ...]:
        """Return what tells this archive's events from those of the connection's first one."""
        return (str(self.state.number),) if self.state.number > 1 else ()

    async def _write(self, names: FileNames, document: Document) -> None:
        mode = self._config.archive_file_mode
        await asyncio.shield(self._writer.submit(lambda: write_json(names, document, mode), behind=True))

    def _all_stats(self, stop_ns: int | None, stored: Mapping[str, int] = EMPTY) -> Mapping[str, Any]:
        stop_offset_ns = None if stop_ns is None else stop_ns - self.start_ns
        counters = {
            kind: {**counters, **self.gaps[kind].summary(stop_offset_ns)} for kind, counters in self.stats().items()
        }
        return archive_stats(counters, stored)

    def _place(self) -> tuple[str, str, str]:
        return str(self._config.archive_dir), self._recording.recording_id, self.state.connection.connection_id

    def _event(self, event_type: EventType, document: Document, *about: str) -> Event:
        wall_ns = self.wall_at(self._clock.monotonic_ns())
        return archive_event(event_type, self._recording, self.state.connection, wall_ns, document, *about)
