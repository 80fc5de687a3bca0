"""One recording: its archives, its end, its report.

An archive is open from the moment it began until its files are whole and its event is stored. The report is due
when the recording is stopping and nothing is open; the store says who tells it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import structlog

from rokuga.recorder.archive.archiver import Archiver
from rokuga.recorder.archive.metadata import encode_document, recording_document, report_document
from rokuga.recorder.archive.names import report_names
from rokuga.recorder.archive.writer import ArchiveError, WriterThread, archive_errors, write_document
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import Connection
from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.states import ArchiveState, RecordingState, RecordingStatus
from rokuga.recorder.store import RecordingStore

log = structlog.get_logger()


class Recording:
    """One recording of one channel, from its start to its report."""

    def __init__(
        self,
        state: RecordingState,
        config: RecorderConfig,
        store: RecordingStore,
        writer: WriterThread,
        clock: Clock,
        committed: Callable[[], None],
    ) -> None:
        self.state = state
        self._config = config
        self._store = store
        self._writer = writer
        self._clock = clock
        self._committed = committed
        self._open = 0
        self._nothing_open = asyncio.Event()
        self._nothing_open.set()
        self._start_ns = clock.monotonic_ns() - max(clock.wall_ns() - state.start_wall_ns, 0)
        expire_time = state.parameters.expire_time
        self.expires_ns = self._start_ns + expire_time * NS_PER_S if expire_time else None

    def is_expired(self, now_ns: int) -> bool:
        """Whether the recording has reached its `expire_time`."""
        return self.expires_ns is not None and now_ns >= self.expires_ns

    def wall_at(self, monotonic_ns: int) -> int:
        """Give the wall time of a monotonic one, as if the wall clock had not been set since the start."""
        return self.state.start_wall_ns + monotonic_ns - self._start_ns

    def started_event(self) -> Event:
        """Give the recording.started of this recording."""
        return Event(
            id=event_id(EventType.RECORDING_STARTED, self.state.recording_id),
            type=EventType.RECORDING_STARTED,
            wall_ns=self.state.start_wall_ns,
            channel_id=self.state.parameters.channel_id,
            document=recording_document(self.state),
        )

    async def begin_archive(self, connection: Connection) -> None:
        """Record this connection from now on. A file that cannot be begun is a failed archive, told as such."""
        archiver = Archiver(
            recording=self.state,
            identity=connection.identity,
            audio=connection.audio,
            video=connection.video,
            config=self._config,
            writer=self._writer,
            clock=self._clock,
            wall_at=self.wall_at,
            stats=connection.stats_from_now(),
            save=self._save,
        )
        self._open += 1
        self._nothing_open.clear()
        connection.begin_archive(archiver)
        await archiver.start()

    def end_archive(self, connection: Connection, stop_ns: int) -> Coroutine[Any, Any, None]:
        """Take the connection out of the recording now; await the answer for its files to be whole and announced."""
        return self._close(connection.end_archive(), stop_ns)

    async def _close(self, archiver: Archiver | None, stop_ns: int) -> None:
        if archiver is None:
            return
        try:
            await archiver.close(stop_ns)
        finally:
            self._open -= 1
            if not self._open:
                self._nothing_open.set()

    async def _save(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        await self._store.save_archive(archive, events)
        self._committed()

    async def stop(self) -> bool:
        """Take no new archives from now on; False if the recording was stopped already."""
        stop_wall_ns = self.wall_at(self._clock.monotonic_ns())
        if not await self._store.stop_recording(self.state.recording_id, stop_wall_ns):
            return False
        self.state = replace(self.state, status=RecordingStatus.STOPPING, stop_wall_ns=stop_wall_ns)
        return True

    async def finish(self) -> None:
        """Wait for the last archive, then write the report and tell it."""
        await self._nothing_open.wait()
        archives = await self._store.archives(self.state.recording_id)
        config = self._config
        document = report_document(str(config.archive_dir), config.label, config.node_name, self.state, archives)
        document["file_written"] = await self._write_report(document)
        report = Event(
            id=event_id(EventType.RECORDING_REPORT, self.state.recording_id),
            type=EventType.RECORDING_REPORT,
            wall_ns=self.wall_at(self._clock.monotonic_ns()),
            channel_id=self.state.parameters.channel_id,
            document=document,
        )
        await self._store.finish_recording(self.state.recording_id, [report])
        self._committed()
        self.state = replace(self.state, status=RecordingStatus.FINISHED)

    async def _write_report(self, document: Document) -> bool:
        """Write the report file; False where the disk does not take it. The event is told all the same."""
        names = report_names(str(self._config.archive_dir), self.state.recording_id)

        def write() -> None:
            with archive_errors(names.path):
                write_document(names, encode_document(document), self._config.archive_file_mode)

        try:
            await self._writer.submit(write)
        except ArchiveError as error:
            log.warning("the report cannot be written", path=error.path, reason=error.reason)
            return False
        return True
