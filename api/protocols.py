"""What the fronts need of the recorder, in their own words: `rokuga.recorder.service.Recorder` is the real one."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rokuga.recorder.connection import ArchiveProgress, ConnectionRequest, Role
from rokuga.recorder.media import Kind
from rokuga.recorder.models import NodeState, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig


class PublisherConnection(Protocol):
    """One client, from its offer to its end."""

    @property
    def identity(self) -> ConnectionIdentity:
        """Its names."""
        ...

    @property
    def role(self) -> Role:
        """Which way media flows, as the client sees it."""
        ...

    @property
    def audio(self) -> TrackConfig | None:
        """What it agreed to send, None for nothing."""
        ...

    @property
    def video(self) -> TrackConfig | None:
        """What it agreed to send, None for nothing."""
        ...

    @property
    def created_wall_ns(self) -> int:
        """When it came."""
        ...

    @property
    def offer_sdp(self) -> str:
        """Our offer, candidates inside."""
        ...

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The mid of each offered kind."""
        ...

    @property
    def connected(self) -> asyncio.Event:
        """Set once, when DTLS is up."""
        ...

    def accept(self, answer_sdp: str) -> None:
        """Take the client's answer. Raises a ValueError that says what is wrong with it."""
        ...

    def answer(self, offer_sdp: str) -> str:
        """Take the client's own offer instead; give our answer. Raises a ValueError that says what is wrong."""
        ...

    async def wait_ended(self) -> str:
        """Wait until it is over; give the reason. Its archive is closed later."""
        ...

    def stop(self, reason: str, remark: str | None = None) -> None:
        """End it, without waiting for its files; may be said again. `remark`: why, in the words of who wants it."""
        ...

    def request_keyframe(self) -> None:
        """Ask the client for a key frame."""
        ...


class RecordingService(Protocol):
    """Recordings by channel, and connections."""

    async def read_barrier(self) -> None:
        """Return when all that any node decided before this call holds here. Raises MinorityError."""
        ...

    async def nodes(self) -> Sequence[NodeState]:
        """Give the nodes of the cluster, none where there is none. Raises StoreError."""
        ...

    async def start_recording(self, parameters: RecordingParameters) -> RecordingState:
        """Begin. Raises RecordingAlreadyStarted."""
        ...

    async def stop_recording(self, channel_id: str) -> RecordingState:
        """End; the files follow. Raises RecordingNotStarted."""
        ...

    def recording(self, channel_id: str) -> RecordingState:
        """Give the active one. Raises RecordingNotStarted."""
        ...

    def recordings(self) -> Sequence[RecordingState]:
        """Give all active ones."""
        ...

    def archives(self) -> Sequence[ArchiveProgress]:
        """Give what is being written."""
        ...

    def connections(self, channel_id: str | None = None) -> Sequence[PublisherConnection]:
        """Give the connections of one channel, or all."""
        ...

    async def connect(self, request: ConnectionRequest) -> PublisherConnection:
        """Let a client in. Raises ConnectionRefused."""
        ...


class Authenticator(Protocol):
    """Who knows which clients may come in: `rokuga.webhooks.auth.AuthWebhook` is the real one."""

    async def ask(self, connection_id: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask about a client; the answer's `allowed` is true or false. Raises NoAnswer."""
        ...
