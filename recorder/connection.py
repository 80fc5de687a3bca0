"""One connection: its peer, its frame sink, and the archiver that is recording. Nothing here runs per packet."""

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
    """What a client requests by signalling or WHIP. Its ids are data of the client: they are never used in a path.

    `connection_id` is made by us with `new_id`, if the caller needs it before the connection exists.
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
    """The IP address of the client's signalling, "" if unknown."""


TOO_MANY_PENDING = "TOO-MANY-PENDING"
"""The reason of a connection that was evicted by newer ones before its media could flow."""


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
    """Set once, when the peer has ended; the archive is closed later."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: asyncio.Event = field(default_factory=asyncio.Event)
    _is_accepted: bool = False
    close_reason: str = ""
    close_detail: str | None = None
    archiver: Archiver | None = None
    """The archive that is being written."""
    connected: asyncio.Event = field(init=False)
    """Set once, when media can flow."""
    _peer: Peer = field(init=False)
    _sink: FrameSink = field(init=False)

    def attach(self, make_peer: Callable[[PeerHooks], Peer], on_connected: Callable[[], None]) -> None:
        """Make the peer and its offer. `on_connected` is called before any media."""
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
        """Return the wall time of a monotonic time, as if the wall clock had not been set since the start."""
        return self.created_wall_ns + monotonic_ns - self.created_ns

    @property
    def last_media_ns(self) -> int:
        """When the newest unit arrived; 0 before the first one."""
        return self._sink.last_media_ns

    @property
    def publishes(self) -> bool:
        """Whether the client sends anything to record."""
        return self.role != "recvonly" and (self.audio is not None or self.video is not None)

    @property
    def is_recordable(self) -> bool:
        """Whether it publishes and is not being recorded."""
        return self.publishes and self.archiver is None

    def accept(self, answer_sdp: str) -> None:
        """Apply the client's answer; a kind that it rejects is not recorded. Raises SdpError."""
        accepted = self._peer.accept(answer_sdp)
        self._is_accepted = True
        self._begun.set()
        self.audio = self.audio if "audio" in accepted else None
        self.video = self.video if "video" in accepted else None

    def answer(self, offer_sdp: str) -> str:
        """Apply an offer of the client, instead of an answer to ours; return our answer. Raises SdpError."""
        answer = self._peer.answer(offer_sdp)
        self._is_accepted = True
        self._begun.set()
        return answer

    async def run(self) -> str:
        """Run until the peer has ended, or was closed before it answered; return the reason."""
        try:
            await self._begun.wait()
            if self._is_accepted:
                self.close_reason = await self._peer.run()
        finally:
            self.ended.set()
        return self.close_reason

    async def wait_ended(self) -> str:
        """Wait until the peer has ended, without waiting for the disk; return the reason."""
        await self.ended.wait()
        return self.close_reason

    async def wait_closed(self) -> str:
        """Wait until the connection and its archive are closed; return the reason."""
        await self.closed.wait()
        return self.close_reason

    async def close(self, reason: str) -> None:
        """End the connection and wait until its archive is finished and announced."""
        self.stop(reason)
        await self.closed.wait()

    def stop(self, reason: str, detail: str | None = None) -> None:
        """End the connection without waiting. `detail` is the reason in the caller's own words."""
        if not self.close_reason:
            self.close_reason, self.close_detail = reason, detail
        if not self.closed.is_set():
            self._peer.close(reason)
        self._begun.set()

    def end(self) -> None:
        """Mark the connection as closed, and release the peer, whose hooks refer to it."""
        del self._peer
        self.closed.set()

    def request_keyframe(self) -> None:
        """Request a key frame from the client."""
        self._peer.request_keyframe()

    def begin_archive(self, archiver: Archiver) -> None:
        """Pass the frames from now on to `archiver`, and request a key frame."""
        self.archiver, self._sink.on_frame = archiver, archiver.write
        if self.video is not None:
            self._peer.request_keyframe()

    def end_archive(self) -> Archiver | None:
        """Pass every complete unit to the archiver, then no more frames; return the archiver."""
        self._peer.flush()
        self._sink.flush()
        archiver, self.archiver, self._sink.on_frame = self.archiver, None, None
        return archiver

    def stats_from_now(self) -> Callable[[], Mapping[Kind, Mapping[str, Any]]]:
        """Return a function that returns the counters since now, and by what each kind is synchronised."""
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
        """Return the counters of each kind since the connection's start."""
        return self._peer.stats()

    def received_bytes(self) -> int:
        """Return the payload bytes of all kinds since the connection's start."""
        return sum(counters.get("received_bytes", 0) for counters in self._peer.stats().values())

    def tick(self, now_ns: int) -> None:
        """Do what is due for the peer, the frame sink and the archiver."""
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
    """The archive of one connection while it is being written."""

    identity: ConnectionIdentity
    audio: TrackConfig | None
    video: TrackConfig | None
    seconds: int
    written: MediaProgress = field(default_factory=MediaProgress)
