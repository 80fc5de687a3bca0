"""The recordings of all channels: begin to record a channel, end it, expire it, restore those of the previous run.

Everything that changes what a channel records happens while the channel's lock is held. Closing files takes longer
and happens without it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from rokuga.recorder.channel import Channel, Channels
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.errors import RecordingNotStarted
from rokuga.recorder.expiries import Expiries
from rokuga.recorder.models import RecordingState, RecordingStatus
from rokuga.recorder.recording import Recording
from rokuga.recorder.recording_recovery import recover_archives
from rokuga.recorder.recording_report import finish_recording
from rokuga.recorder.store import StoreError

log = structlog.get_logger()


class Recordings:
    """What is recorded of which channel. A `channel` argument is one whose lock the caller holds."""

    def __init__(
        self, context: RecorderContext, channels: Channels, on_interrupted: Callable[[Recording], None]
    ) -> None:
        self._context = context
        self._channels = channels
        self._on_interrupted = on_interrupted
        self._finishing: dict[str, Recording] = {}
        self._expiries: Expiries[Recording] = Expiries()

    def make(self, state: RecordingState) -> Recording:
        """Return a recording that is not recording yet."""
        return Recording(self._context, state, self._on_interrupted)

    async def record(self, channel: Channel, recording: Recording) -> None:
        """Record every publisher of the channel, those present and those to come."""
        channel.recording = recording
        if recording.expires_ns is not None:
            self._expiries.add(recording.recording_id, recording.expires_ns, recording)
        publishers = [c for c in channel.connections.values() if c.connected.is_set() and c.publishes]
        begun = [recording.begin_archive(connection) for connection in publishers]
        await asyncio.gather(*(archive.start() for archive in begun))

    async def stop(self, channel: Channel) -> RecordingState:
        """End the channel's recording; files and report follow. Raises RecordingNotStarted, StoreError."""
        if channel.recording is None or not await channel.recording.stop():
            raise RecordingNotStarted
        state = channel.recording.state
        self.end(channel, channel.recording)
        return state

    def end(self, channel: Channel, recording: Recording) -> None:
        """Stop recording the channel, for the store has ended the recording; files and report follow."""
        channel.recording = None
        self._expiries.remove(recording.recording_id)
        self._end_archives(channel, recording)
        self.finish(recording)

    def finish(self, recording: Recording) -> None:
        """Have the recording reported in the background."""
        self._context.spawn(self._finish(recording))

    async def _finish(self, recording: Recording) -> None:
        """Report a recording, and remember it meanwhile: a late change of the cluster must not begin it anew."""
        recording_id = recording.recording_id
        if recording_id in self._finishing:
            return
        self._finishing[recording_id] = recording
        try:
            await finish_recording(self._context, recording)
        except StoreError as error:
            log.warning("recording not reported; the next start does", recording_id=recording_id, reason=str(error))
        finally:
            del self._finishing[recording_id]

    def finishing(self, recording_id: str) -> Recording | None:
        """Return the recording of this id if it has ended and is not reported yet."""
        return self._finishing.get(recording_id)

    def _end_archives(self, channel: Channel, recording: Recording) -> None:
        """Stop recording every connection now; their files are closed in the background."""
        now_ns = self._context.clock.monotonic_ns()
        for connection in channel.connections.values():
            connection.end_archive()
            self._context.spawn(recording.close_archives(connection, now_ns))

    def tick(self, now_ns: int) -> None:
        """Begin to end the recordings that have reached their `expire_time`."""
        for recording in self._expiries.pop_expired(now_ns):
            self._context.spawn(self.expire(recording))

    async def expire(self, recording: Recording) -> None:
        """Stop a recording that has reached its end, unless another node does; its lock is free between retries."""
        with suppress(StoreError):  # the next start ends it
            await self._context.until_stored(
                lambda: self._try_to_expire(recording),
                "stop an expired recording",
                recording_id=recording.recording_id,
            )

    async def _try_to_expire(self, recording: Recording) -> None:
        """End the archives, and the recording if the store can end it now. Raises StoreError."""
        if self._context.stopping.is_set():
            return
        async with self._channels.hold(recording.state.parameters.channel_id) as channel:
            if channel.recording is recording:
                try:
                    await self.stop(channel)
                except RecordingNotStarted:  # another node has ended it; its change follows
                    self._end_archives(channel, recording)
                except StoreError:
                    self._end_archives(channel, recording)
                    raise

    def interrupt_archives(self, reason: str) -> None:
        """End all archives of all recordings in order; they are resumed when the fault is over."""
        now_ns = self._context.clock.monotonic_ns()
        for recording in self._channels.recordings():
            recording.interrupt_archives(reason, now_ns)

    async def restore(self) -> list[str]:
        """End the archives of the previous run, continue its active recordings, report those that had ended.

        Returns a line on whatever could not be recovered. Safe to repeat. Raises StoreError.
        """
        notes = []
        for state in await self._context.store.unfinished_recordings():
            if self.contains(state.recording_id):
                continue
            recording = self.make(state)
            try:
                notes += await recover_archives(self._context, recording)
            except StoreError:
                raise
            except Exception as error:
                log.exception("recording not recovered", recording_id=state.recording_id)
                notes.append(f"{state.recording_id}: {error!r}")
            if state.status is RecordingStatus.ACTIVE:
                async with self._channels.hold(state.parameters.channel_id) as channel:
                    await self.record(channel, recording)
            else:
                self.finish(recording)
        return notes

    def contains(self, recording_id: str) -> bool:
        """Return whether a recording is active, or has ended and is not reported yet."""
        active = (recording.recording_id for recording in self._channels.recordings())
        return recording_id in self._finishing or recording_id in active
