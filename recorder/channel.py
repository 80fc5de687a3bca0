"""One channel: who is in it, and what is being recorded of it."""

import asyncio
from dataclasses import dataclass, field

from rokuga.recorder.connection import Connection
from rokuga.recorder.recording import Recording


@dataclass(slots=True)
class Channel:
    """What is going on in one channel. It exists while somebody is in it, records it or is about to."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connections: dict[str, Connection] = field(default_factory=dict)
    session_id: str = ""
    recording: Recording | None = None
    users: int = 0

    @property
    def present(self) -> list[Connection]:
        """The connections that are up."""
        return [connection for connection in self.connections.values() if connection.connected.is_set()]

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost by forgetting the channel."""
        return not (self.users or self.connections or self.recording)
