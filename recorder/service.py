"""The recorder: recordings by channel, connections, and the async context that owns them.

Everything that changes what a channel records (start, stop, expiry, a client that comes or goes) happens under that
channel's lock, one after the other. Closing files does not: it takes as long as it takes, beside the lock.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import structlog

from rokuga.recorder.archive.names import recording_folder
from rokuga.recorder.archive.writer import (
    WriterThread,
    free_bytes,
    has_less_free,
    low_space,
    make_folder,
    remove_empty_folder,
)
from rokuga.recorder.channel import Channel
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import ArchiveProgress, Connection, ConnectionRequest, Peer, PeerHooks
from rokuga.recorder.errors import ConnectionRefused, RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.events import Event
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.media import ConnectionIdentity
from rokuga.recorder.presence import created_event, destroyed_event, lost_events
from rokuga.recorder.recording import Recording
from rokuga.recorder.states import Change, NodeState, RecordingParameters, RecordingState, RecordingStatus
from rokuga.recorder.store import RecordingStore, StoreError
from rokuga.recorder.teller import Teller
from rokuga.recorder.totals import Totals

log = structlog.get_logger()

MEDIA_TIMEOUT = "MEDIA-TIMEOUT"
"""The reason of a peer that fell silent; see recorder/webrtc/peer.py."""

TICK_S = 0.02
"""Retransmissions are asked for, and late packets given up, at this step."""
WATCH_SPACE_S = 1.0
"""Free space is looked at this often."""
EXPIRE_AGAIN_S = 1.0
"""Pause after which the store is asked again to end an expired recording."""


class Recorder:
    """The service that fronts talk to. `make_peer` makes the other end of a new connection."""

    def __init__(
        self,
        config: RecorderConfig,
        store: RecordingStore,
        make_peer: Callable[[ConnectionRequest, PeerHooks], Peer],
        clock: Clock,
        committed: Callable[[], None],
        draw_id: Callable[[], str] = new_id,
    ) -> None:
        self._config = config
        self._store = store
        self._make_peer = make_peer
        self._clock = clock
        self._on_committed = committed
        self._draw_id = draw_id
        self._totals = Totals()
        self._writer = WriterThread()
        self._channels: dict[str, Channel] = {}
        self._finishing: dict[str, Recording] = {}
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._ending = asyncio.Event()
        self._is_space_low = False
        self._expiring: set[str] = set()
        self._teller = Teller(store, self._committed)

    async def __aenter__(self) -> Self:
        """Take up what the last process left, then live. Raises StoreError."""
        await self._stack.enter_async_context(self._writer)
        await self._stack.enter_async_context(self._tasks)
        try:
            await self._restore()
        except BaseException:
            self._ending.set()
            await self._stack.aclose()
            raise
        self._living = [
            self._tasks.create_task(self._tick()),
            self._tasks.create_task(self._watch_space()),
            self._tasks.create_task(self._follow()),
            self._tasks.create_task(self._teller.run()),
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

    async def start_recording(self, parameters: RecordingParameters) -> RecordingState:
        """Record every publisher of the channel, those present and those to come.

        Raises RecordingAlreadyStarted, ArchiveError where the folder cannot be made, StoreError.
        """
        async with self._channel(parameters.channel_id) as channel:
            if channel.recording is not None:
                raise RecordingAlreadyStarted
            state = RecordingState(self._draw_id(), parameters, self._clock.wall_ns())
            folder = recording_folder(str(self._config.archive_dir), state.recording_id)
            mode, min_free_bytes = self._config.archive_folder_mode, self._config.archive_min_free_bytes
            await self._writer.submit(lambda: make_folder(folder, mode, min_free_bytes))
            recording = self._recording(state)
            recording.has_folder = True
            is_started = False
            try:
                is_started = await self._store.start_recording(state, [recording.started_event()])
            finally:
                if not is_started:
                    await self._writer.submit(lambda: remove_empty_folder(folder))
            if not is_started:
                raise RecordingAlreadyStarted
            recording.is_start_told = True
            self._committed([recording.started_event()])
            await self._record(channel, recording)
            return state

    async def _record(self, channel: Channel, recording: Recording) -> None:
        """Record everybody who is in a channel that is held, and who comes."""
        channel.recording = recording
        publishers = [c for c in channel.connections.values() if c.connected.is_set() and c.publishes]
        await asyncio.gather(*(self._begin_archive(recording, connection) for connection in publishers))

    async def stop_recording(self, channel_id: str) -> RecordingState:
        """End the channel's recording; files and report follow. Raises RecordingNotStarted, StoreError."""
        async with self._channel(channel_id) as channel:
            return await self._stop(channel)

    async def confirm(self) -> None:
        """Return when all that any node decided before this call holds here. Raises MinorityError."""
        await self._store.confirm()

    async def nodes(self) -> Sequence[NodeState]:
        """Give the nodes of the cluster; none where there is none. Raises StoreError."""
        return await self._store.nodes()

    def recording(self, channel_id: str) -> RecordingState:
        """Give the channel's recording. Raises RecordingNotStarted."""
        channel = self._channels.get(channel_id)
        if channel is None or channel.recording is None:
            raise RecordingNotStarted
        return channel.recording.state

    def recordings(self) -> list[RecordingState]:
        """Give all active recordings."""
        return [channel.recording.state for channel in self._channels.values() if channel.recording]

    def archives(self) -> list[ArchiveProgress]:
        """Give the archives that are being written."""
        now_ns = self._clock.monotonic_ns()
        return [
            ArchiveProgress(c.identity, c.audio, c.video, c.archiver.seconds(now_ns), c.archiver.written())
            for c in self.connections()
            if c.archiver is not None and c.archiver.is_writing
        ]

    def connections(self, channel_id: str | None = None) -> list[Connection]:
        """Give the connections of one channel, or all."""
        channels = self._channels.values() if channel_id is None else [self._channels.get(channel_id, Channel())]
        return [connection for channel in channels for connection in channel.connections.values()]

    async def counters(self) -> Mapping[str, int | Mapping[str, int]]:
        """Give what is counted, by the names of the daemon's table of counters."""
        connections = self.connections()
        return {
            **self._totals.counters(connection.stats() for connection in connections),
            "connections": sum(connection.connected.is_set() for connection in connections),
            "recordings": len(self.recordings()),
            "archives": len(self.archives()),
        }

    async def free_bytes(self) -> int:
        """Ask the writer how much disk is free: waits as long as the writer is stuck. Raises OSError."""
        folder = str(self._config.archive_dir)
        return await self._writer.submit(lambda: free_bytes(folder))

    async def connect(self, request: ConnectionRequest) -> Connection:
        """Let a client in: its offer is ready, its life begins. Raises ConnectionRefused."""
        async with self._channel(request.channel_id) as channel:
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
            connection = Connection(identity, request.role, request.audio, request.video, self._clock.wall_ns())
            connection.attach(lambda hooks: self._make_peer(request, hooks), lambda: self._record_at_once(connection))
            channel.connections[connection_id] = connection
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
        recording = None if channel is None else self._open_recording(channel)
        if recording is not None and connection.publishes:
            connection.beginning = self._begin_archive(recording, connection)

    def _open_recording(self, channel: Channel) -> Recording | None:
        """Give the channel's recording, unless it is over and only the store does not say so yet."""
        recording = channel.recording
        return None if recording is None or recording.is_expired(self._clock.monotonic_ns()) else recording

    async def _arrive(self, connection: Connection, running: "asyncio.Task[str]") -> None:
        """Tell that a client is there, and record it if its channel is recorded."""
        async with self._channel(connection.identity.channel_id) as channel:
            await self._teller.tell(created_event(connection, channel.present, self._clock.wall_ns()))
            if connection.beginning is not None:
                await connection.beginning
            elif (recording := self._open_recording(channel)) and connection.is_recordable and not running.done():
                await self._begin_archive(recording, connection)

    async def _leave(self, connection: Connection, stay_ns: int) -> None:
        """Close the files of a client that is gone, as of its last media if it fell silent; tell that it is gone."""
        now_ns = self._clock.monotonic_ns()
        ended_ns = connection.last_media_ns if connection.close_reason == MEDIA_TIMEOUT else now_ns
        async with self._channel(connection.identity.channel_id) as channel:
            del channel.connections[connection.identity.connection_id]
            self._totals.gone(connection.connected.is_set(), stay_ns, connection.stats(), not channel.connections)
            closing = channel.recording.end_archive(connection, ended_ns or now_ns) if channel.recording else None
        try:
            if closing is not None:
                await closing
        finally:
            if connection.connected.is_set():
                await self._teller.tell(destroyed_event(connection, channel.present, self._clock.wall_ns()))

    def _committed(self, events: Sequence[Event]) -> None:
        """Count what the store took, and say that it did."""
        self._totals.stored(events)
        self._on_committed()

    def _begin_archive(self, recording: Recording, connection: Connection) -> Coroutine[Any, Any, None]:
        """Record the connection from now on, if there is space to begin; await the answer."""
        refusal = low_space(str(self._config.archive_dir)) if self._is_space_low else None
        return recording.begin_archive(connection, refusal)

    async def _stop(self, channel: Channel) -> RecordingState:
        """End the recording of a channel that is held. Raises RecordingNotStarted, StoreError."""
        if channel.recording is None or not await channel.recording.stop():
            raise RecordingNotStarted
        return self._end(channel, channel.recording)

    def _end(self, channel: Channel, recording: Recording) -> RecordingState:
        """Take the recording out of a channel that is held; files and report follow."""
        channel.recording = None
        self._end_archives(channel, recording)
        self._spawn(self._finish(recording))
        return recording.state

    async def _finish(self, recording: Recording) -> None:
        """See the recording to its report; it is not begun anew meanwhile, whatever is heard of it."""
        recording_id = recording.state.recording_id
        if recording_id in self._finishing:
            return
        self._finishing[recording_id] = recording
        try:
            await recording.finish()
        finally:
            del self._finishing[recording_id]

    async def _follow(self) -> None:
        """Do as other nodes do: record what they started, end what they stopped."""
        async with aclosing(self._store.changes()) as news:
            async for changes in news:
                await asyncio.gather(*(self._guarded(self._take(change)) for change in changes))

    async def _take(self, change: Change) -> None:
        """Take one change; one that is known already changes nothing."""
        state = change.recording
        if (finishing := self._finishing.get(state.recording_id)) is not None:
            await self._tell_start(change, finishing)
            return
        async with self._channel(state.parameters.channel_id) as channel:
            known = channel.recording
            is_known = known is not None and known.state.recording_id == state.recording_id
            recording = known if known is not None and is_known else self._recording(state)
            await self._tell_start(change, recording)
            if state.status is RecordingStatus.ACTIVE:
                if not is_known and state.recording_id not in self._finishing:
                    await self._join(channel, recording)
            elif is_known:
                recording.stopped(state)
                self._end(channel, recording)
            elif state.status is RecordingStatus.STOPPING:
                self._spawn(self._finish(recording))

    async def _tell_start(self, change: Change, recording: Recording) -> None:
        """Tell a start that is ours to tell, because we were cut off when we made it, or its node died."""
        if change.is_start_ours and not recording.is_start_told:
            recording.is_start_told = True
            await self._teller.tell(recording.started_event())

    async def _join(self, channel: Channel, recording: Recording) -> None:
        """Record a channel that is held as another node said, or we did in a life before."""
        if channel.recording is not None:  # its end was missed
            self._end(channel, channel.recording)
        await self._record(channel, recording)

    def _end_archives(self, channel: Channel, recording: Recording) -> None:
        """Take every connection out of the recording now; their files follow."""
        now_ns = self._clock.monotonic_ns()
        for connection in channel.connections.values():
            self._spawn(recording.end_archive(connection, now_ns))

    @asynccontextmanager
    async def _channel(self, channel_id: str) -> AsyncIterator[Channel]:
        """Hold the channel's lock; forget the channel afterwards if nothing goes on in it."""
        channel = self._channels.setdefault(channel_id, Channel())
        channel.users += 1
        try:
            async with channel.lock:
                yield channel
        finally:
            channel.users -= 1
            if channel.is_idle:
                self._channels.pop(channel_id, None)

    def _recording(self, state: RecordingState) -> Recording:
        return Recording(state, self._config, self._store, self._writer, self._clock, self._committed, self._ending)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Our own fault ends this piece of work, not the daemon."""
        try:
            await work
        except Exception:
            log.exception("unexpected fault")

    async def _tick(self) -> None:
        while True:
            self._tick_all(self._clock.monotonic_ns())
            await asyncio.sleep(TICK_S)

    def _tick_all(self, now_ns: int) -> None:
        for connection in self.connections():
            self._tick_connection(connection, now_ns)
        for channel in list(self._channels.values()):
            recording = channel.recording
            if recording is not None and recording.is_expired(now_ns):
                self._begin_to_expire(recording)

    def _begin_to_expire(self, recording: Recording) -> None:
        recording_id = recording.state.recording_id
        if recording_id not in self._expiring:
            self._expiring.add(recording_id)
            self._spawn(self._expire(recording))

    def _tick_connection(self, connection: Connection, now_ns: int) -> None:
        try:
            connection.tick(now_ns)
        except Exception:
            log.exception("unexpected fault", connection_id=connection.identity.connection_id)
            connection.stop("INTERNAL-ERROR")

    async def _expire(self, recording: Recording) -> None:
        """Stop a recording that has reached its end, unless somebody else does; its channel is free between tries."""
        try:
            if not await self._try_to_expire(recording):
                with suppress(TimeoutError):
                    async with asyncio.timeout(EXPIRE_AGAIN_S):
                        await self._ending.wait()
        finally:
            self._expiring.discard(recording.state.recording_id)

    async def _try_to_expire(self, recording: Recording) -> bool:
        """Give False if the store cannot end the recording now; its archives end all the same."""
        async with self._channel(recording.state.parameters.channel_id) as channel:
            if channel.recording is recording:
                try:
                    await self._stop(channel)
                except StoreError as error:
                    log.error("an expired recording cannot be stopped yet", reason=str(error))
                    self._end_archives(channel, recording)
                    return False
        return True

    async def _watch_space(self) -> None:
        """Look at the free space from time to time, if it matters."""
        while self._config.archive_min_free_bytes:
            await self._look_at_space()
            await asyncio.sleep(WATCH_SPACE_S)

    async def _look_at_space(self) -> None:
        """Close the archives in order before the disk is full; begin none until there is space again."""
        folder, min_free_bytes = str(self._config.archive_dir), self._config.archive_min_free_bytes
        is_low = await self._writer.submit(lambda: has_less_free(folder, min_free_bytes))
        if is_low and not self._is_space_low:
            log.warning("less space is free than archive_min_free_bytes: archives are closed", path=folder)
        self._is_space_low = is_low
        if is_low:
            for channel_id in list(self._channels):
                async with self._channel(channel_id) as channel:
                    if channel.recording is not None:
                        self._end_archives(channel, channel.recording)

    async def _restore(self) -> None:
        """Take up what the last process left: end its archives, go on with active recordings, report ended ones.

        Its connections are told as gone after their archives, all of them at once.
        """
        for state in await self._store.unfinished_recordings():
            recording = self._recording(state)
            await recording.recover()
            if state.status is RecordingStatus.ACTIVE:
                self._channels[state.parameters.channel_id] = Channel(recording=recording)
            else:
                self._spawn(self._finish(recording))
        if lost := lost_events(await self._store.last_life(), self._clock.wall_ns()):
            await self._store.append(lost)
            self._committed(lost)
