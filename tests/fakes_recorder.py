"""A recorder without media: recordings are remembered, clients connect when a test says so."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from rokuga.recorder.connection import ArchiveProgress, ConnectionRequest, Role
from rokuga.recorder.errors import ConnectionRefused, RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.identifiers import new_id
from rokuga.recorder.media import NS_PER_S, Kind
from rokuga.recorder.models import NodeState, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig
from rokuga.recorder.store import MinorityError

START_WALL_NS = 1_638_234_656 * NS_PER_S


class FakeSdpError(ValueError):
    """The answer cannot be used."""


@dataclass
class FakeConnection:
    """A connection whose peer is the test."""

    identity: ConnectionIdentity
    role: Role
    audio: TrackConfig | None
    video: TrackConfig | None
    created_wall_ns: int = START_WALL_NS
    offer_sdp: str = "v=0\r\n"
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    close_reason: str = ""
    close_detail: str | None = None
    answers: list[str] = field(default_factory=list)
    offers: list[str] = field(default_factory=list)
    keyframe_requests: int = 0
    answer_connects: bool = True
    answer_fault: str | None = None

    @property
    def mids(self) -> Mapping[Kind, str]:
        """Give the mid of each kind."""
        tracks: dict[Kind, TrackConfig | None] = {"audio": self.audio, "video": self.video}
        return {kind: f"{kind}_abc123" for kind, track in tracks.items() if track}

    def accept(self, answer_sdp: str) -> None:
        """Take any text that begins as SDP does."""
        if not answer_sdp.startswith("v=0"):
            raise FakeSdpError("the answer cannot be read")
        self.answers.append(answer_sdp)
        self.audio = None if "m=audio 0" in answer_sdp else self.audio
        self.video = None if "m=video 0" in answer_sdp else self.video
        if self.answer_connects:
            self.connected.set()

    def answer(self, offer_sdp: str) -> str:
        """Take any offer, unless the test finds fault with it."""
        if self.answer_fault is not None:
            raise FakeSdpError(self.answer_fault)
        self.offers.append(offer_sdp)
        if self.answer_connects:
            self.connected.set()
        return "v=0\r\n"

    async def wait_ended(self) -> str:
        """Wait for the test, or for close."""
        await self.closed.wait()
        return self.close_reason

    def stop(self, reason: str, detail: str | None = None) -> None:
        """End it with the first reason."""
        if not self.close_reason:
            self.close_reason, self.close_detail = reason, detail
        self.closed.set()

    def request_keyframe(self) -> None:
        """Count it."""
        self.keyframe_requests += 1


class FakeRecorder:
    """Keeps what it is told. `refusal` makes it refuse connections, `fault` makes every call fail."""

    def __init__(self) -> None:
        self.states: dict[str, RecordingState] = {}
        self.progress: list[ArchiveProgress] = []
        self.people: list[FakeConnection] = []
        self.requests: list[ConnectionRequest] = []
        self.refusal: str | None = None
        self.fault: Exception | None = None
        self.connect_fault: Exception | None = None
        self.has_majority = True
        self.known_nodes: list[NodeState] = []
        self.answer_connects = True
        self.answer_fault: str | None = None

    async def read_barrier(self) -> None:
        """Be in the majority, or not."""
        if not self.has_majority:
            raise MinorityError("no leader")

    async def nodes(self) -> list[NodeState]:
        """Give what the test said."""
        return self.known_nodes

    async def start_recording(self, parameters: RecordingParameters) -> RecordingState:
        """Begin."""
        if self.fault:
            raise self.fault
        if parameters.channel_id in self.states:
            raise RecordingAlreadyStarted
        state = RecordingState(new_id(), parameters, START_WALL_NS)
        self.states[parameters.channel_id] = state
        return state

    async def stop_recording(self, channel_id: str) -> RecordingState:
        """End."""
        if self.fault:
            raise self.fault
        if channel_id not in self.states:
            raise RecordingNotStarted
        return self.states.pop(channel_id)

    def recording(self, channel_id: str) -> RecordingState:
        """Give one."""
        if channel_id not in self.states:
            raise RecordingNotStarted
        return self.states[channel_id]

    def recordings(self) -> list[RecordingState]:
        """Give all."""
        return list(self.states.values())

    def archives(self) -> list[ArchiveProgress]:
        """Give what the test said."""
        return self.progress

    def connections(self, channel_id: str | None = None) -> list[FakeConnection]:
        """Give those that are not closed."""
        return [
            person
            for person in self.people
            if channel_id in {None, person.identity.channel_id} and not person.closed.is_set()
        ]

    async def connect(self, request: ConnectionRequest) -> FakeConnection:
        """Let a client in."""
        if self.connect_fault:
            raise self.connect_fault
        if self.refusal is not None:
            raise ConnectionRefused(self.refusal)
        self.requests.append(request)
        connection_id = request.connection_id or new_id()
        identity = ConnectionIdentity(
            channel_id=request.channel_id,
            session_id="SESSION",
            client_id=request.client_id or connection_id,
            bundle_id=request.bundle_id or request.client_id or connection_id,
            connection_id=connection_id,
        )
        connection = FakeConnection(identity, request.role, request.audio, request.video)
        connection.answer_connects = self.answer_connects
        connection.answer_fault = self.answer_fault
        self.people.append(connection)
        return connection
