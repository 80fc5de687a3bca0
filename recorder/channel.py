"""Channels: their connections, and the recording of each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rokuga.recorder.connection import Connection
from rokuga.recorder.recording import Recording
from rokuga.recorder.store import StoreError


@dataclass(slots=True)
class Channel:
    """One channel. It exists while it has a connection, a recording, or a holder of its lock."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connections: dict[str, Connection] = field(default_factory=dict)
    session_id: str = ""
    recording: Recording | None = None
    users: int = 0

    @property
    def connected(self) -> list[Connection]:
        """The connections over which media can flow."""
        return [connection for connection in self.connections.values() if connection.connected.is_set()]

    def open_recording(self, now_ns: int) -> Recording | None:
        """Return the recording, unless it has expired and only the store does not contain that yet."""
        return None if self.recording is None or self.recording.is_expired(now_ns) else self.recording

    @property
    def is_idle(self) -> bool:
        """Whether the channel can be forgotten."""
        return not (self.users or self.connections or self.recording)


class Channels:
    """All channels that exist."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._connections: dict[str, Connection] = {}

    @asynccontextmanager
    async def hold(self, channel_id: str, within_s: float | None = None) -> AsyncIterator[Channel]:
        """Hold the channel's lock; forget the channel afterwards if it is idle.

        Raises StoreError if the lock is not free within `within_s`: its holder waits for the store.
        """
        channel = self._channels.setdefault(channel_id, Channel())
        channel.users += 1
        try:
            try:
                async with asyncio.timeout(within_s):
                    await channel.lock.acquire()
            except TimeoutError as error:
                raise StoreError("the last change of the channel is not stored yet") from error
            try:
                yield channel
            finally:
                channel.lock.release()
        finally:
            channel.users -= 1
            if channel.is_idle:
                self._channels.pop(channel_id, None)

    def get(self, channel_id: str) -> Channel | None:
        """Return a channel without holding it; None if it does not exist."""
        return self._channels.get(channel_id)

    def ids(self) -> list[str]:
        """Return the ids of all channels."""
        return list(self._channels)

    def recordings(self) -> list[Recording]:
        """Return all active recordings."""
        return [channel.recording for channel in self._channels.values() if channel.recording is not None]

    def add(self, channel: Channel, connection: Connection) -> None:
        """Add a connection to a channel that is held."""
        channel.connections[connection.identity.connection_id] = connection
        self._connections[connection.identity.connection_id] = connection

    def remove(self, channel: Channel, connection: Connection) -> None:
        """Remove a connection from a channel that is held."""
        del channel.connections[connection.identity.connection_id]
        del self._connections[connection.identity.connection_id]

    def connections(self, channel_id: str | None = None) -> list[Connection]:
        """Return the connections of one channel, or all; other channels cost nothing."""
        if channel_id is None:
            return list(self._connections.values())
        channel = self._channels.get(channel_id)
        return [] if channel is None else list(channel.connections.values())
