"""The recorder on simulated time: a sender, a network that delays and loses, the real pipeline, files.

Only ICE, DTLS and SRTP are left out: packets are passed from the publisher's sender to the Receiver by a simulated
network, and written to files. An hour takes seconds, and every run of a test is the same.
"""

import asyncio
import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rokuga.devtools.publisher.clip import Clip
from rokuga.devtools.publisher.sender import ClipSender
from rokuga.devtools.publisher.source import OutgoingSource, SourceNumbers
from rokuga.recorder.clock import Clock
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import Connection, ConnectionRequest
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind, RtpPacket
from rokuga.recorder.models import RecordingParameters
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.peer import PeerHooks
from rokuga.recorder.rtp.packet import build_rtp
from rokuga.recorder.service import Recorder
from rokuga.recorder.store.sqlite import SqliteStore
from rokuga.recorder.webrtc.receiver import Receiver
from rokuga.recorder.webrtc.sdp.offer_and_answer import AnsweredMedia

START_NS = 1_000 * NS_PER_S
WALL_START_NS = 1_700_000_000 * NS_PER_S
SENDER_STEP_NS = 5 * NS_PER_MS
RECORDER_STEP_NS = 20 * NS_PER_MS

Deliver = Callable[[bytes, int], Sequence[int]]
"""From a packet and the ns since the start to the delays with which it arrives: none if lost, two if duplicated."""


def after(delay_ns: int) -> Deliver:
    """Return a network that delays every packet by the same time."""
    return lambda _packet, _now_ns: (delay_ns,)


@dataclass
class SimulatedPeer:
    """The peer of a connection without a network: the real Receiver, called by the simulation."""

    receiver: Receiver
    kinds: Collection[Kind]
    now_ns: Callable[[], int]
    send: Callable[[bytes], None]
    on_connected: Callable[[], None]
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    mids: Mapping[Kind, str] = field(default_factory=dict)
    _ended: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def offer(self) -> str:
        """Return a placeholder."""
        return "offer"

    def accept(self, _answer: str) -> Collection[Kind]:
        """Accept all kinds."""
        return self.kinds

    def answer(self, _offer: str) -> str:
        """Return a placeholder."""
        return "answer"

    async def run(self) -> str:
        """Connect at once, and wait until closed."""
        self.connected.set()
        self.on_connected()
        return await self._ended

    def tick(self, now_ns: int) -> None:
        """Tick the receiver, and send its RTCP to the publisher."""
        feedback = self.receiver.tick(now_ns)
        if feedback:
            self.send(feedback)

    def waiting(self) -> Collection[Kind]:
        """Return the kinds with held packets."""
        return self.receiver.waiting()

    def request_keyframe(self) -> None:
        """Request a key frame."""
        self.receiver.request_keyframe(self.now_ns())

    def flush(self) -> None:
        """Flush the receiver."""
        self.receiver.flush(self.now_ns())

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Return the receiver's counters."""
        return self.receiver.stats()

    def close(self, reason: str) -> None:
        """End the connection."""
        if not self._ended.done():
            self._ended.set_result(reason)


@dataclass
class Publisher:
    """One simulated client: its sender and its network. `begin_ns` is when it begins to send."""

    connection: Connection
    peer: SimulatedPeer
    sender: ClipSender
    network: Deliver
    feedback_delay_ns: int
    receives_feedback: bool
    begin_ns: int


