"""The recordings of all channels: start, stop, expiry, and what other nodes and the life before decided.

Everything that changes what a channel records happens under that channel's lock, one after the other. Closing files
does not: it takes as long as it takes, beside the lock.
"""

import asyncio
import errno
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import structlog

from rokuga.recorder.archive.disk import ArchiveError, make_folder, remove_empty_folder, sync_parent
from rokuga.recorder.archive.names import recording_folder
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.channel import Channel, Channels
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import Connection
from rokuga.recorder.disk_space import Space
from rokuga.recorder.errors import RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.event_publisher import EventPublisher
from rokuga.recorder.events import Event
from rokuga.recorder.expiries import Expiries
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.models import Change, RecordingParameters, RecordingState, RecordingStatus
from rokuga.recorder.recording import Recording
from rokuga.recorder.store import ANSWER_S, RecordingStore, StoreError

log = structlog.get_logger()

BEGIN_AGAIN_NS: Final = NS_PER_S
"""While connections are unrecorded after a fault, the disk is tried this often."""

EXPIRE_AGAIN_S = 1.0
"""Pause after which the store is asked again to end an expired recording."""


async def guarded(work: Coroutine[Any, Any, None]) -> None:
    """Do a piece of work; our own fault ends it, not the daemon."""
    try:
        await work
    except Exception:
        log.exception("unexpected fault")


