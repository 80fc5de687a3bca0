"""The peer of all tests: the other end of a connection, whose media and end are the test's."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.peer import PeerHooks


@dataclass
class FakePeer:
    """A peer whose media and end the test decides."""

    request: ConnectionRequest
    hooks: PeerHooks
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    keyframe_requests: int = 0
    counters: dict[Kind, dict[str, int]] = field(default_factory=dict)

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The requested kinds."""
        tracks: dict[Kind, TrackConfig | None] = {"audio": self.request.audio, "video": self.request.video}
        return {kind: kind for kind, track in tracks.items() if track is not None}

    def offer(self) -> str:
        """Return an offer that nobody reads."""
        return "v=0\r\n"

    def accept(self, _answer: str) -> Collection[Kind]:
        """Connect at once."""
        self.connected.set()
        return self.mids.keys()

    def answer(self, _offer: str) -> str:
        """Connect at once."""
        self.connected.set()
        return "v=0\r\n"

    async def run(self) -> str:
        """Run until the test ends it."""
        await self.ended.wait()
        return self.reason

    def tick(self, now_ns: int) -> None:
        """Do nothing."""

    def waiting(self) -> Collection[Kind]:
        """Return that no packets are held back."""
        return ()

    def request_keyframe(self) -> None:
        """Count the request."""
        self.keyframe_requests += 1

    def flush(self) -> None:
        """Do nothing: every unit was passed on."""

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Return the test's counters."""
        return {kind: dict(counters) for kind, counters in self.counters.items()}

    def close(self, reason: str) -> None:
        """End with the first reason."""
        self.reason = self.reason or reason
        self.ended.set()