class Simulation:
    """Simulated time and a recorder that runs on it; made by `simulating`."""

    def __init__(self, recorder: Recorder, store: SqliteStore, clock: "SimulatedClock") -> None:
        self.recorder = recorder
        self.store = store
        self.clock = clock
        self.publishers: list[Publisher] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._numbers = count(1)

    @property
    def now_ns(self) -> int:
        """Ns since the start of the simulation."""
        return self.clock.now_ns - START_NS

    def at(self, time_ns: int, action: Callable[[], None]) -> None:
        """Call `action` at this time."""
        heapq.heappush(self._events, (time_ns, next(self._order), action))

    def _at(self, time_ns: int, receive: Callable[[bytes, int], None], data: bytes) -> None:
        """Pass a packet to `receive` at this time."""
        self.at(time_ns, lambda: receive(data, self.clock.now_ns))

    async def publish(
        self,
        clip: Clip,
        network: Deliver | None = None,
        *,
        channel_id: str = "sora",
        negotiated: Collection[Kind] | None = None,
        video_codec: str = "VP9",
        loop: bool = False,
        rtx: bool = True,
        feedback_delay_ns: int = 30 * NS_PER_MS,
        receives_feedback: bool = True,
    ) -> Publisher:
        """Connect a client that begins to send now. `negotiated` kinds that the clip lacks stay silent.

        A test passes packets of such kinds, of `video_codec`, by `receive`.
        """
        codecs: dict[Kind, str] = {"audio": "OPUS", "video": video_codec}
        codecs.update((kind, track.codec_type) for kind, track in clip.tracks.items())
        tracks = {kind: TrackConfig(codecs[kind]) for kind in negotiated or clip.tracks}
        request = ConnectionRequest("sora", "sendonly", audio=tracks.get("audio"), video=tracks.get("video"))
        connection = await self.recorder.connect(
            ConnectionRequest(channel_id, "sendonly", audio=request.audio, video=request.video)
        )
        peer = self.clock.peers.pop()
        sources = {kind: self._source(track.codec_type, rtx) for kind, track in clip.tracks.items()}
        publisher = Publisher(
            connection,
            peer,
            ClipSender(clip, sources, "simulated", loop=loop),
            network or after(20 * NS_PER_MS),
            feedback_delay_ns,
            receives_feedback,
            self.now_ns,
        )
        peer.send = lambda data: self._feedback(publisher, data)
        self.publishers.append(publisher)
        connection.accept("answer")
        is_recorded = any(state.parameters.channel_id == channel_id for state in self.recorder.recordings())
        expected = EventType.ARCHIVE_STARTED if is_recorded else EventType.CONNECTION_CREATED
        await self._until(lambda event: event.type is expected and event.connection == connection.identity)
        return publisher

    def receive(self, publisher: Publisher, packet: RtpPacket, time_ns: int) -> None:
        """Let a packet arrive that the test has made."""
        self._at(time_ns, publisher.peer.receiver.rtp, build_rtp(packet))

    async def run(self, until_ns: int) -> None:
        """Advance time."""
        while self.now_ns < until_ns:
            self.clock.now_ns += SENDER_STEP_NS
            now_ns = self.now_ns
            for publisher in self.publishers:
                self._send(publisher, now_ns)
            while self._events and self._events[0][0] <= now_ns:
                heapq.heappop(self._events)[2]()
            if now_ns % RECORDER_STEP_NS == 0:
                for publisher in self.publishers:
                    publisher.connection.tick(self.clock.now_ns)
                # Simulated time must not pass faster than the disk writes.
                await self.recorder.context.writer.submit(lambda: None)

    async def start(self, channel_id: str = "sora", **parameters: object) -> str:
        """Start a recording; return its id."""
        given = {"expire_time": 0, **parameters}
        state = await self.recorder.start_recording(RecordingParameters(channel_id, **given))  # type: ignore[arg-type]  # passed on
        return state.recording_id

    async def stop(self, channel_id: str = "sora") -> list[Event]:
        """Stop the recording and wait for its report; return all events so far."""
        state = await self.recorder.stop_recording(channel_id)
        about = ("recording_id", state.recording_id)
        return await self._until(
            lambda event: event.type is EventType.RECORDING_REPORT and about in event.document.items()
        )

    async def events(self) -> list[Event]:
        """Return all events so far."""
        return [stored.event for stored in await self.store.events_after(0, 100_000)]

    async def _until(self, matches: Callable[[Event], bool]) -> list[Event]:
        """Wait until such an event is stored; return all events so far."""
        while True:
            self.clock.committed.clear()
            events = await self.events()
            if any(map(matches, events)):
                return events
            await self.clock.committed.wait()

    def _source(self, codec_type: str, rtx: bool) -> OutgoingSource:
        codec = CODECS[codec_type]
        number = next(self._numbers)
        # Both counters wrap soon after the start.
        numbers = SourceNumbers(number * 1000, number * 1000 + 1, 65_500, 0xFFFFFFFF - 90_000)
        return OutgoingSource(
            numbers, codec.clock_rate_hz, codec.payload_type, (codec.rtx_payload_type or None) if rtx else None
        )

    def _send(self, publisher: Publisher, now_ns: int) -> None:
        media_ns = now_ns - publisher.begin_ns
        for packet in publisher.sender.packets(media_ns):
            self._transmit(publisher, packet, now_ns)
        for report in publisher.sender.reports(media_ns, WALL_START_NS + now_ns):
            for delay_ns in publisher.network(report, now_ns):
                self._at(now_ns + delay_ns, publisher.peer.receiver.rtcp, report)

    def _transmit(self, publisher: Publisher, packet: bytes, now_ns: int) -> None:
        for delay_ns in publisher.network(packet, now_ns):
            self._at(now_ns + delay_ns, publisher.peer.receiver.rtp, packet)

    def _feedback(self, publisher: Publisher, data: bytes) -> None:
        if publisher.receives_feedback:
            self.at(self.now_ns + publisher.feedback_delay_ns, lambda: self._answer(publisher, data))

    def _answer(self, publisher: Publisher, data: bytes) -> None:
        now_ns = self.now_ns
        for packet in publisher.sender.feedback(data, now_ns - publisher.begin_ns):
            self._transmit(publisher, packet, now_ns)


