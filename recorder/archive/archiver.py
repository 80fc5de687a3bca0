"""One connection's archive in one recording: frames in; files, documents and events out.

Frames come in the loop's thread and leave it in batches. The first fault of the disk ends this archive, and only
this one, with archive.failed. An archive in which no media came is a failed one: there is no file to announce.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from rokuga.recorder.archive.file import ArchiveFile, WholeFile
from rokuga.recorder.archive.metadata import (
    FileFacts,
    available_document,
    encode_document,
    failed_document,
    split_end_document,
    started_document,
)
from rokuga.recorder.archive.names import FileNames, archive_names, split_end_names, split_index, split_names
from rokuga.recorder.archive.output import Output
from rokuga.recorder.archive.writer import ArchiveError, WriterThread, archive_errors, write_document
from rokuga.recorder.clock import Clock
from rokuga.recorder.codecs.opus import packet_duration_ns
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, ConnectionIdentity, Frame, Kind, TrackConfig
from rokuga.recorder.states import ArchiveState, ArchiveStatus, RecordingState
from rokuga.recorder.timing.gaps import GapStats
from rokuga.recorder.timing.interleave import Interleave
from rokuga.recorder.timing.split_policy import SplitPolicy

BATCH_NS: Final = 100 * NS_PER_MS
"""Frames are handed to the writer at this step."""

NO_MEDIA: Final = "no media was received"

Save = Callable[[ArchiveState, Sequence[Event]], Awaitable[None]]
"""Stores an archive's state with the events that the change causes."""

Stats = Callable[[], Mapping[Kind, Mapping[str, Any]]]
"""Counters of each kind since the archive's start."""


