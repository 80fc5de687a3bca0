"""Follows the other nodes of a cluster: records what they started, ends what they stopped."""

import asyncio
from contextlib import aclosing

from rokuga.recorder.background import log_exceptions
from rokuga.recorder.channel import Channel, Channels
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.models import Change, RecordingStatus
from rokuga.recorder.recording import Recording
from rokuga.recorder.recordings import Recordings


class ClusterChanges:
    """Applies the changes that the store reports. A change that is known already has no effect."""

    def __init__(self, context: RecorderContext, channels: Channels, recordings: Recordings) -> None:
        self._context = context
        self._channels = channels
        self._recordings = recordings

    async def run(self) -> None:
        """Apply all changes, those of one transaction together; ends by cancellation."""
        async with aclosing(self._context.store.changes()) as batches:
            async for changes in batches:
                await asyncio.gather(*(log_exceptions(self._apply(change)) for change in changes))

    async def _apply(self, change: Change) -> None:
        state = change.recording
        if (finishing := self._recordings.finishing(state.recording_id)) is not None:
            await self._publish_start(change, finishing)
            return
        async with self._channels.hold(state.parameters.channel_id) as channel:
            known = channel.recording
            is_known = known is not None and known.recording_id == state.recording_id
            recording = known if known is not None and is_known else self._recordings.make(state)
            await self._publish_start(change, recording)
            if state.status is RecordingStatus.ACTIVE:
                if not is_known and self._recordings.finishing(state.recording_id) is None:
                    await self._join(channel, recording)
            elif is_known:
                recording.state = state
                self._recordings.end(channel, recording)
            elif state.status is RecordingStatus.STOPPING:
                self._recordings.finish(recording)

    async def _publish_start(self, change: Change, recording: Recording) -> None:
        """Publish a start that this node owns: it was cut off when it started, or the node that did is dead."""
        if change.is_start_owned and not recording.is_start_published:
            recording.is_start_published = True
            await self._context.event_publisher.publish(recording.started_event())

    async def _join(self, channel: Channel, recording: Recording) -> None:
        """Record a channel that is held, for another node or a previous run started it."""
        if channel.recording is not None:  # its end was missed
            self._recordings.end(channel, channel.recording)
        await self._recordings.record(channel, recording)
