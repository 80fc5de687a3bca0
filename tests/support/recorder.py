"""A recorder with a real store and a real disk, on a fake clock and with fake peers whose media the test sends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import Connection, ConnectionRequest, Role
from rokuga.recorder.context import DEFAULT_TIMEOUTS, Timeouts
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_MS, AccessUnit, Kind
from rokuga.recorder.models import RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig
from rokuga.recorder.peer import PeerHooks
from rokuga.recorder.service import Recorder
from rokuga.recorder.store import RecordingStore
from rokuga.recorder.store.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.peer import FakePeer

AUDIO_MS = 20
VIDEO_MS = 40
OPUS_20_MS = b"\xfc"
"""CELT, full band, 20 ms, one frame (RFC 6716 section 3.1)."""

STARTED, AVAILABLE, FAILED = "archive.started", "archive.available", "archive.failed"
PART, PARTS_END, REPORT = "split-archive.available", "split-archive.end", "recording.report"

T = TypeVar("T")

VP8_FRAME = {True: b"\0\0\0", False: b"\1\0\0"}
"""The frame tag's first byte tells readers whether a frame is a key frame (RFC 6386 section 9.1)."""

Unit = tuple[Kind, int, bytes, bool]
"""Kind, time in ms, payload, key flag."""


@dataclass
class Client:
    """A connection and the other end of it."""

    connection: Connection
    peer: FakePeer
    clock: FakeClock
    sent: list[Unit] = field(default_factory=list)
    size: tuple[int, int] = (320, 180)

    def send(self, kind: Kind, time_ms: int, data: bytes, is_keyframe: bool = True) -> None:
        """Send one unit of this media time, now."""
        rate = 48 if kind == "audio" else 90
        size = self.size if kind == "video" and is_keyframe else (0, 0)
        self.peer.hooks.sink.unit(kind, AccessUnit(time_ms * rate, data, is_keyframe, self.clock.now_ns, *size))
        self.sent.append((kind, time_ms, data, is_keyframe))

    async def play(
        self,
        duration_ms: int,
        *,
        kinds: Collection[Kind] = ("audio", "video"),
        is_keyframe: Callable[[int], bool] = lambda time_ms: time_ms % 1000 == 0,
        size_bytes: int = 100,
    ) -> None:
        """Send so much media of each kind while the clock advances, with the ticks of the daemon."""
        begin_ns = self.clock.now_ns
        begin_ms = begin_ns // NS_PER_MS
        for ms in range(begin_ms, begin_ms + duration_ms, AUDIO_MS):
            self.clock.now_ns = begin_ns + (ms - begin_ms) * NS_PER_MS
            if "video" in kinds and ms % VIDEO_MS == 0:
                key = is_keyframe(ms)
                self.send("video", ms, VP8_FRAME[key] + f"{ms}".encode().ljust(size_bytes, b"."), key)
            if "audio" in kinds:
                self.send("audio", ms, OPUS_20_MS + f"{ms}".encode())
            await self.tick()
        self.clock.now_ns = begin_ns + duration_ms * NS_PER_MS
        await self.tick()

    async def tick(self) -> None:
        """Tick, as the daemon does."""
        self.connection.tick(self.clock.now_ns)
        await asyncio.sleep(0)

    async def leave(self, reason: str = "TYPE-DISCONNECT") -> None:
        """Disconnect; return when the files are closed."""
        await self.connection.close(reason)


@dataclass
class Commits:
    """Wakes those that wait for something in the store."""

    _next: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self) -> None:
        """Wake all that wait."""
        committed, self._next = self._next, asyncio.Event()
        committed.set()

    async def wait_for(self, find: Callable[[], Awaitable[T | None]]) -> T:
        """Call `find` now and after every commit until it returns something."""
        while True:
            following = self._next
            found = await find()
            if found is not None:
                return found
            await following.wait()


@dataclass
class RecorderHarness:
    """A recorder, its store, folder, clock and peers."""

    recorder: Recorder
    store: RecordingStore
    folder: Path
    clock: FakeClock
    peers: list[FakePeer]
    commits: Commits

    async def start(self, channel_id: str = "sora", expire_time: int = 0, **parameters: Any) -> RecordingState:
        """Start a recording."""
        return await self.recorder.start_recording(RecordingParameters(channel_id, expire_time, **parameters))

    async def stop(self, channel_id: str = "sora") -> RecordingState:
        """Stop a recording; return when its report is published."""
        state = await self.recorder.stop_recording(channel_id)
        await self.reported(state.recording_id)
        return state

    async def reported(self, recording_id: str) -> Event:
        """Wait for the report of a recording, and return it."""
        return await self.event("recording.report", recording_id=recording_id)

    async def connect(
        self,
        channel_id: str = "sora",
        audio: str | None = "OPUS",
        video: str | None = "VP8",
        role: Role = "sendonly",
        client_id: str | None = None,
        opus_params: Mapping[str, object] | None = None,
        event_metadata_json: str | None = None,
    ) -> Client:
        """Connect a client; return when it is recorded, if its channel is."""
        request = ConnectionRequest(
            channel_id,
            role,
            client_id,
            audio=TrackConfig(audio, params=opus_params or {}) if audio is not None else None,
            video=TrackConfig(video) if video is not None else None,
            event_metadata_json=event_metadata_json,
        )
        connection = await self.recorder.connect(request)
        connection.accept("v=0\r\n")
        await self.event("connection.created", connection.identity)
        async with self.recorder.channels.hold(channel_id):  # its archive has begun then
            return Client(connection, self.peers[-1], self.clock)

    async def events(self, *types: str) -> list[Event]:
        """Return all events so far, or those of these types."""
        stored = await self.store.events_after(0, 100_000)
        return [each.event for each in stored if not types or each.event.type in types]

    async def types(self) -> list[str]:
        """Return the types of all events so far but those of connections."""
        return [str(event.type) for event in await self.events() if not event.type.startswith("connection.")]

    async def event(self, event_type: str, about: ConnectionIdentity | None = None, **data: Any) -> Event:
        """Wait for the first event of a type, of a connection or any, whose document has these values; return it."""

        async def find() -> Event | None:
            for event in await self.events(event_type):
                if about in {None, event.connection} and all(event.document.get(key) == data[key] for key in data):
                    return event
            return None

        return await self.commits.wait_for(find)

    async def drain(self) -> None:
        """Wait until everything that the writer has received is on the disk."""
        await self.recorder.drain()

    def files(self, recording_id: str) -> list[str]:
        """Return the names of the files in a recording's folder."""
        return sorted(path.name for path in (self.folder / "archive" / recording_id).iterdir())


@contextlib.asynccontextmanager
async def running_recorder(
    folder: Path,
    clock: FakeClock | None = None,
    store: RecordingStore | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    **settings: Any,
) -> AsyncIterator[RecorderHarness]:
    """Run a recorder with its files and its store in `folder`."""
    clock = clock or FakeClock()
    config = RecorderConfig(**{"archive_dir": folder / "archive", **settings})
    peers: list[FakePeer] = []

    def make_peer(request: ConnectionRequest, hooks: PeerHooks) -> FakePeer:
        peers.append(FakePeer(request, hooks))
        return peers[-1]

    async with contextlib.AsyncExitStack() as stack:
        used_store = (
            store if store is not None else await stack.enter_async_context(SqliteStore(folder / "store.sqlite3"))
        )
        commits = Commits()
        recorder = Recorder(config, used_store, make_peer, clock.clock(), commits.notify, timeouts=timeouts)
        await stack.enter_async_context(recorder)
        yield RecorderHarness(recorder, used_store, folder, clock, peers, commits)
