"""One connection's archive in one recording: frames in; files, documents and events out.

Frames are received in the event loop's thread and submitted to the writer thread in batches. The first error of the
disk ends this archive, and no other, with archive.failed; so does an archive without media.
After an error another archive of the connection may follow (recorder/archive_series.py), which continues the parts.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rokuga.recorder.archive.announcement_order import AnnouncementOrder, OrderedSlot
from rokuga.recorder.archive.archive_file import ArchiveFile
from rokuga.recorder.archive.container_table import container_of
from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.archive.journal_writer import JournalWriter
from rokuga.recorder.archive.names import split_index
from rokuga.recorder.archive.output import TOO_SLOW, UNEXPECTED, Output
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.clock import Clock
from rokuga.recorder.codecs.table import CODECS, DEFAULT_CODECS
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Frame, Kind
from rokuga.recorder.models import WHOLE_FILE, ArchiveState, RecordingParameters
from rokuga.recorder.sync.archive_start import ArchiveStart
from rokuga.recorder.sync.interleaver import Interleaver
from rokuga.recorder.sync.split_policy import SplitPolicy

BATCH_NS: Final = 200 * NS_PER_MS
"""Frames are submitted to the writer at this interval."""

BATCH_GRID_NS: Final = 50 * NS_PER_MS
"""Batches are due at multiples of this: the writer thread is woken once for several archives, not for each."""


@dataclass(frozen=True, slots=True)
class MediaProgress:
    """What an archive has received. `part` is the number of the newest part, 0 without any.

    `width` and `height` are those of the newest key frame, 0 before it; `counters` count since the start.
    """

    recording_id: str = ""
    start_wall_ns: int = 0
    size_bytes: int = 0
    width: int = 0
    height: int = 0
    part: int = 0
    counters: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict)


class Archiver:
    """Accepts frames as soon as it is constructed; `start` and `close` store its state and events."""

    def __init__(
        self,
        journal: JournalWriter,
        parameters: RecordingParameters,
        *,
        config: RecorderConfig,
        writer: WriterThread,
        clock: Clock,
        announcement_order: AnnouncementOrder,
        on_failure: Callable[[], None],
    ) -> None:
        """Begin at the journal's `start_ns`; `parameters` decide which files are written.

        `announcement_order` is the recording's. `on_failure` is called when an error ends the archive.
        """
        self._journal = journal
        self._announcement_order = announcement_order
        self._on_failure = on_failure
        self._config = config
        self._writer = writer
        self._clock = clock
        self._start_ns = journal.start_ns
        self.due_ns = self._start_ns + BATCH_NS
        """When `tick` has work to do again."""
        self._interleave = Interleaver()
        self._opening = ArchiveStart(self._start_ns)
        self._started = asyncio.Event()
        self._failure: ArchiveError | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_last = False
        self.end_ns = 0
        """When its end began; 0 before."""
        self.failed_internally = False
        """Whether it ended by an error of our own, not of the disk."""
        self._parts: dict[int, Output] = {}
        self._part_files: list[asyncio.Task[bool]] = []
        self._part_ends: list[asyncio.Task[None]] = []
        self._last_index = journal.state.parts_before
        self._size_bytes = 0
        self._picture = (0, 0)
        state = journal.state
        audio_codec = DEFAULT_CODECS["audio"] if state.audio is None else state.audio.codec_type
        self._packet_duration_ns = CODECS[audio_codec].packet_duration_ns
        split_ns = (parameters.split_duration or 0) * NS_PER_S
        self._splits = SplitPolicy(split_ns, state.video is not None, state.audio is not None) if split_ns else None
        self._container = container_of(parameters)
        has_whole = parameters.has_whole_files(config.recording_dual_output)
        self._whole = self._output(0) if has_whole else None

    async def start(self) -> None:
        """Store the start, then have the whole file created; does not wait for the disk."""
        try:
            await self._journal.store()
        finally:
            if self._journal.state.owed:
                self._part_ends.append(
                    asyncio.create_task(self._announce_unwritten_parts(self._announcement_order.reserve()))
                )
            if self._whole is not None:
                self._whole.open()
            self._started.set()

    @property
    def state(self) -> ArchiveState:
        """The archive as it is now."""
        return self._journal.state

    @property
    def start_ns(self) -> int:
        """When it began, in monotonic ns."""
        return self._start_ns

    @property
    def is_writing(self) -> bool:
        """Whether frames are still written."""
        return self._ending is None

    @property
    def has_ended(self) -> bool:
        """Whether all files are finished and announced, except for the end of the parts."""
        return self._ending is not None and self._ending.done()

    def keep_early_audio(self) -> None:
        """Keep all audio: the archive begins with its connection."""
        self._opening.keeps_early_audio = True

    def write(self, frame: Frame) -> None:
        """Write a frame; `ArchiveStart` decides about those captured before the archive's start."""
        if self._ending is not None:
            return
        if frame.kind == "audio" and frame.time_ns >= self._start_ns:  # nearly all frames
            self._interleave.push(frame)
        else:
            for placed in self._opening.push(frame):
                self._interleave.push(placed)

    def tick(self, now_ns: int, waiting: Collection[Kind]) -> bool:
        """Submit the batch that is due; return whether a key frame is needed now. `waiting`: see Interleaver."""
        if now_ns < self.due_ns or self._ending is not None or not self._started.is_set():
            return False
        self.due_ns = (now_ns + BATCH_NS) // BATCH_GRID_NS * BATCH_GRID_NS
        self._distribute(self._interleave.pop(now_ns, waiting))
        self._submit_batches()
        opening = self._opening
        lacks_keyframe, opening.lacks_keyframe = opening.lacks_keyframe, False
        if self._splits is None:
            return lacks_keyframe
        open_from = self._splits.open_from(now_ns - self._start_ns)
        self._end_parts([part for part in self._parts if part < open_from], now_ns)
        return self._splits.keyframe_wanted(now_ns - self._start_ns) or lacks_keyframe

    def seconds(self, now_ns: int) -> int:
        """Return whole seconds since the start."""
        return (now_ns - self._start_ns) // NS_PER_S

    def progress(self) -> MediaProgress:
        """Return what it has received so far."""
        state = self._journal.state
        return MediaProgress(
            state.recording_id,
            state.start_wall_ns,
            self._size_bytes,
            *self._picture,
            self._last_index,
            self._journal.counters(),
        )

    def fail(self, error: ArchiveError) -> None:
        """End the archive with this error, unless an earlier one has ended it."""
        self._failure = self._failure or error
        if self._ending is None:
            self._begin_end(self._clock.monotonic_ns())
            self._on_failure()

    def interrupt(self, reason: str, stop_ns: int) -> None:
        """End the archive in order although its connection goes on; its documents contain the reason."""
        if self._ending is None:
            self._journal.interrupt(reason)
            self._begin_end(stop_ns)

    async def close(self, stop_ns: int) -> None:
        """End the archive as of `stop_ns`: files finished, documents written, events stored. Safe to repeat.

        No other archive follows: of one that ended before, the end of the parts is announced now.
        """
        self._is_last = True
        await asyncio.shield(self._begin_end(stop_ns))
        if self._journal.state.owes_parts_end:
            with contextlib.suppress(ArchiveError):
                await self._journal.end_parts(self.end_ns)
            await self._journal.announce_parts_end()

    def _begin_end(self, stop_ns: int) -> "asyncio.Task[None]":
        if self._ending is None:
            self.end_ns = stop_ns
            self._ending = asyncio.create_task(self._end(stop_ns))
            self._ending.add_done_callback(self._release)
        return self._ending

    def _release(self, _ending: "asyncio.Task[None]") -> None:
        """Drop the files and the error: both refer to this archiver, the error by its traceback."""
        self._whole = self._failure = None
        self._parts.clear()

    def _distribute(self, frames: Sequence[Frame]) -> None:
        """Add frames to the batches of the files that they belong to."""
        audio_gaps, video_gaps = self._journal.gaps["audio"], self._journal.gaps["video"]
        for frame in frames:
            offset_ns = frame.time_ns - self._start_ns
            kind, unit = frame.kind, frame.unit
            self._size_bytes += len(unit.data)
            if kind == "audio":
                audio_gaps.add(offset_ns, self._packet_duration_ns(unit.data))
            else:
                video_gaps.add(offset_ns)
            if unit.width:
                self._picture = unit.width, unit.height
            if self._whole is not None:
                self._whole.add(kind, unit, offset_ns)
            if self._splits is not None:
                part = self._splits.assign(frame, offset_ns)
                output = self._parts.get(part) or self._begin_part(part, frame)
                if output is not None:
                    output.add(kind, unit, offset_ns)

    def _begin_part(self, part: int, frame: Frame) -> Output | None:
        """Begin a part with the first frame that can be decoded; None for another one."""
        if self._splits is None or (frame.kind == "video" and not frame.unit.is_keyframe):
            return None
        self._last_index += 1
        output = self._output(self._splits.begin_ns(part), split_index(self._last_index))
        output.open()
        self._parts[part] = output
        return output

    def _output(self, begin_ns: int, index: str = WHOLE_FILE) -> Output:
        state, names = self._journal.state, self._journal.names(index)
        start_wall_ns = self._journal.wall_at(self._start_ns + begin_ns)
        config, submit_sync = self._config, self._writer.submit_sync
        file = ArchiveFile(
            self._container,
            names,
            state.audio,
            state.video,
            config.archive_file_mode,
            start_wall_ns,
            submit_sync,
            config.archive_sync_interval_ns,
        )
        return Output(file, names, self._writer, self.fail, begin_ns, index)

    def _submit_batches(self) -> None:
        if self._whole is not None:
            self._whole.submit_batch()
        for part in self._parts.values():
            part.submit_batch()

    def _end_parts(self, parts: Sequence[int], stop_ns: int) -> None:
        """Finish these parts: each ends where the next one begins, the last one at `stop_ns`."""
        for part in parts:
            output = self._parts.pop(part)
            later = [following.begin_ns for following in self._parts.values() if following.begin_ns > output.begin_ns]
            end_ns = self._start_ns + min(later) if later else stop_ns
            file = asyncio.create_task(self._end_part(output, end_ns))
            self._part_files.append(file)
            self._part_ends.append(
                asyncio.create_task(self._announce_part(output.index, file, self._announcement_order.reserve()))
            )
        self._part_files = [file for file in self._part_files if not file.done() or file.exception() is not None]
        self._part_ends = [end for end in self._part_ends if not end.done() or end.exception() is not None]

    async def _end(self, stop_ns: int) -> None:
        """Finish all files and store how the archive ended."""
        await self._started.wait()
        if self._failure is None:
            for frame in self._opening.flush():
                self._interleave.push(frame)
            self._distribute(self._interleave.flush())
            self._submit_batches()
        if self._failure is None:
            self._end_parts(list(self._parts), stop_ns)
        slot = self._announcement_order.reserve()
        try:
            if self._failure is None:
                await self._finish(stop_ns)
            late = [] if self._failure is None else self._abandon_files(stop_ns)
            if self._failure is None or self._failure.reason != TOO_SLOW:  # a disk that stalls is not waited for
                await asyncio.gather(*late)
                await self._end_parts_if_last(stop_ns)
                await slot.wait()
            self.failed_internally = self._failure is not None and self._failure.reason.startswith(UNEXPECTED)
            storing = self._journal.end(stop_ns, self._failure)
        finally:
            slot.release()
        await storing
        if self._failure is not None:  # the report comes after all parts, however late
            await asyncio.gather(*late)
            await self._end_parts_if_last(stop_ns)
            await self._journal.announce_parts_end()

    async def _finish(self, stop_ns: int) -> None:
        """Finish all files, each with its document."""
        try:
            await asyncio.gather(*self._part_files)
            if self._whole is not None and self._failure is None:
                await self._end_file(self._whole, stop_ns)
        except ArchiveError as error:
            self._failure = self._failure or error

    async def _end_parts_if_last(self, stop_ns: int) -> None:
        """End the parts, unless another archive may continue them. Safe to repeat."""
        if self._is_last:
            try:
                await self._journal.end_parts(stop_ns)
            except ArchiveError as error:
                self._failure = self._failure or error

    async def _announce_unwritten_parts(self, slot: OrderedSlot) -> None:
        """Announce the parts that the archive before this one left without documents."""
        try:
            await slot.wait()
            await self._journal.announce_unwritten_parts()
        except ArchiveError as error:
            self.fail(error)
        finally:
            slot.release()

    async def _end_part(self, output: Output, stop_ns: int) -> bool:
        """Finish one part; return whether its document is written: not of one that is empty or has failed."""
        try:
            return await self._end_file(output, stop_ns)
        except ArchiveError as error:
            await self._abandon_part(output, stop_ns)
            self.fail(error)
            return False

    async def _announce_part(self, index: str, is_written: "asyncio.Task[bool]", slot: OrderedSlot) -> None:
        """Announce one part when its document is written and all earlier ends are announced."""
        try:
            if not await is_written:
                return
            await slot.wait()
            storing = self._journal.announce_part(index)
        finally:
            slot.release()
        await storing

    async def _end_file(self, output: Output, stop_ns: int) -> bool:
        """Finish a file and write its document; False if nothing was in it. Raises ArchiveError."""
        file = await output.finish()
        if file is None:
            return False
        await self._journal.finish_file(output.index, file, stop_ns)
        return True

    def _abandon_files(self, stop_ns: int) -> list[Awaitable[None]]:
        """Make what can be played of the files playable; return what to await, earlier parts included."""
        abandoned = [asyncio.create_task(self._abandon_part(part, stop_ns)) for part in self._parts.values()]
        if self._whole is not None:
            abandoned.append(asyncio.create_task(self._abandon_whole(self._whole)))
        return [*self._part_ends, *abandoned]

    async def _abandon_whole(self, output: Output) -> None:
        """Make what can be played of the whole file playable; archive.failed contains its name."""
        await output.abandon()

    async def _abandon_part(self, output: Output, stop_ns: int) -> None:
        """Make what can be played of a part playable; it is announced later: the numbers of parts have no gap."""
        file = await output.abandon()
        if file is not None:
            self._journal.salvage_part(output.index, file, stop_ns)
