"""One recording of one channel, and its archives.

A connection's archives are open from the moment the first one begins until the connection or the recording ends, the
last file is finished and its event is stored: after a fault another archive follows.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from rokuga.recorder.archive.announcement_order import AnnouncementOrder
from rokuga.recorder.archive.archiver import Archiver
from rokuga.recorder.archive.disk import ArchiveError, check_writable, make_folder, sync_parent
from rokuga.recorder.archive.journal import Journal, next_archive
from rokuga.recorder.archive.journal_writer import JournalWriter
from rokuga.recorder.archive.metadata import recording_document
from rokuga.recorder.archive.names import recording_folder
from rokuga.recorder.archive_series import ArchiveSeries
from rokuga.recorder.connection import Connection
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.events import Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import ArchiveState, ArchiveStatus, RecordingState, RecordingStatus
from rokuga.recorder.store import StoreError

log = structlog.get_logger()


class Recording:
    """One recording of one channel, from its start to its report.

    `on_interrupted` is called when a fault ends the archive of a connection that is still open.
    """

    def __init__(
        self, context: RecorderContext, state: RecordingState, on_interrupted: Callable[["Recording"], None]
    ) -> None:
        self.state = state
        self._context = context
        self._on_interrupted = on_interrupted
        self._announcement_order = AnnouncementOrder()
        self.is_start_published = False
        self._series: dict[str, ArchiveSeries] = {}
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        clock = context.clock
        self._start_ns = clock.monotonic_ns() - max(clock.wall_ns() - state.start_wall_ns, 0)

    @property
    def recording_id(self) -> str:
        """The id of this recording."""
        return self.state.recording_id

    @property
    def folder(self) -> str:
        """The path of the folder with its files."""
        return recording_folder(str(self._context.config.archive_dir), self.recording_id)

    @property
    def expires_ns(self) -> int | None:
        """The monotonic time at which it reaches its `expire_time`, None where it has none."""
        expire_time = self.state.parameters.expire_time
        return self._start_ns + expire_time * NS_PER_S if expire_time else None

    def is_expired(self, now_ns: int) -> bool:
        """Return whether the recording has reached its `expire_time`."""
        expires_ns = self.expires_ns
        return expires_ns is not None and now_ns >= expires_ns

    def wall_at(self, monotonic_ns: int) -> int:
        """Return the wall time of a monotonic time, as if the wall clock had not been set since the start."""
        return self.state.start_wall_ns + monotonic_ns - self._start_ns

    def continue_after(self, wall_ns: int) -> None:
        """Make `wall_at` of now no earlier than this: the wall clock may have been set back between two runs."""
        self._start_ns -= max(wall_ns - self.wall_at(self._context.clock.monotonic_ns()), 0)

    def started_event(self) -> Event:
        """Return the recording.started of this recording."""
        return Event(
            id=event_id(EventType.RECORDING_STARTED, self.recording_id),
            type=EventType.RECORDING_STARTED,
            wall_ns=self.state.start_wall_ns,
            channel_id=self.state.parameters.channel_id,
            document=recording_document(self.state),
        )

    async def stop(self) -> bool:
        """Store that it ended, now or at its `expire_time` if that was earlier; False if it had ended already."""
        now_ns, expires_ns = self._context.clock.monotonic_ns(), self.expires_ns
        stop_wall_ns = self.wall_at(now_ns if expires_ns is None else min(now_ns, expires_ns))
        if not await self._context.store.stop_recording(self.recording_id, stop_wall_ns):
            return False
        self.state = replace(self.state, status=RecordingStatus.STOPPING, stop_wall_ns=stop_wall_ns)
        return True

    def begin_archive(self, connection: Connection) -> "BegunArchive":
        """Receive the frames of a connection from now on. Synchronous: no frame is lost while the store is written.

        Await `start` of the result to store the archive and to create its files.
        """
        connection_id = connection.identity.connection_id
        series = self._series.setdefault(connection_id, ArchiveSeries(connection, self._make_archiver))
        self._all_closed.clear()
        return BegunArchive(self, series.begin(), self._context.disk_space.refusal())

    def _make_archiver(self, connection: Connection, before: ArchiveState | None) -> Archiver:
        context = self._context
        return Archiver(
            self._open_journal(connection, before),
            self.state.parameters,
            config=context.config,
            writer=context.writer,
            clock=context.clock,
            announcement_order=self._announcement_order,
            on_failure=lambda: self._on_interrupted(self),
        )

    def _open_journal(self, connection: Connection, before: ArchiveState | None) -> JournalWriter:
        context = self._context
        start_ns = context.clock.monotonic_ns()
        start_wall_ns = self.wall_at(start_ns)
        audio, video = connection.audio, connection.video
        archive = (
            ArchiveState(self.recording_id, connection.identity, audio, video, start_wall_ns)
            if before is None
            else next_archive(before, start_wall_ns)
        )
        has_whole_file = self.state.parameters.has_whole_files(context.config.recording_dual_output)
        return JournalWriter(
            Journal(self.state, archive, str(context.config.archive_dir), has_whole_file),
            start_ns,
            file_mode=context.config.archive_file_mode,
            writer=context.writer,
            clock=context.clock,
            wall_at=self.wall_at,
            counters=connection.stats_from_now(),
            save=self._save,
        )

    async def make_folder(self) -> ArchiveError | None:
        """Make the folder if it is missing: another node started the recording, or somebody deleted it.

        Returns the error, if any. The parent is synced later: files are announced after their folder's name is on
        the disk.
        """
        folder, mode, writer = self.folder, self._context.config.archive_folder_mode, self._context.writer
        try:
            await writer.submit(lambda: make_folder(folder, mode))
        except ArchiveError as error:
            return error
        writer.submit_sync(lambda: sync_parent(folder))
        return None

    async def can_write(self) -> bool:
        """Try whether files can be written now."""
        folder, mode, writer = self.folder, self._context.config.archive_folder_mode, self._context.writer
        try:
            await writer.submit(lambda: make_folder(folder, mode), in_pool=True)
            await writer.submit(lambda: check_writable(folder), in_pool=True)
        except ArchiveError:
            return False
        return True

    def interrupt_archives(self, reason: str, stop_ns: int) -> None:
        """End all archives in order, while their connections stay open."""
        for series in self._series.values():
            series.interrupt(reason, stop_ns)
        self._on_interrupted(self)

    def unrecorded(self, now_ns: int) -> list[Connection]:
        """Return the connections that send and of which the next archive is due."""
        return [series.connection for series in self._series.values() if series.may_begin(now_ns)]

    @property
    def is_interrupted(self) -> bool:
        """Whether an open connection has no archive at the moment."""
        return any(not series.is_writing for series in self._series.values())

    async def close_archives(self, connection: Connection, stop_ns: int) -> None:
        """Wait until the files of a connection, which receives no frames any more, are finished and announced."""
        connection_id = connection.identity.connection_id
        series = self._series.get(connection_id)
        if series is None:
            return
        try:
            await series.end(stop_ns)
        finally:
            self._series.pop(connection_id, None)
            if not self._series:
                self._all_closed.set()

    async def wait_archives_closed(self) -> None:
        """Wait until no archive of this node is open."""
        await self._all_closed.wait()

    async def _save(self, archive: ArchiveState, events: Sequence[Event]) -> bool:
        """Store an archive: one attempt for a change, retries for its end. False if it is not stored."""
        log_failed_archives(archive, events)
        store = self._context.store
        try:
            if archive.status is ArchiveStatus.WRITING:
                await store.save_archive(archive, events)
            else:
                await self._context.until_stored(
                    lambda: store.save_archive(archive, events),
                    "store the end of an archive",
                    recording_id=archive.recording_id,
                )
        except StoreError as error:
            log.error("archive not stored", recording_id=archive.recording_id, reason=str(error))
            return False
        self._context.on_committed(events)
        return True


@dataclass(frozen=True, slots=True)
class BegunArchive:
    """An archive that receives frames already. With a `refusal` it becomes a failed one."""

    recording: Recording
    archiver: Archiver
    refusal: ArchiveError | None

    async def start(self) -> None:
        """Store the archive with its archive.started, and have its files created."""
        refusal = self.refusal or await self.recording.make_folder()
        await self.archiver.start()
        if refusal is not None:
            self.archiver.fail(refusal)


def log_failed_archives(archive: ArchiveState, events: Sequence[Event]) -> None:
    """Log the failure that each archive.failed among the events contains."""
    for event in events:
        if event.type is EventType.ARCHIVE_FAILED:
            found = {key: event.document[key] for key in ("reason", "errno", "path") if key in event.document}
            log.warning("archive failed", connection_id=archive.connection.connection_id, **found)
