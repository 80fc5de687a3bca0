"""Begins the next archive of each connection whose archive was ended by a fault, once the fault is over."""

import asyncio
from typing import Final

from rokuga.recorder.channel import Channels
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.recording import Recording

PERIOD_NS: Final = NS_PER_S
"""While connections are not recorded, the disk is tried this often."""


class ArchiveResumption:
    """The recordings of which a fault has interrupted an archive."""

    def __init__(self, context: RecorderContext, channels: Channels) -> None:
        self._context = context
        self._channels = channels
        self._interrupted: dict[str, Recording] = {}
        self._due_ns = 0
        self._is_running = False

    def add(self, recording: Recording) -> None:
        """Resume the archives of a recording when that is possible."""
        self._interrupted[recording.recording_id] = recording

    def tick(self, now_ns: int) -> None:
        """Try to resume, once in a period and not twice at a time."""
        if self._interrupted and not self._is_running and now_ns >= self._due_ns:
            self._due_ns = now_ns + PERIOD_NS
            self._is_running = True
            self._context.spawn(self._resume_once(now_ns))

    async def _resume_once(self, now_ns: int) -> None:
        try:
            await self.resume(now_ns)
        finally:
            self._is_running = False

    async def resume(self, now_ns: int) -> None:
        """Begin the next archive of each connection that sends and has none, if files can be written now."""
        for recording_id, recording in list(self._interrupted.items()):
            if not recording.is_interrupted:
                self._interrupted.pop(recording_id, None)
            elif (
                recording.unrecorded(now_ns)
                and self._context.disk_space.refusal() is None
                and await recording.can_write()
            ):
                await self._begin(recording)

    async def _begin(self, recording: Recording) -> None:
        """Record the connections that lack an archive, unless they or the recording have ended by now."""
        async with self._channels.hold(recording.state.parameters.channel_id) as channel:
            now_ns = self._context.clock.monotonic_ns()
            if channel.open_recording(now_ns) is recording:
                unrecorded = recording.unrecorded(now_ns)
                present = [c for c in unrecorded if c.identity.connection_id in channel.connections]
                begun = [recording.begin_archive(connection) for connection in present]
                await asyncio.gather(*(archive.start() for archive in begun))