class Recordings:
    """What is recorded of which channel. `spawn` does work beside everything else."""

    def __init__(
        self,
        config: RecorderConfig,
        store: RecordingStore,
        writer: WriterThread,
        clock: Clock,
        channels: Channels,
        space: Space,
        event_publisher: EventPublisher,
        committed: Callable[[Sequence[Event]], None],
        ending: asyncio.Event,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        draw_id: Callable[[], str],
    ) -> None:
        self._config = config
        self._store = store
        self._writer = writer
        self._clock = clock
        self._channels = channels
        self._space = space
        self._event_publisher = event_publisher
        self._committed = committed
        self._ending = ending
        self._spawn = spawn
        self._draw_id = draw_id
        self.refusal: Callable[[], ArchiveError | None] = lambda: None
        """What keeps recordings from being started; set by who restores those of the last process."""
        self._folder_lock = asyncio.Lock()
        self._finishing: dict[str, Recording] = {}
        self._expiries: Expiries[Recording] = Expiries()
        self._interrupted: dict[str, Recording] = {}
        self._begin_again_ns = 0
        self._is_beginning_again = False

    async def start(self, parameters: RecordingParameters) -> RecordingState:
        """Record every publisher of the channel, those present and those to come.

        Raises RecordingAlreadyStarted, ArchiveError where the folder cannot be made, StoreError.
        """
        if (refusal := self.refusal()) is not None:
            raise refusal
        async with self._channels.hold(parameters.channel_id, ANSWER_S) as channel:
            if channel.recording is not None:
                raise RecordingAlreadyStarted
            state = RecordingState(self._draw_id(), parameters, self._clock.wall_ns())
            folder = recording_folder(str(self._config.archive_dir), state.recording_id)
            mode, min_free_bytes = self._config.archive_folder_mode, self._config.archive_min_free_bytes
            await self._make_folder(folder, mode, min_free_bytes)
            self._writer.beside(lambda: sync_parent(folder))
            recording = self._recording(state)
            is_started = False
            try:
                is_started = await self._store.start_recording(state, [recording.started_event()])
            finally:
                if not is_started:
                    await self._in_time(self._beside_writer(lambda: remove_empty_folder(folder)))
            if not is_started:
                raise RecordingAlreadyStarted
            recording.is_start_told = True
            self._committed([recording.started_event()])
            await self._record(channel, recording)
            return state

    async def _make_folder(self, folder: str, mode: int, min_free_bytes: int) -> None:
        """Make a folder in time, or not at all. Raises ArchiveError."""
        is_refused = False

        def make() -> None:
            if not is_refused:
                make_folder(folder, mode, min_free_bytes)

        if not await self._in_time(self._beside_writer(make)):
            is_refused = True
            self._spawn(self._beside_writer(lambda: remove_empty_folder(folder)))
            raise ArchiveError(f"no answer within {ANSWER_S:g} s", errno.ETIMEDOUT, folder)

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do work that somebody waits for. Return False where it takes longer than they do; it is done all the same.

        Raises what it raises in time.
        """
        doing = asyncio.ensure_future(work)
        await asyncio.wait({doing}, timeout=ANSWER_S)
        if doing.done():
            await doing
            return True

        async def outlast() -> None:
            with suppress(ArchiveError):
                await doing

        self._spawn(outlast())
        return False

    async def _beside_writer(self, work: Callable[[], None]) -> None:
        """Make or remove a folder, not after all that waits for the writer: 200 files take a second to be finished.

        One at a time, so that a disk that hangs takes no more than one of the loop's threads.
        """
        async with self._folder_lock:
            await asyncio.to_thread(work)

    async def _record(self, channel: Channel, recording: Recording) -> None:
        """Record everybody who is in a channel that is held, and who comes."""
        channel.recording = recording
        self._await_expiry(recording)
        publishers = [c for c in channel.connections.values() if c.connected.is_set() and c.publishes]
        await asyncio.gather(*(self.begin_archive(recording, connection) for connection in publishers))

    async def stop(self, channel_id: str) -> RecordingState:
        """End the channel's recording; files and report follow. Raises RecordingNotStarted, StoreError."""
        async with self._channels.hold(channel_id, ANSWER_S) as channel:
            return await self._stop(channel)

    def state(self, channel_id: str) -> RecordingState:
        """Give the channel's recording. Raises RecordingNotStarted."""
        channel = self._channels.get(channel_id)
        if channel is None or channel.recording is None:
            raise RecordingNotStarted
        return channel.recording.state

    def states(self) -> list[RecordingState]:
        """Give all active recordings."""
        return [recording.state for recording in self._channels.recordings()]

    async def _stop(self, channel: Channel) -> RecordingState:
        """End the recording of a channel that is held. Raises RecordingNotStarted, StoreError."""
        if channel.recording is None or not await channel.recording.stop():
            raise RecordingNotStarted
        return self._end(channel, channel.recording)

    def _end(self, channel: Channel, recording: Recording) -> RecordingState:
        """Take the recording out of a channel that is held; files and report follow."""
        channel.recording = None
        self._expiries.remove(recording.state.recording_id)
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

    def _end_archives(self, channel: Channel, recording: Recording) -> None:
        """Take every connection out of the recording now; their files follow."""
        now_ns = self._clock.monotonic_ns()
        for connection in channel.connections.values():
            self._spawn(recording.end_archive(connection, now_ns))

    async def follow(self) -> None:
        """Do as other nodes do: record what they started, end what they stopped."""
        async with aclosing(self._store.changes()) as news:
            async for changes in news:
                await asyncio.gather(*(guarded(self._take(change)) for change in changes))

    async def _take(self, change: Change) -> None:
        """Take one change; one that is known already changes nothing."""
        state = change.recording
        if (finishing := self._finishing.get(state.recording_id)) is not None:
            await self._tell_start(change, finishing)
            return
        async with self._channels.hold(state.parameters.channel_id) as channel:
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
            await self._event_publisher.publish(recording.started_event())

    async def _join(self, channel: Channel, recording: Recording) -> None:
        """Record a channel that is held as another node said, or we did in a life before."""
        if channel.recording is not None:  # its end was missed
            self._end(channel, channel.recording)
        await self._record(channel, recording)

    def _await_expiry(self, recording: Recording) -> None:
        if recording.expires_ns is not None:
            self._expiries.add(recording.state.recording_id, recording.expires_ns, recording)

    async def _expire(self, recording: Recording) -> None:
        """Stop a recording that has reached its end, unless somebody else does; its channel is free between tries."""
        while not self._ending.is_set() and not await self._try_to_expire(recording):
            with suppress(TimeoutError):
                async with asyncio.timeout(EXPIRE_AGAIN_S):
                    await self._ending.wait()

    async def _try_to_expire(self, recording: Recording) -> bool:
        """Give False if the store cannot end the recording now; its archives end all the same."""
        async with self._channels.hold(recording.state.parameters.channel_id) as channel:
            if channel.recording is recording:
                try:
                    await self._stop(channel)
                except RecordingNotStarted:  # another node was faster; its change follows
                    self._end_archives(channel, recording)
                except StoreError as error:
                    log.error("an expired recording cannot be stopped yet", reason=str(error))
                    self._end_archives(channel, recording)
                    return False
        return True

    def open_in(self, channel: Channel) -> Recording | None:
        """Give the channel's recording, unless it is over and only the store does not say so yet."""
        recording = channel.recording
        return None if recording is None or recording.is_expired(self._clock.monotonic_ns()) else recording

    def begin_archive(self, recording: Recording, connection: Connection) -> Coroutine[Any, Any, None]:
        """Record the connection from now on, if there is space to begin; await the answer."""
        return recording.begin_archive(connection, self._space.refusal())

    async def watch_space(self) -> None:
        """Close the archives in order before the disk is full; begin none until there is space again."""
        await self._space.look()
        if (refusal := self._space.refusal()) is not None:
            for recording in self._channels.recordings():
                recording.interrupt_archives(refusal.reason, self._clock.monotonic_ns())

    def _note_interrupted(self, recording: Recording) -> None:
        self._interrupted[recording.state.recording_id] = recording

    async def begin_again(self, now_ns: int) -> None:
        """Begin the next archive of each connection that sends and whose last one a fault ended, if that is over."""
        for recording_id, recording in list(self._interrupted.items()):
            if not recording.is_interrupted:
                self._interrupted.pop(recording_id, None)
            elif recording.unrecorded(now_ns) and self._space.refusal() is None and await recording.has_room():
                await self._begin_unrecorded(recording)

    async def _begin_unrecorded(self, recording: Recording) -> None:
        """Record whom a recording lacks, unless it, or the connection, is over by now."""
        async with self._channels.hold(recording.state.parameters.channel_id) as channel:
            if self.open_in(channel) is recording:
                lacking = recording.unrecorded(self._clock.monotonic_ns())
                present = [c for c in lacking if c.identity.connection_id in channel.connections]
                await asyncio.gather(*(self.begin_archive(recording, connection) for connection in present))

    def _look_for_unrecorded(self, now_ns: int) -> None:
        if self._interrupted and not self._is_beginning_again and now_ns >= self._begin_again_ns:
            self._begin_again_ns = now_ns + BEGIN_AGAIN_NS
            self._is_beginning_again = True
            self._spawn(self._begin_again_once(now_ns))

    async def _begin_again_once(self, now_ns: int) -> None:
        try:
            await self.begin_again(now_ns)
        finally:
            self._is_beginning_again = False

    async def restore(self) -> list[str]:
        """Take up what the last process left: end its archives, go on with active recordings, report ended ones.

        Returns what could not be understood. Safe to repeat. Raises StoreError.
        """
        notes = []
        for state in await self._store.unfinished_recordings():
            if self.knows(state.recording_id):
                continue
            recording = self._recording(state)
            try:
                notes += await recording.recover()
            except StoreError:
                raise
            except Exception as error:
                log.exception("a recording cannot be recovered", recording_id=state.recording_id)
                notes.append(f"{state.recording_id}: {error!r}")
            if state.status is RecordingStatus.ACTIVE:
                async with self._channels.hold(state.parameters.channel_id) as channel:
                    await self._record(channel, recording)
            else:
                self._spawn(self._finish(recording))
        return notes

    def knows(self, recording_id: str) -> bool:
        """Return whether a recording is active, or its last archives are being ended."""
        active = (recording.state.recording_id for recording in self._channels.recordings())
        return recording_id in self._finishing or recording_id in active

    def tick(self, now_ns: int) -> None:
        """Begin to end what has reached its `expire_time`, and to record whom a fault left unrecorded."""
        self._look_for_unrecorded(now_ns)
        for recording in self._expiries.pop_expired(now_ns):
            self._spawn(self._expire(recording))

    def _recording(self, state: RecordingState) -> Recording:
        return Recording(
            state,
            self._config,
            self._store,
            self._writer,
            self._clock,
            self._committed,
            self._ending,
            self._note_interrupted,
        )