class SimulatedClock:
    """Both clocks of the recorder, advanced by the simulation, and the peers that the recorder makes."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.wall_step_ns = 0
        self.peers: list[SimulatedPeer] = []
        self.committed = asyncio.Event()

    @property
    def clock(self) -> Clock:
        """The clocks for the recorder."""
        return Clock(lambda: self.now_ns, lambda: WALL_START_NS + self.now_ns - START_NS + self.wall_step_ns)

    def make_peer(self, request: ConnectionRequest, hooks: PeerHooks) -> SimulatedPeer:
        """Make the peer of a new connection."""
        media: dict[Kind, AnsweredMedia] = {}
        asked: dict[Kind, TrackConfig | None] = {"audio": request.audio, "video": request.video}
        for kind, track in asked.items():
            if track is not None:
                codec = CODECS[track.codec_type]
                media[kind] = AnsweredMedia(
                    codec=codec,
                    payload_type=codec.payload_type,
                    format_parameters={},
                    rtx_payload_type=codec.rtx_payload_type or None,
                    ssrcs=(),
                    rtx_ssrcs={},
                    nack=True,
                )
        receiver = Receiver(media, hooks.sink, own_ssrc=0, remb_bps=1_000_000)
        peer = SimulatedPeer(receiver, list(media), lambda: self.now_ns, lambda _data: None, hooks.on_connected)
        self.peers.append(peer)
        return peer


class simulating:  # noqa: N801 - reads as `async with simulating(folder) as simulation`
    """The context of a simulation: a recorder with its archive in `folder`."""

    def __init__(self, folder: Path, config: RecorderConfig | None = None) -> None:
        self._folder = folder
        self._config = config or RecorderConfig(archive_dir=folder / "archive")

    async def __aenter__(self) -> Simulation:
        clock = SimulatedClock()
        self._store = SqliteStore(self._folder / "rokuga.sqlite3")
        await self._store.__aenter__()
        self._recorder = Recorder(self._config, self._store, clock.make_peer, clock.clock, clock.committed.set)
        await self._recorder.__aenter__()
        return Simulation(self._recorder, self._store, clock)

    async def __aexit__(self, *error: object) -> None:
        await self._recorder.__aexit__(None, None, None)
        await self._store.__aexit__(None, None, None)
