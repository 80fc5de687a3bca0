"""One publisher's pipeline, wired: peer > frame sink > archiver. Nothing here is done for each packet."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rokuga.recorder.archive.archiver import Archiver, MediaProgress
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.frame_sink import FrameSink
from rokuga.recorder.media import Kind
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig
from rokuga.recorder.peer import Peer, PeerHooks

Role = Literal["sendonly", "sendrecv", "recvonly"]


@dataclass(frozen=True, slots=True)
class ConnectionRequest:
    """What a front asks for. Ids are the client's data: they name, they never become a path.

    `connection_id` alone is ours, from `new_id`, where the front had to name the connection before it was there.
    """

    channel_id: str
    role: Role
    client_id: str | None = None
    bundle_id: str | None = None
    audio: TrackConfig | None = None
    video: TrackConfig | None = None
    connection_id: str | None = None
    event_metadata_json: str | None = None
    client_address: str = ""
    """The IP address that the client signals from, "" where it is not known."""


TOO_MANY_PENDING = "TOO-MANY-PENDING"
"""The reason of a connection that was given up for newer ones before its media could flow."""


@dataclass(slots=True)
class Connection:
    """One client of one channel. `audio` and `video` are what the client agreed to send."""

    identity: ConnectionIdentity
    role: Role
    audio: TrackConfig | None
    video: TrackConfig | None
    created_wall_ns: int
    created_ns: int
    offer_sdp: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once, when the peer is gone; its archive is closed later."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: asyncio.Event = field(default_factory=asyncio.Event)
    _is_accepted: bool = False
    close_reason: str = ""
    close_detail: str | None = None
    archiver: Archiver | None = None
    """The archive that is under way."""
    connected: asyncio.Event = field(init=False)
    """Set once, when media can flow."""
    _peer: Peer = field(init=False)
    _sink: FrameSink = field(init=False)

    def attach(self, make_peer: Callable[[PeerHooks], Peer], on_connected: Callable[[], None]) -> None:
        """Give the connection its peer; the offer is ready afterwards. `on_connected` comes before any media."""
        kinds: dict[Kind, TrackConfig | None] = {"audio": self.audio, "video": self.video}
        rates = {kind: CODECS[track.codec_type].clock_rate_hz for kind, track in kinds.items() if track}
        self._sink = FrameSink(rates)
        self._peer = make_peer(PeerHooks(self._sink, on_connected, lambda: self.stop(TOO_MANY_PENDING)))
        self.connected = self._peer.connected
        self.offer_sdp = self._peer.offer()

    @property
    def mids(self) -> Mapping[Kind, str]:
        """The mid of each kind in the offer."""
        return self._peer.mids

    def wall_at(self, monotonic_ns: int) -> int:
        """Give the wall time of a monotonic one, as if the wall clock had not been set since the connection came."""
        return self.created_wall_ns + monotonic_ns - self.created_ns

    @property
    def last_media_ns(self) -> int:
        """When the newest unit arrived; 0 before the first one."""
        return self._sink.last_media_ns

    @property
    def publishes(self) -> bool:
        """Whether there is anything to record."""
        return self.role != "recvonly" and (self.audio is not None or self.video is not None)

    @property
    def is_recordable(self) -> bool:
        """Whether it publishes and is not being recorded."""
        return self.publishes and self.archiver is None

    def accept(self, answer_sdp: str) -> None:
        """Take the client's answer; a kind that it rejects is not recorded. Raises SdpError."""
        accepted = self._peer.accept(answer_sdp)
        self._is_accepted = True
        self._begun.set()
        self.audio = self.audio if "audio" in accepted else None
        self.video = self.video if "video" in accepted else None

    def answer(self, offer_sdp: str) -> str:
        """Take the client's own offer instead of an answer to ours; give our answer. Raises SdpError."""
        answer = self._peer.answer(offer_sdp)
        self._is_accepted = True
        self._begun.set()
        return answer

    async def run(self) -> str:
        """Live until the peer is gone, or was closed before it answered; give the reason."""
        try:
            await self._begun.wait()
            if self._is_accepted:
                self.close_reason = await self._peer.run()
        finally:
            self.ended.set()
        return self.close_reason

    async def wait_ended(self) -> str:
        """Wait until the peer is gone, which waits for no disk; give the reason."""
        await self.ended.wait()
        return self.close_reason

    async def wait_closed(self) -> str:
        """Wait until the connection and its archive are closed; give the reason."""
        await self.closed.wait()
        return self.close_reason

    async def close(self, reason: str) -> None:
        """End the connection and wait for its archive to be whole and announced."""
        self.stop(reason)
        await self.closed.wait()

    def stop(self, reason: str, detail: str | None = None) -> None:
        """End the connection; what follows from it follows. `detail` is why, in the words of who wanted it."""
        if not self.close_reason:
            self.close_reason, self.close_detail = reason, detail
        if not self.closed.is_set():
            self._peer.close(reason)
        self._begun.set()

    def end(self) -> None:
        """Be closed, as the archive is. The peer, whose hooks hold this connection, is let go."""
        del self._peer
        self.closed.set()

    def request_keyframe(self) -> None:
        """Ask the client for a key frame."""
        self._peer.request_keyframe()

    def begin_archive(self, archiver: Archiver) -> None:
        """Write what arrives from now on into `archiver`; its first picture is asked for at once."""
        self.archiver, self._sink.on_frame = archiver, archiver.write
        if self.video is not None:
            self._peer.request_keyframe()

    def end_archive(self) -> Archiver | None:
        """Stop writing: everything that arrived whole has been handed over to the archiver that is returned."""
        self._peer.flush()
        self._sink.flush()
        archiver, self.archiver, self._sink.on_frame = self.archiver, None, None
        return archiver

    def stats_from_now(self) -> Callable[[], Mapping[Kind, Mapping[str, Any]]]:
        """Begin to count: the answer gives the counters since now, and what each kind is synchronised by."""
        peer, sink = self._peer, self._sink  # an archive may be closed later than its connection
        before, reports_before = peer.stats(), dict(sink.sender_reports)

        def since() -> Mapping[Kind, Mapping[str, Any]]:
            return {
                kind: {
                    **{name: value - before.get(kind, {}).get(name, 0) for name, value in counters.items()},
                    "sender_reports": sink.sender_reports[kind] - reports_before[kind],
                    "sync_source": sink.timeline.sync_source(kind),
                }
                for kind, counters in peer.stats().items()
            }

        return since

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Give the counters of each kind since the connection's start."""
        return self._peer.stats()

    def received_bytes(self) -> int:
        """Payload bytes of all kinds since the connection's start."""
        return sum(counters.get("received_bytes", 0) for counters in self._peer.stats().values())

    def tick(self, now_ns: int) -> None:
        """Do what is due now for the peer and for the file."""
        self._peer.tick(now_ns)
        sink, archiver = self._sink, self.archiver
        sink.tick(now_ns)
        if archiver is not None and now_ns >= archiver.due_ns:
            waiting = self._peer.waiting()
            if sink.timeline.is_holding:
                waiting = {*waiting, *sink.timeline.holding}
            if archiver.tick(now_ns, waiting):
                self._peer.request_keyframe()


@dataclass(frozen=True, slots=True)
class ArchiveProgress:
    """One connection's archive while it is being written."""

    identity: ConnectionIdentity
    audio: TrackConfig | None
    video: TrackConfig | None
    seconds: int
    written: MediaProgress = field(default_factory=MediaProgress)
