"""The recorder as an async context: what the API and signalling call, and the tasks that run beside it.

Whatever changes what a channel records, or who is connected to it, happens while the channel's lock is held.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Self

import structlog

from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.archive_resumption import ArchiveResumption
from rokuga.recorder.background import log_exceptions
from rokuga.recorder.channel import Channels
from rokuga.recorder.clock import Clock, until_tick_s
from rokuga.recorder.cluster_changes import ClusterChanges
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import ArchiveProgress, Connection, ConnectionRequest
from rokuga.recorder.connection_lifecycle import ConnectionLifecycle
from rokuga.recorder.context import DEFAULT_TIMEOUTS, RecorderContext, Timeouts
from rokuga.recorder.disk_space import DiskSpace
from rokuga.recorder.errors import ConnectionRefused, RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.event_publisher import EventPublisher
from rokuga.recorder.events import Event
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.models import NodeState, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity
from rokuga.recorder.peer import Peer, PeerHooks
from rokuga.recorder.recording_folders import RecordingFolders
from rokuga.recorder.recordings import Recordings
from rokuga.recorder.restoration import DirectoryCheck, Restoration, usable
from rokuga.recorder.store import RecordingStore, StoreError
from rokuga.recorder.totals import Totals

log = structlog.get_logger()

IDLE_TICK_S = 0.1
"""Period of the tick while nobody is connected: recordings expire all the same."""

DISK_SPACE_PERIOD_S = 1.0


class Recorder:
    """Records the channels of one daemon. `make_peer` makes the other end of a new connection.

    `on_committed` is called whenever the store has committed events; `make_id` returns new ids. Nothing in
    archive_dir is touched before `check_archive_dir` has found it usable.
    """

    def __init__(
        self,
        config: RecorderConfig,
        store: RecordingStore,
        make_peer: Callable[[ConnectionRequest, PeerHooks], Peer],
        clock: Clock,
        on_committed: Callable[[], None],
        make_id: Callable[[], str] = new_id,
        check_archive_dir: DirectoryCheck = usable,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._make_peer = make_peer
        self._notify = on_committed
        self._totals = Totals()
        writer = WriterThread(config.archive_max_queued_bytes)
        self.context = context = RecorderContext(
            config=config,
            store=store,
            clock=clock,
            writer=writer,
            disk_space=DiskSpace(config, writer),
            event_publisher=EventPublisher(store, self._on_committed, clock),
            on_committed=self._on_committed,
            make_id=make_id,
            spawn=self._spawn,
            stopping=asyncio.Event(),
            timeouts=timeouts,
        )
        self.channels = channels = Channels()
        self.resumption = ArchiveResumption(context, channels)
        self.all_recordings = Recordings(context, channels, self.resumption.add)
        self._folders = RecordingFolders(context)
        self._cluster_changes = ClusterChanges(context, channels, self.all_recordings)
        self._restoration = Restoration(context, self.all_recordings, check_archive_dir)
        self._connected = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Restore what the previous run left, then run. Raises StoreError."""
        await self._stack.enter_async_context(self.context.writer)
        await self._stack.enter_async_context(self._tasks)
        try:
            await self._restoration.begin()
        except BaseException:
            self.context.stopping.set()
            await self._stack.aclose()
            raise
        self._loops = [
            self._tasks.create_task(self._tick_forever()),
            self._tasks.create_task(self._check_disk_space_forever()),
            self._tasks.create_task(self._follow()),
            self._tasks.create_task(self.context.event_publisher.run()),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection and its files; recordings stay active for the next start."""
        await self.end()
        for task in self._loops:
            task.cancel()
        await self._stack.aclose()

    async def end(self) -> None:
        """Refuse new connections, and close every connection and its files. Safe to repeat."""
        self.context.stopping.set()
        for connection in self.connections():
            connection.stop("SHUTDOWN")
        await asyncio.gather(*(connection.wait_closed() for connection in self.connections()))

    async def read_barrier(self) -> None:
        """Wait until every start and stop of any node before this call is applied here. Raises MinorityError."""
        await self.context.store.read_barrier()

    async def nodes(self) -> Sequence[NodeState]:
        """Return the nodes of the cluster, none without one. Raises StoreError."""
        return await self.context.store.nodes()

    async def start_recording(self, parameters: RecordingParameters) -> RecordingState:
        """Record every publisher of the channel, those present and those to come.

        Raises RecordingAlreadyStarted, ArchiveError where the folder cannot be made, StoreError.
        """
        if (refusal := self._restoration.refusal()) is not None:
            raise refusal
        context = self.context
        async with self.channels.hold(parameters.channel_id, context.timeouts.request_timeout_s) as channel:
            if channel.recording is not None:
                raise RecordingAlreadyStarted
            state = RecordingState(context.make_id(), parameters, context.clock.wall_ns())
            recording = self.all_recordings.make(state)
            events = [recording.started_event()]
            await self._folders.make(recording.folder)
            is_started = False
            try:
                is_started = await context.store.start_recording(state, events)
            finally:
                if not is_started:
                    await self._folders.remove_empty(recording.folder)
            if not is_started:
                raise RecordingAlreadyStarted
            recording.is_start_published = True
            self._on_committed(events)
            await self.all_recordings.record(channel, recording)
            return state

    async def stop_recording(self, channel_id: str) -> RecordingState:
        """End the channel's recording; files and report follow. Raises RecordingNotStarted, StoreError."""
        async with self.channels.hold(channel_id, self.context.timeouts.request_timeout_s) as channel:
            return await self.all_recordings.stop(channel)

    def recording(self, channel_id: str) -> RecordingState:
        """Return the channel's recording. Raises RecordingNotStarted."""
        channel = self.channels.get(channel_id)
        if channel is None or channel.recording is None:
            raise RecordingNotStarted
        return channel.recording.state

    def recordings(self) -> list[RecordingState]:
        """Return all active recordings."""
        return [recording.state for recording in self.channels.recordings()]

    def connections(self, channel_id: str | None = None) -> list[Connection]:
        """Return the connections of one channel, or all."""
        return self.channels.connections(channel_id)

    def archives(self) -> list[ArchiveProgress]:
        """Return the archives that are being written."""
        now_ns = self.context.clock.monotonic_ns()
        return [
            ArchiveProgress(c.identity, c.audio, c.video, c.archiver.seconds(now_ns), c.archiver.progress())
            for c in self.connections()
            if c.archiver is not None and c.archiver.is_writing
        ]

    async def connect(self, request: ConnectionRequest) -> Connection:
        """Return a new connection, whose offer is ready. Raises ConnectionRefused."""
        try:
            async with self.channels.hold(request.channel_id, self.context.timeouts.request_timeout_s) as channel:
                if self.context.stopping.is_set():
                    raise ConnectionRefused("SHUTDOWN")
                if not channel.connections:
                    channel.session_id = self.context.make_id()
                    self._totals.sessions_created += 1
                connection = self._make_connection(request, channel.session_id)
                self.channels.add(channel, connection)
                self._connected.set()
                return connection
        except StoreError as error:
            raise ConnectionRefused("STORE-UNAVAILABLE") from error

    def _make_connection(self, request: ConnectionRequest, session_id: str) -> Connection:
        """Make a connection and its peer, and run it in the background."""
        context = self.context
        connection_id = request.connection_id or context.make_id()
        identity = ConnectionIdentity(
            channel_id=request.channel_id,
            session_id=session_id,
            client_id=request.client_id or connection_id,
            bundle_id=request.bundle_id or request.client_id or connection_id,
            connection_id=connection_id,
            event_metadata_json=request.event_metadata_json,
        )
        wall_ns, now_ns = context.clock.wall_ns(), context.clock.monotonic_ns()
        connection = Connection(identity, request.role, request.audio, request.video, wall_ns, now_ns)
        lifecycle = ConnectionLifecycle(context, self.channels, self._totals, connection)
        connection.attach(lambda hooks: self._make_peer(request, hooks), lifecycle.begin_archive)
        self._spawn(lifecycle.run())
        return connection

    async def free_bytes(self) -> int:
        """Return the free bytes, measured by the writer thread: blocks as long as that does. Raises OSError."""
        return await self.context.disk_space.free_bytes()

    async def drain(self) -> None:
        """Wait until everything that the writer has received so far is written."""
        await self.context.writer.drain()

    def recovery_notes(self) -> Sequence[str]:
        """Return a line on each thing that the previous run left and that could not be recovered."""
        return self._restoration.notes

    async def counters(self) -> Mapping[str, int | Mapping[str, int]]:
        """Return all counters by the names of the daemon's table of counters."""
        connections = self.connections()
        return {
            **self._totals.counters(connection.stats() for connection in connections),
            "connections": sum(connection.connected.is_set() for connection in connections),
            "recordings": len(self.recordings()),
            "archives": sum(c.archiver is not None and c.archiver.is_writing for c in connections),
        }

    def tick(self, now_ns: int) -> None:
        """Do what is due at this time for all connections and recordings."""
        for connection in self.connections():
            try:
                connection.tick(now_ns)
            except Exception:
                log.exception("internal error, connection closed", connection_id=connection.identity.connection_id)
                connection.stop("INTERNAL-ERROR")
        self.resumption.tick(now_ns)
        self.all_recordings.tick(now_ns)

    async def check_disk_space(self) -> None:
        """Close all archives in order if the disk is nearly full; none begins until there is space again."""
        await self.context.disk_space.measure()
        if (refusal := self.context.disk_space.refusal()) is not None:
            self.all_recordings.interrupt_archives(refusal.reason)

    def _on_committed(self, events: Sequence[Event]) -> None:
        self._totals.stored(events)
        self._notify()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(log_exceptions(work))

    async def _tick_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.tick(self.context.clock.monotonic_ns())
            if self.connections():
                await asyncio.sleep(until_tick_s(loop.time()))
                continue
            self._connected.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_TICK_S):
                    await self._connected.wait()

    async def _check_disk_space_forever(self) -> None:
        while self.context.config.archive_min_free_bytes:
            await self.check_disk_space()
            await asyncio.sleep(DISK_SPACE_PERIOD_S)

    async def _follow(self) -> None:
        """Restore what the previous run left, if that was not possible at the start, then follow other nodes."""
        await self._restoration.wait()
        await asyncio.gather(log_exceptions(self._restoration.repair_unknown()), self._cluster_changes.run())
