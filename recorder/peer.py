"""The remote end of a connection as the recorder sees it, and how it is created."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from rokuga.recorder.media import Kind, MediaSink


@dataclass(frozen=True, slots=True)
class PeerHooks:
    """What a peer calls, synchronously, while it runs."""

    sink: MediaSink
    """Receives the media."""
    on_connected: Callable[[], None]
    """DTLS is up; called before any media."""
    on_evicted: Callable[[], None]
    """Too many peers are not connected, and this one has waited longest."""


class Peer(Protocol):
    """ICE, DTLS and SRTP of the remote end. `recorder/webrtc/peer.py` has the real one."""

    connected: asyncio.Event
    """Set once, when DTLS is up."""

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The mid of each kind that is offered."""
        ...

    def offer(self) -> str:
        """Return the SDP offer."""
        ...

    def accept(self, answer: str) -> Collection[Kind]:
        """Read the SDP answer to the offer; return the kinds that it does not reject. Raises a ValueError."""
        ...

    def answer(self, offer: str) -> str:
        """Read an SDP offer of the peer's, instead of an answer to ours; return the answer. Raises a ValueError."""
        ...

    async def run(self) -> str:
        """Do the handshake and run until the end; return its reason."""
        ...

    def tick(self, now_ns: int) -> None:
        """Do what is due: give up late packets, send RTCP, check consent."""
        ...

    def waiting(self) -> Collection[Kind]:
        """Return the kinds that hold packets back for a missing one."""
        ...

    def request_keyframe(self) -> None:
        """Request a key frame from the sender."""
        ...

    def flush(self) -> None:
        """Pass on every complete unit, as at the end of the stream."""
        ...

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Return the counters of each kind since the connection's start."""
        ...

    def close(self, reason: str) -> None:
        """End the peer; `run` returns the reason of the first close."""
        ...
