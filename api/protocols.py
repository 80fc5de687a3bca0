"""Protocols of what the applications call: the recorder, its connections, and the authentication webhook."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rokuga.recorder.connection import ArchiveProgress, ConnectionRequest, Role
from rokuga.recorder.media import Kind
from rokuga.recorder.models import NodeState, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig


class PublisherConnection(Protocol):
    """One client's media connection, from its offer until it ends."""

    @property
    def identity(self) -> ConnectionIdentity:
        """Its ids."""
        ...

    @property
    def role(self) -> Role:
        """The direction of media, from the client's point of view."""
        ...

    @property
    def audio(self) -> TrackConfig | None:
        """The negotiated audio, None without audio."""
        ...

    @property
    def video(self) -> TrackConfig | None:
        """The negotiated video, None without video."""
        ...

    @property
    def created_wall_ns(self) -> int:
        """When it was created."""
        ...

    @property
    def offer_sdp(self) -> str:
        """Our SDP offer, candidates included."""
        ...

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The mid of each offered kind."""
        ...

    @property
    def connected(self) -> asyncio.Event:
        """Set once, when DTLS has completed."""
        ...

    def accept(self, answer_sdp: str) -> None:
        """Process the client's answer. Raises ValueError with the fault."""
        ...

    def answer(self, offer_sdp: str) -> str:
        """Process an offer of the client instead, and return our answer. Raises ValueError with the fault."""
        ...

    async def wait_ended(self) -> str:
        """Wait until the connection has ended, and return the reason. Its archive is finished later."""
        ...

    def stop(self, reason: str, detail: str | None = None) -> None:
        """End the connection without waiting for its files. Safe to repeat. `detail`: the requester's own reason."""
        ...

    def request_keyframe(self) -> None:
        """Send a PLI to the client."""
        ...


class RecordingService(Protocol):
    """The recorder: `rokuga.recorder.service.Recorder` implements it."""

    async def read_barrier(self) -> None:
        """Return once all earlier changes of every node are visible here. Raises MinorityError."""
        ...

    async def nodes(self) -> Sequence[NodeState]:
        """Return the nodes of the cluster, none without a cluster. Raises StoreError."""
        ...

    async def start_recording(self, parameters: RecordingParameters) -> RecordingState:
        """Start a recording. Raises RecordingAlreadyStarted."""
        ...

    async def stop_recording(self, channel_id: str) -> RecordingState:
        """Stop a recording; its files are finished later. Raises RecordingNotStarted."""
        ...

    def recording(self, channel_id: str) -> RecordingState:
        """Return the active recording of a channel. Raises RecordingNotStarted."""
        ...

    def recordings(self) -> Sequence[RecordingState]:
        """Return all active recordings."""
        ...

    def archives(self) -> Sequence[ArchiveProgress]:
        """Return the archives that are being written."""
        ...

    def connections(self, channel_id: str | None = None) -> Sequence[PublisherConnection]:
        """Return the connections of one channel, or all."""
        ...

    async def connect(self, request: ConnectionRequest) -> PublisherConnection:
        """Create a connection. Raises ConnectionRefused."""
        ...


class Authenticator(Protocol):
    """The authentication webhook: `rokuga.webhooks.auth.AuthWebhook` implements it."""

    async def ask(self, connection_id: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send the request and return the answer, whose `allowed` is a boolean. Raises NoAnswer."""
        ...
