"""One connection from its offer to the end of its files: its events, and the begin and end of its archives."""

import asyncio

from rokuga.recorder.channel import Channels
from rokuga.recorder.connection import Connection
from rokuga.recorder.connection_events import created_event, destroyed_event
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.recording import BegunArchive
from rokuga.recorder.totals import Totals

MEDIA_TIMEOUT = "MEDIA-TIMEOUT"
"""The reason of a peer from which no media arrives any more; see recorder/webrtc/peer.py."""


class ConnectionLifecycle:
    """Runs one connection."""

    def __init__(self, context: RecorderContext, channels: Channels, totals: Totals, connection: Connection) -> None:
        self._context = context
        self._channels = channels
        self._totals = totals
        self._connection = connection
        self._begun: BegunArchive | None = None

    def begin_archive(self) -> None:
        """Begin to record a connection that is up: its first key frame does not wait for a lock or the disk.

        Synchronous, before the first packet. `run` publishes connection.created and starts the archive.
        """
        channel = self._channels.get(self._connection.identity.channel_id)
        recording = None if channel is None else channel.open_recording(self._context.clock.monotonic_ns())
        if recording is not None and self._connection.publishes:
            self._begun = recording.begin_archive(self._connection)
            self._begun.archiver.keep_early_audio()

    async def run(self) -> None:
        """Wait until the connection has ended and its files are finished and announced."""
        connection, clock = self._connection, self._context.clock
        offered_ns = connected_ns = clock.monotonic_ns()
        running = asyncio.create_task(connection.run())
        connecting = asyncio.create_task(connection.connected.wait())
        try:
            await asyncio.wait([running, connecting], return_when=asyncio.FIRST_COMPLETED)
            if connection.connected.is_set():
                connected_ns = clock.monotonic_ns()
                self._totals.connected(connected_ns - offered_ns)
                await self._on_connected(running)
            await running
        finally:
            connecting.cancel()
            if not running.done():
                connection.stop("INTERNAL-ERROR")
            await self._on_ended(clock.monotonic_ns() - connected_ns)
            connection.end()

    async def _on_connected(self, running: "asyncio.Task[str]") -> None:
        """Publish connection.created, and start the archive if the channel is recorded."""
        connection, clock = self._connection, self._context.clock
        async with self._channels.hold(connection.identity.channel_id) as channel:
            event = created_event(connection, channel.connected, clock.monotonic_ns())
            await self._context.event_publisher.publish(event)
            begun = self._begun
            if begun is None and connection.is_recordable and not running.done():
                recording = channel.open_recording(clock.monotonic_ns())
                begun = None if recording is None else recording.begin_archive(connection)
            if begun is not None:
                await begun.start()

    async def _on_ended(self, connected_for_ns: int) -> None:
        """Close the files, as of the last media after a media timeout, and publish connection.destroyed."""
        connection, clock = self._connection, self._context.clock
        now_ns = clock.monotonic_ns()
        stop_ns = (connection.last_media_ns if connection.close_reason == MEDIA_TIMEOUT else 0) or now_ns
        was_connected = connection.connected.is_set()
        async with self._channels.hold(connection.identity.channel_id) as channel:
            self._channels.remove(channel, connection)
            is_last = not channel.connections
            self._totals.disconnected(was_connected, connected_for_ns, connection.stats(), is_last)
            recording = channel.recording
            if recording is not None:
                connection.end_archive()
        try:
            if recording is not None:
                await recording.close_archives(connection, stop_ns)
        finally:
            if was_connected:
                event = destroyed_event(connection, channel.connected, clock.monotonic_ns())
                await self._context.event_publisher.publish(event)
