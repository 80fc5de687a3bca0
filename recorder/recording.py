"""One recording: its archives, its end, its report.

A connection's archives are open from the moment the first one began until the connection leaves or the recording
ends, and the files of the last one are whole and its event is stored: after a fault another archive follows. The
report is due when the recording is stopping and nothing is open; the store says who tells it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import structlog

from rokuga.recorder.archive.account import Account
from rokuga.recorder.archive.announcement_order import Turns
from rokuga.recorder.archive.archiver import Archiver
from rokuga.recorder.archive.disk import ArchiveError, check_room, make_folder, sync_parent, write_json
from rokuga.recorder.archive.leftovers import Outcome, repair_leftovers
from rokuga.recorder.archive.metadata import recording_document
from rokuga.recorder.archive.names import recording_folder, report_names
from rokuga.recorder.archive.recovery import Recovery, unfinished
from rokuga.recorder.archive.report import report_document
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.archive_series import ArchiveSeries
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import Connection
from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import ArchiveState, ArchiveStatus, RecordingState, RecordingStatus
from rokuga.recorder.store import RecordingStore, StoreError

log = structlog.get_logger()

T = TypeVar("T")

OTHERS_S: Final = 1.0
"""How long the end of the daemon still waits for the archives of other nodes; the report is told without us then."""

STORE_AGAIN_S: Final = 1.0
"""Pause after which the store is asked again to keep the end of an archive or of a recording."""


class Recording:
    """One recording of one channel, from its start to its report."""

    def __init__(
        self,
        state: RecordingState,
        config: RecorderConfig,
        store: RecordingStore,
        writer: WriterThread,
        clock: Clock,
        committed: Callable[[Sequence[Event]], None],
        ending: asyncio.Event,
        interrupted: Callable[["Recording"], None],
    ) -> None:
        """`ending` is set once the daemon ends: the store is not insisted on any more then.

        `interrupted` is called when a fault ends the archive of a connection that goes on.
        """
        self.state = state
        self._config = config
        self._store = store
        self._writer = writer
        self._clock = clock
        self._committed = committed
        self._ending = ending
        self._interrupted = interrupted
        self._turns = Turns()
        self.is_start_told = False
        self._series: dict[str, ArchiveSeries] = {}
        self._nothing_open = asyncio.Event()
        self._nothing_open.set()
        self._start_ns = clock.monotonic_ns() - max(clock.wall_ns() - state.start_wall_ns, 0)

    @property
    def expires_ns(self) -> int | None:
        """The monotonic time at which it reaches its `expire_time`, None where it has none."""
        expire_time = self.state.parameters.expire_time
        return self._start_ns + expire_time * NS_PER_S if expire_time else None

    def is_expired(self, now_ns: int) -> bool:
        """Whether the recording has reached its `expire_time`."""
        expires_ns = self.expires_ns
        return expires_ns is not None and now_ns >= expires_ns

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

    def begin_archive(self, connection: Connection, refusal: ArchiveError | None = None) -> Coroutine[Any, Any, None]:
        """Record this connection from now on; await the answer for its files to be begun and its start to be told.

        One that is refused is a failed archive, told as such.
        """
        connection_id = connection.identity.connection_id
        series = self._series.setdefault(connection_id, ArchiveSeries(connection, self._make_archiver))
        self._nothing_open.clear()
        return self._start(series.begin(), refusal)

    def _make_archiver(self, connection: Connection, before: ArchiveState | None) -> Archiver:
        return Archiver(
            self._open_account(connection, before),
            self.state.parameters,
            config=self._config,
            writer=self._writer,
            clock=self._clock,
            turns=self._turns,
            on_failure=lambda: self._interrupted(self),
        )

    def _open_account(self, connection: Connection, before: ArchiveState | None) -> Account:
        start_ns = self._clock.monotonic_ns()
        start_wall_ns = self.wall_at(start_ns)
        recording_id, audio, video = self.state.recording_id, connection.audio, connection.video
        archive = (
            ArchiveState(recording_id, connection.identity, audio, video, start_wall_ns)
            if before is None
            else before.following(start_wall_ns)
        )
        return Account(
            self.state,
            archive,
            start_ns,
            config=self._config,
            writer=self._writer,
            clock=self._clock,
            wall_at=self.wall_at,
            stats=connection.stats_from_now(),
            save=self._save,
        )

    async def _start(self, archiver: Archiver, refusal: ArchiveError | None) -> None:
        refusal = refusal or await self._make_folder()
        await archiver.start()
        if refusal is not None:
            archiver.fail(refusal)

    async def _make_folder(self) -> ArchiveError | None:
        """Make the folder where it is not there: another node started the recording, or somebody deleted it.

        Returns what is in the way. It is synced later: files are not announced before their folder's names are.
        """
        folder = self._folder
        try:
            await self._writer.submit(lambda: make_folder(folder, self._config.archive_folder_mode))
        except ArchiveError as error:
            return error
        self._writer.beside(lambda: sync_parent(folder))
        return None

    @property
    def _folder(self) -> str:
        return recording_folder(str(self._config.archive_dir), self.state.recording_id)

    def interrupt_archives(self, reason: str, stop_ns: int) -> None:
        """End all archives in order, though their connections go on."""
        for series in self._series.values():
            series.interrupt(reason, stop_ns)
        self._interrupted(self)

    def unrecorded(self, now_ns: int) -> list[Connection]:
        """Return the connections that send, of which the next archive is due."""
        return [series.connection for series in self._series.values() if series.may_begin(now_ns)]

    @property
    def is_interrupted(self) -> bool:
        """Whether a connection waits for its next archive, or will when it sends."""
        return any(not series.is_writing for series in self._series.values())

    async def has_room(self) -> bool:
        """Try whether files can be written now."""
        folder, mode = self._folder, self._config.archive_folder_mode
        try:
            await self._writer.submit(lambda: make_folder(folder, mode), behind=True)
            await self._writer.submit(lambda: check_room(folder), behind=True)
        except ArchiveError:
            return False
        return True

    def end_archive(self, connection: Connection, stop_ns: int) -> Coroutine[Any, Any, None]:
        """Take the connection out of the recording now; await the answer for its files to be whole and announced."""
        connection.end_archive()
        return self._close(self._series.get(connection.identity.connection_id), stop_ns)

    async def _close(self, series: ArchiveSeries | None, stop_ns: int) -> None:
        if series is None:
            return
        try:
            await series.end(stop_ns)
        finally:
            self._series.pop(series.connection.identity.connection_id, None)
            if not self._series:
                self._nothing_open.set()

    async def _save(self, archive: ArchiveState, events: Sequence[Event]) -> bool:
        """Store an archive; its end again and again until the store takes it."""
        log_archive(archive, events)
        try:
            if archive.status is ArchiveStatus.WRITING:
                await self._store.save_archive(archive, events)
            else:
                await self._until_stored(lambda: self._store.save_archive(archive, events))
        except StoreError as error:
            log.error("an archive cannot be stored", recording_id=archive.recording_id, reason=str(error))
            return False
        self._committed(events)
        return True

    async def _until_stored(self, work: Callable[[], Awaitable[T]]) -> T:
        """Repeat the work until the store does it. Raises StoreError once the daemon ends."""
        while True:
            try:
                return await work()
            except StoreError as error:
                if self._ending.is_set():
                    raise
                log.error("the store does not work", recording_id=self.state.recording_id, reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STORE_AGAIN_S):
                    await self._ending.wait()

    async def recover(self) -> list[str]:
        """After a start: end the archives that the last process was writing; return what could not be understood."""
        notes = []
        for archive in unfinished(await self._store.archives(self.state.recording_id)):
            notes += await self._recover(archive)
        self._go_on_after(await self._store.archives(self.state.recording_id))
        folder, wall_ns = self._config.archive_dir / self.state.recording_id, self._clock.wall_ns()
        left = await self._writer.submit(lambda: repair_leftovers(folder, wall_ns))
        return notes + [str(each) for each in left if each.outcome in {Outcome.SET_ASIDE, Outcome.FAULT}]

    async def _recover(self, archive: ArchiveState) -> list[str]:
        """End one archive; it is failed where our own fault keeps it from being finished."""
        recovery = Recovery(self._config, self.state, archive, self._clock.wall_ns())
        try:
            await self._store.save_archive(await self._writer.submit(recovery.finish_files), [])
            ended, events = await self._writer.submit(recovery.announce)
        except StoreError:
            raise
        except Exception as error:
            log.exception("an archive cannot be recovered", connection_id=archive.connection.connection_id)
            ended, events = recovery.give_up(repr(error))
        log_archive(ended, events)
        await self._store.save_archive(ended, events)
        self._committed(events)
        return recovery.notes

    def _go_on_after(self, archives: Sequence[ArchiveState]) -> None:
        """Have the time be no earlier than it was: the wall clock may have been set back while no process ran."""
        latest_wall_ns = max((archive.stop_wall_ns or archive.start_wall_ns for archive in archives), default=0)
        self._start_ns -= max(latest_wall_ns - self.wall_at(self._clock.monotonic_ns()), 0)

    async def stop(self) -> bool:
        """Take no new archives from now on; False if the recording was stopped already.

        A recording that expired while no process ran ended then.
        """
        now_ns, expires_ns = self._clock.monotonic_ns(), self.expires_ns
        stop_wall_ns = self.wall_at(now_ns if expires_ns is None else min(now_ns, expires_ns))
        if not await self._store.stop_recording(self.state.recording_id, stop_wall_ns):
            return False
        self.state = replace(self.state, status=RecordingStatus.STOPPING, stop_wall_ns=stop_wall_ns)
        return True

    def stopped(self, state: RecordingState) -> None:
        """Take that another node stopped the recording."""
        self.state = state

    async def finish(self) -> None:
        """Wait for the last archive of all nodes, then write the report and tell it, unless another node does."""
        await self._nothing_open.wait()
        archives = await self._until_stored(lambda: self._store.archives(self.state.recording_id))
        if any(archive.status is ArchiveStatus.WRITING for archive in archives):
            log.error("an archive's end is not stored; the next start ends it", recording_id=self.state.recording_id)
            return
        concluded = await self._until_stored(self._conclude)
        report = None if concluded is None else await self._report(concluded)
        await self._until_stored(
            lambda: self._store.finish_recording(self.state.recording_id, [report] if report else [])
        )
        self._committed([report] if report else [])
        self.state = replace(self.state, status=RecordingStatus.FINISHED)

    async def _conclude(self) -> Sequence[ArchiveState] | None:
        """Wait for the other nodes. Raises StoreError, also where they take too long for a daemon that ends."""
        concluding = asyncio.ensure_future(self._store.claim_report(self.state.recording_id))
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({concluding, ending}, return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(OTHERS_S):
                return await concluding
        except TimeoutError as error:
            raise StoreError("the daemon ends before all other nodes have ended their archives") from error
        finally:
            concluding.cancel()
            ending.cancel()

    async def _report(self, archives: Sequence[ArchiveState]) -> Event:
        """Write the report's file; give its event."""
        config = self._config
        document = report_document(str(config.archive_dir), config.label, config.node_name, self.state, archives)
        document["file_written"] = await self._write_report(document)
        return Event(
            id=event_id(EventType.RECORDING_REPORT, self.state.recording_id),
            type=EventType.RECORDING_REPORT,
            wall_ns=self.wall_at(self._clock.monotonic_ns()),
            channel_id=self.state.parameters.channel_id,
            document=document,
        )

    async def _write_report(self, document: Document) -> bool:
        """Write the report file; False where the disk does not take it. The event is told all the same."""
        names = report_names(str(self._config.archive_dir), self.state.recording_id)
        try:
            if (refusal := await self._make_folder()) is not None:
                raise refusal
            mode = self._config.archive_file_mode
            await self._writer.submit(lambda: write_json(names, document, mode), behind=True)
        except ArchiveError as error:
            log.warning("the report cannot be written", path=error.path, reason=error.reason)
            return False
        return True


def log_archive(archive: ArchiveState, events: Sequence[Event]) -> None:
    """Tell the operator of archives that failed."""
    for event in events:
        if event.type is EventType.ARCHIVE_FAILED:
            found = {key: event.document[key] for key in ("reason", "errno", "path") if key in event.document}
            log.warning("an archive failed", connection_id=archive.connection.connection_id, **found)
