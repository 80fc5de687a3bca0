"""The recorder: connections and their lives, the recordings beside them, and the async context that owns both.

Whoever comes or goes does so under the channel's lock, as everything that changes what it records (recordings.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Self

import structlog

from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.channel import Channels
from rokuga.recorder.clock import Clock, until_tick_s
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import ArchiveProgress, Connection, ConnectionRequest
from rokuga.recorder.connection_events import created_event, destroyed_event
from rokuga.recorder.disk_space import Space
from rokuga.recorder.errors import ConnectionRefused
from rokuga.recorder.event_publisher import EventPublisher
from rokuga.recorder.events import Event
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.models import NodeState, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity
from rokuga.recorder.peer import Peer, PeerHooks
from rokuga.recorder.recordings import Recordings, guarded
from rokuga.recorder.restoration import DirectoryCheck, Restoration, usable
from rokuga.recorder.store import ANSWER_S, RecordingStore, StoreError
from rokuga.recorder.totals import Totals

log = structlog.get_logger()

MEDIA_TIMEOUT = "MEDIA-TIMEOUT"
"""The reason of a peer that fell silent; see recorder/webrtc/peer.py."""

IDLE_TICK_S = 0.1
"""While nobody is connected, expired recordings are looked for this often."""

WATCH_SPACE_S = 1.0
"""Free space is looked at this often."""


class Recorder:
    """The service that fronts talk to. `make_peer` makes the other end of a new connection.

    Nothing in archive_dir is touched before `check_archive_dir` finds nothing wrong with it.
    """

    def __init__(
        self,
        config: RecorderConfig,
        store: RecordingStore,
        make_peer: Callable[[ConnectionRequest, PeerHooks], Peer],
        clock: Clock,
        committed: Callable[[], None],
        draw_id: Callable[[], str] = new_id,
        check_archive_dir: DirectoryCheck = usable,
    ) -> None:
        self._config = config
        self._store = store
        self._make_peer = make_peer
        self._clock = clock
        self._on_committed = committed
        self._draw_id = draw_id
        self._totals = Totals()
        self._writer = WriterThread(config.archive_max_queued_bytes)
        self._channels = Channels()
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._ending = asyncio.Event()
        self._entered = asyncio.Event()
        self._event_publisher = EventPublisher(store, self._committed)
        self._space = Space(config, self._writer)
        self._recordings = Recordings(
            config,
            store,
            self._writer,
            clock,
            self._channels,
            self._space,
            self._event_publisher,
            self._committed,
            self._ending,
            self._spawn,
            draw_id,
        )
        self._restoration = Restoration(
            config.archive_dir, store, self._recordings, clock, self._committed, check_archive_dir
        )
        self._recordings.refusal = self._restoration.refusal

    async def __aenter__(self) -> Self:
        """Take up what the last process left, then live. Raises StoreError."""
        await self._stack.enter_async_context(self._writer)
        await self._stack.enter_async_context(self._tasks)
        try:
            await self._restoration.begin()
        except BaseException:
            self._ending.set()
            await self._stack.aclose()
            raise
        self._living = [
            self._tasks.create_task(self._tick()),
            self._tasks.create_task(self._watch_space()),
            self._tasks.create_task(self._follow()),
            self._tasks.create_task(self._event_publisher.run()),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection and its files; recordings stay active for the next start."""
        await self.end()
        for task in self._living:
            task.cancel()
        await self._stack.aclose()

    async def end(self) -> None:
        """Let nobody in any more, and close every connection and its files. Safe to repeat."""
        self._ending.set()
        for connection in self.connections():
            connection.stop("SHUTDOWN")
        await asyncio.gather(*(connection.wait_closed() for connection in self.connections()))

    async def read_barrier(self) -> None:
        """Return when all that any node decided before this call holds here. Raises MinorityError."""
        await self._store.read_barrier()

    async def nodes(self) -> Sequence[NodeState]:
        """Give the nodes of the cluster; none where there is none. Raises StoreError."""
        return await self._store.nodes()

    async def start_recording(self, parameters: RecordingParameters) -> RecordingState:
        """Record every publisher of the channel, those present and those to come.

        Raises RecordingAlreadyStarted, ArchiveError where the folder cannot be made, StoreError.
        """
        return await self._recordings.start(parameters)

    async def stop_recording(self, channel_id: str) -> RecordingState:
        """End the channel's recording; files and report follow. Raises RecordingNotStarted, StoreError."""
        return await self._recordings.stop(channel_id)

    def recording(self, channel_id: str) -> RecordingState:
        """Give the channel's recording. Raises RecordingNotStarted."""
        return self._recordings.state(channel_id)

    def recordings(self) -> list[RecordingState]:
        """Give all active recordings."""
        return self._recordings.states()

    def connections(self, channel_id: str | None = None) -> list[Connection]:
        """Give the connections of one channel, or all."""
        return self._channels.connections(channel_id)

    async def free_bytes(self) -> int:
        """Ask the writer how much disk is free: waits as long as the writer is stuck. Raises OSError."""
        return await self._space.free_bytes()

    async def drain(self) -> None:
        """Wait until the disk has all that it was given so far."""
        await self._writer.drain()

    def archives(self) -> list[ArchiveProgress]:
        """Give the archives that are being written."""
        now_ns = self._clock.monotonic_ns()
        return [
            ArchiveProgress(c.identity, c.audio, c.video, c.archiver.seconds(now_ns), c.archiver.written())
            for c in self.connections()
            if c.archiver is not None and c.archiver.is_writing
        ]

    def recovery_notes(self) -> Sequence[str]:
        """Return what the last process left and could not be understood; a line each, with its path."""
        return self._restoration.notes

    async def counters(self) -> Mapping[str, int | Mapping[str, int]]:
        """Give what is counted, by the names of the daemon's table of counters."""
        connections = self.connections()
        return {
            **self._totals.counters(connection.stats() for connection in connections),
            "connections": sum(connection.connected.is_set() for connection in connections),
            "recordings": len(self.recordings()),
            "archives": sum(c.archiver is not None and c.archiver.is_writing for c in connections),
        }

    async def connect(self, request: ConnectionRequest) -> Connection:
        """Let a client in: its offer is ready, its life begins. Raises ConnectionRefused."""
        try:
            return await self._connect(request)
        except StoreError as error:
            raise ConnectionRefused("STORE-UNAVAILABLE") from error

    async def _connect(self, request: ConnectionRequest) -> Connection:
        async with self._channels.hold(request.channel_id, ANSWER_S) as channel:
            if self._ending.is_set():
                raise ConnectionRefused("SHUTDOWN")
            if not channel.connections:
                channel.session_id = self._draw_id()
                self._totals.sessions_created += 1
            connection_id = request.connection_id or self._draw_id()
            identity = ConnectionIdentity(
                channel_id=request.channel_id,
                session_id=channel.session_id,
                client_id=request.client_id or connection_id,
                bundle_id=request.bundle_id or request.client_id or connection_id,
                connection_id=connection_id,
                event_metadata_json=request.event_metadata_json,
            )
            clock = self._clock
            connection = Connection(
                identity, request.role, request.audio, request.video, clock.wall_ns(), clock.monotonic_ns()
            )
            connection.attach(lambda hooks: self._make_peer(request, hooks), lambda: self._record_at_once(connection))
            self._channels.enter(channel, connection)
            self._entered.set()
            self._spawn(self._live(connection))
            return connection

    async def _live(self, connection: Connection) -> None:
        """Follow a connection from its offer to the end of its files."""
        began_ns = up_ns = self._clock.monotonic_ns()
        running = asyncio.create_task(connection.run())
        arriving = asyncio.create_task(connection.connected.wait())
        try:
            await asyncio.wait([running, arriving], return_when=asyncio.FIRST_COMPLETED)
            if connection.connected.is_set():
                up_ns = self._clock.monotonic_ns()
                self._totals.arrived(up_ns - began_ns)
                await self._arrive(connection, running)
            await running
        finally:
            arriving.cancel()
            if not running.done():
                connection.stop("INTERNAL-ERROR")
            await self._leave(connection, self._clock.monotonic_ns() - up_ns)
            connection.end()

    def _record_at_once(self, connection: Connection) -> None:
        """Take what a client sends from its first packet on: key frames do not wait for locks and disks."""
        channel = self._channels.get(connection.identity.channel_id)
        recording = None if channel is None else self._recordings.open_in(channel)
        if recording is not None and connection.publishes:
            connection.beginning = self._recordings.begin_archive(recording, connection)

    async def _arrive(self, connection: Connection, running: "asyncio.Task[str]") -> None:
        """Tell that a client is there, and record it if its channel is recorded."""
        async with self._channels.hold(connection.identity.channel_id) as channel:
            await self._event_publisher.publish(
                created_event(connection, channel.connected, self._clock.monotonic_ns())
            )
            if connection.beginning is not None:
                await connection.beginning
            elif (recording := self._recordings.open_in(channel)) and connection.is_recordable and not running.done():
                await self._recordings.begin_archive(recording, connection)

    async def _leave(self, connection: Connection, stay_ns: int) -> None:
        """Close the files of a client that is gone, as of its last media if it fell silent; tell that it is gone."""
        now_ns = self._clock.monotonic_ns()
        ended_ns = connection.last_media_ns if connection.close_reason == MEDIA_TIMEOUT else now_ns
        async with self._channels.hold(connection.identity.channel_id) as channel:
            self._channels.leave(channel, connection)
            self._totals.gone(connection.connected.is_set(), stay_ns, connection.stats(), not channel.connections)
            closing = channel.recording.end_archive(connection, ended_ns or now_ns) if channel.recording else None
        try:
            if closing is not None:
                await closing
        finally:
            if connection.connected.is_set():
                await self._event_publisher.publish(
                    destroyed_event(connection, channel.connected, self._clock.monotonic_ns())
                )

    def _committed(self, events: Sequence[Event]) -> None:
        """Count what the store took, and say that it did."""
        self._totals.stored(events)
        self._on_committed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(guarded(work))

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._tick_all(self._clock.monotonic_ns())
            if self._channels.connections():
                await asyncio.sleep(until_tick_s(loop.time()))
            else:
                await self._idle()

    async def _idle(self) -> None:
        """Wait until a client comes, but no longer than an expired recording may be kept waiting."""
        self._entered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_TICK_S):
                await self._entered.wait()

    def _tick_all(self, now_ns: int) -> None:
        for connection in self.connections():
            self._tick_connection(connection, now_ns)
        self._recordings.tick(now_ns)

    def _tick_connection(self, connection: Connection, now_ns: int) -> None:
        try:
            connection.tick(now_ns)
        except Exception:
            log.exception("unexpected fault", connection_id=connection.identity.connection_id)
            connection.stop("INTERNAL-ERROR")

    async def _watch_space(self) -> None:
        """Look at the free space from time to time, if it matters."""
        while self._config.archive_min_free_bytes:
            await self._recordings.watch_space()
            await asyncio.sleep(WATCH_SPACE_S)

    async def _follow(self) -> None:
        """Take up what the last process left, if that could not be done yet, then follow other nodes."""
        await self._restoration.wait()
        await asyncio.gather(guarded(self._restoration.repair_unknown()), self._recordings.follow())