class Archiver:
    """Takes frames from its making on; `start` and `close` touch the disk and tell the store."""

    def __init__(
        self,
        *,
        recording: RecordingState,
        identity: ConnectionIdentity,
        audio: TrackConfig | None,
        video: TrackConfig | None,
        config: RecorderConfig,
        writer: WriterThread,
        clock: Clock,
        wall_at: Callable[[int], int],
        stats: Stats,
        save: Save,
    ) -> None:
        """Begin now. `wall_at` gives the wall time of a monotonic one, on the recording's own clock."""
        self._recording = recording
        self._config = config
        self._writer = writer
        self._clock = clock
        self._wall_at = wall_at
        self._stats = stats
        self._save = save
        self._start_ns = self._handed_over_ns = clock.monotonic_ns()
        self._state = ArchiveState(recording.recording_id, identity, audio, video, self._wall_at(self._start_ns))
        self._interleave = Interleave()
        self._gaps: dict[Kind, GapStats] = {"audio": GapStats(), "video": GapStats()}
        self._video_has_begun = self._lacks_keyframe = False
        self._failure: ArchiveError | None = None
        self._ending: asyncio.Task[ArchiveState] | None = None
        self._parts: dict[int, Output] = {}
        self._part_ends: list[asyncio.Task[None]] = []
        self._last_index = 0
        split_ns = (recording.parameters.split_duration or 0) * NS_PER_S
        self._splits = SplitPolicy(split_ns, video is not None, audio is not None) if split_ns else None
        has_whole = not recording.parameters.split_only and (not split_ns or config.recording_dual_output)
        self._whole = self._output(self._names("webm")) if has_whole else None

    async def start(self) -> None:
        """Tell the start and create the whole file. A fault is told as archive.failed, and kept for `close`."""
        document = started_document(self._recording, self._state)
        await self._save(self._state, [self._event(EventType.ARCHIVE_STARTED, document)])
        if self._whole is not None:
            try:
                await self._whole.open()
            except ArchiveError as error:
                self._fail(error)

    def write(self, frame: Frame) -> None:
        """Take a frame. Sound that arrived before the start is not part of the archive, nor video before a key frame.

        A key frame that was on its way at the start, or is placed a little before it, is shown from the start on.
        """
        if self._failure is not None:
            return
        if frame.kind == "video":
            self._video_has_begun = self._video_has_begun or frame.unit.is_keyframe
            if not self._video_has_begun:
                self._lacks_keyframe = True
                return
        elif frame.unit.arrival_ns < self._start_ns:
            return
        frame.time_ns = max(frame.time_ns, self._start_ns)
        self._interleave.push(frame)

    def tick(self, now_ns: int, waiting: Collection[Kind]) -> bool:
        """Hand over what is due; say whether a key frame is wanted now. `waiting`: see Interleave."""
        if now_ns - self._handed_over_ns < BATCH_NS or self._ending is not None:
            return False
        self._handed_over_ns = now_ns
        self._distribute(self._interleave.pop(now_ns, waiting))
        self._hand_over(now_ns)
        lacks_keyframe, self._lacks_keyframe = self._lacks_keyframe, False
        if self._splits is None:
            return lacks_keyframe
        self._end_parts(self._splits.open_from(now_ns - self._start_ns))
        return self._splits.keyframe_wanted(now_ns - self._start_ns) or lacks_keyframe

    def seconds(self, now_ns: int) -> int:
        """Whole seconds since the start."""
        return (now_ns - self._start_ns) // NS_PER_S

    async def close(self, stop_ns: int) -> ArchiveState:
        """End the archive as of `stop_ns`: files whole, documents beside them, events stored. Safe to repeat."""
        if self._ending is None:
            self._distribute(self._interleave.flush())
            self._hand_over(self._clock.monotonic_ns())
            self._ending = asyncio.create_task(self._end(stop_ns))
        return await asyncio.shield(self._ending)

    def _distribute(self, frames: Sequence[Frame]) -> None:
        """Put frames into the files that they belong to."""
        if self._failure is not None:
            return
        for frame in frames:
            offset_ns = frame.time_ns - self._start_ns
            kind, unit = frame.kind, frame.unit
            self._gaps[kind].add(offset_ns, packet_duration_ns(unit.data) if kind == "audio" else 0)
            if self._whole is not None:
                self._whole.add(kind, unit, offset_ns)
            if self._splits is not None:
                self._part(self._splits.assign(frame, offset_ns)).add(kind, unit, offset_ns)

    def _part(self, part: int) -> Output:
        """Give the output of a part, which begins with its first frame."""
        output = self._parts.get(part)
        if output is None:
            self._last_index += 1
            begin_ns = self._splits.begin_ns(part) if self._splits is not None else 0
            output = self._output(self._names("webm", self._last_index), begin_ns, self._last_index)
            output.begin()
            self._parts[part] = output
        return output

    def _output(self, names: FileNames, begin_ns: int = 0, index: int | None = None) -> Output:
        file = ArchiveFile(names, self._state.audio, self._state.video, self._config.archive_file_mode)
        return Output(file, names, self._writer, self._fail, begin_ns, index)

    def _hand_over(self, now_ns: int) -> None:
        if self._whole is not None:
            self._whole.hand_over(now_ns)
        for part in self._parts.values():
            part.hand_over(now_ns)

    def _end_parts(self, open_from: int) -> None:
        """Finish the parts that can get no more frames."""
        for part in [part for part in self._parts if part < open_from]:
            output = self._parts.pop(part)
            stop_ns = self._splits.begin_ns(open_from) if self._splits is not None else 0
            self._part_ends.append(asyncio.create_task(self._end_part(output, self._start_ns + stop_ns)))

    def _fail(self, error: ArchiveError) -> None:
        """Remember the first fault and end the archive with it."""
        if self._failure is None:
            self._failure = error
            if self._ending is None:
                self._ending = asyncio.create_task(self._end(self._clock.monotonic_ns()))

    async def _end(self, stop_ns: int) -> ArchiveState:
        """Finish all files; store how the archive ended."""
        whole: Document | None = None
        events: list[Event] = []
        try:
            await self._finish_parts(stop_ns)
            if self._whole is not None and self._failure is None:
                whole = await self._end_file(self._whole, stop_ns)
                if whole is not None:
                    events.append(self._event(EventType.ARCHIVE_AVAILABLE, whole))
            if self._splits is not None and self._failure is None and self._last_index:
                events.append(await self._end_splits(stop_ns))
        except ArchiveError as error:
            self._failure = self._failure or error
        stop_wall_ns = self._wall_at(stop_ns)
        if self._failure is None and events:
            self._state = replace(
                self._state, status=ArchiveStatus.AVAILABLE, stop_wall_ns=stop_wall_ns, document=whole
            )
        else:
            events = [await self._end_failed(stop_ns)]
            self._state = replace(self._state, status=ArchiveStatus.FAILED, stop_wall_ns=stop_wall_ns)
        await self._save(self._state, events)
        return self._state

    async def _finish_parts(self, stop_ns: int) -> None:
        """End the parts that are open, and wait for those that end already."""
        for part in list(self._parts):
            output = self._parts.pop(part)
            following = self._parts.values()
            end_ns = min((self._start_ns + later.begin_ns for later in following), default=stop_ns)
            self._part_ends.append(asyncio.create_task(self._end_part(output, end_ns)))
        ends, self._part_ends = self._part_ends, []
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _end_part(self, output: Output, stop_ns: int) -> None:
        """Finish one part and tell it."""
        try:
            document = await self._end_file(output, stop_ns)
        except ArchiveError as error:
            self._failure = self._failure or error
            return
        if document is not None:
            event = self._event(EventType.SPLIT_ARCHIVE_AVAILABLE, document, document["split_index"])
            await self._save(self._state, [event])

    async def _end_file(self, output: Output, stop_ns: int) -> Document | None:
        """Make a file whole and write its metadata; None if nothing was in it. Raises ArchiveError."""
        file = await output.finish()
        if file is None:
            return None
        metadata_names = self._names("json", output.index)
        facts = self._facts(output, metadata_names, file, stop_ns)
        stats = self._all_stats(stop_ns if output is self._whole else None)
        document = available_document(
            self._recording, self._state, facts, stats, self._wall_at(self._clock.monotonic_ns()), output.index
        )
        await self._write_document(metadata_names, document)
        return document

    async def _end_splits(self, stop_ns: int) -> Event:
        """Write which part was the last, and tell it."""
        last_index = split_index(self._last_index)
        self._state = replace(self._state, split_last_index=last_index)
        names = split_end_names(*self._place())
        document = split_end_document(
            self._recording, self._state, names, self._wall_at(stop_ns), self._all_stats(stop_ns)
        )
        await self._write_document(names, document)
        return self._event(EventType.SPLIT_ARCHIVE_END, document)

    async def _end_failed(self, stop_ns: int) -> Event:
        """Give the files up and tell why."""
        for output in (self._whole, *self._parts.values()):
            if output is not None:
                await output.abandon()
        failure = self._failure or ArchiveError(NO_MEDIA, None, "")
        document = failed_document(
            self._recording,
            self._state,
            self._names("webm"),
            self._wall_at(stop_ns),
            self._all_stats(stop_ns),
            failure.reason,
            failure.errno,
        )
        return self._event(EventType.ARCHIVE_FAILED, document)

    async def _write_document(self, names: FileNames, document: Document) -> None:
        def write() -> None:
            with archive_errors(names.path):
                write_document(names, encode_document(document), self._config.archive_file_mode)

        await asyncio.shield(self._writer.submit(write))

    def _facts(self, output: Output, metadata_names: FileNames, file: WholeFile, stop_ns: int) -> FileFacts:
        return FileFacts(
            names=output.names,
            metadata_names=metadata_names,
            size_bytes=file.size_bytes,
            kinds=file.kinds,
            width=file.width,
            height=file.height,
            start_wall_ns=self._wall_at(self._start_ns + output.begin_ns),
            stop_wall_ns=self._wall_at(stop_ns),
        )

    def _all_stats(self, stop_ns: int | None) -> Mapping[str, Any]:
        stop_offset_ns = None if stop_ns is None else stop_ns - self._start_ns
        return {
            kind: {**counters, **self._gaps[kind].summary(stop_offset_ns)} for kind, counters in self._stats().items()
        }

    def _place(self) -> tuple[str, str, str]:
        return (
            str(self._config.archive_dir),
            self._recording.recording_id,
            self._state.connection.connection_id,
        )

    def _names(self, extension: str, index: int | None = None) -> FileNames:
        if index is None:
            return archive_names(*self._place(), extension)
        return split_names(*self._place(), index, extension)

    def _event(self, event_type: EventType, document: Document, *about: str) -> Event:
        connection = self._state.connection
        return Event(
            id=event_id(event_type, self._recording.recording_id, connection.connection_id, *about),
            type=event_type,
            wall_ns=self._wall_at(self._clock.monotonic_ns()),
            channel_id=connection.channel_id,
            document=document,
            connection=connection,
        )
