"""Plays a scenario: the real recorder, real files, real events, on a clock and with clients of the stage's own.

Only the network is left out: units of a clip go straight into the connection. Ids follow from the seed, times from
the acts, so that the same scenario gives the same bodies every time. A crash is a real one: acts up to it are played
by a child process that is gone in the middle of its work.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any, Final

from rokuga.devtools.publisher.clip import Clip, ClipTrack, read_clip
from rokuga.devtools.simulate.scenario import Act, Crash, Enter, Expire, Leave, Scenario, Start, Stop
from rokuga.recorder.clock import Clock
from rokuga.recorder.codecs.table import CODECS, DEFAULT_CODECS
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.connection import Connection, ConnectionRequest
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.identifiers import derived_id
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig
from rokuga.recorder.peer import PeerHooks
from rokuga.recorder.service import Recorder
from rokuga.recorder.store.sqlite import SqliteStore

BEGIN_WALL_NS: Final = 1_767_225_600 * NS_PER_S
"""2026-01-01T00:00:00Z: when every scenario begins."""

STEP_NS: Final = 40 * NS_PER_MS
RESTART_NS: Final = NS_PER_S
"""How long it takes from a crash to the next start."""

REPORT_S: Final = 30.0
"""A report that is not there by then is not coming."""

SETTLING_ROUNDS: Final = 8
"""Turns of disk and store in which what an act set off is done: more than the end of a part in parts takes."""


class SimulationError(Exception):
    """The scenario could not be played."""


class SimulatedPeer:
    """A Peer without a network: connected at once, and fed by the stage."""

    def __init__(self, kinds: Collection[Kind], hooks: PeerHooks) -> None:
        self.connected = asyncio.Event()
        self.mids: Mapping[Kind, str] = {}
        self._sink = hooks.sink
        self._kinds = kinds
        self._on_connected = hooks.on_connected
        self._counts: dict[Kind, int] = dict.fromkeys(kinds, 0)
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def offer(self) -> str:
        """Nobody reads it."""
        return ""

    def accept(self, _answer: str) -> Collection[Kind]:
        """Every kind is welcome."""
        return self._kinds

    def answer(self, _offer: str) -> str:
        """There is nobody to read it either."""
        return ""

    async def run(self) -> str:
        """Be connected until closed."""
        self.connected.set()
        self._on_connected()
        return await self._ended

    def take(self, kind: Kind, unit: AccessUnit) -> None:
        """Give a unit to the connection."""
        self._counts[kind] += len(unit.data)
        self._sink.unit(kind, unit)

    def tick(self, now_ns: int) -> None:
        """Nothing is ever late."""

    def waiting(self) -> Collection[Kind]:
        """Nothing is ever missing."""
        return ()

    def request_keyframe(self) -> None:
        """The clip has its key frames where it has them."""

    def flush(self) -> None:
        """Nothing is ever held back."""

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Give what was sent."""
        return {kind: {"received_bytes": size} for kind, size in self._counts.items()}

    def close(self, reason: str) -> None:
        """End it."""
        if not self._ended.done():
            self._ended.set_result(reason)


@dataclass(slots=True)
class Client:
    """One client on the stage; `units` gives kind, time in ns since it came, and unit, without end."""

    connection: Connection
    peer: SimulatedPeer
    came_ns: int
    units: Iterator[tuple[Kind, AccessUnit, int]]
    pending: tuple[Kind, AccessUnit, int] | None = None

    def play(self, now_ns: int) -> None:
        """Send what is due by now."""
        while (unit := self.pending or next(self.units, None)) is not None:
            self.pending = unit
            kind, access_unit, time_ns = unit
            if self.came_ns + time_ns > now_ns:
                return
            access_unit.arrival_ns = self.came_ns + time_ns
            self.peer.take(kind, access_unit)
            self.pending = None


@dataclass(slots=True)
class Simulation:
    """One process of the daemon on the stage; `now_ns` is since the beginning of the scenario."""

    now_ns: int
    recorder: Recorder = field(init=False)
    store: SqliteStore = field(init=False)
    clients: dict[str, Client] = field(default_factory=dict)
    peers: list[SimulatedPeer] = field(default_factory=list)
    committed: asyncio.Event = field(default_factory=asyncio.Event)

    def clock(self) -> Clock:
        """Both clocks of the recorder."""
        return Clock(lambda: NS_PER_S + self.now_ns, lambda: BEGIN_WALL_NS + self.now_ns)

    def make_peer(self, request: ConnectionRequest, hooks: PeerHooks) -> SimulatedPeer:
        """Make the other end of a client that comes."""
        kinds: dict[Kind, TrackConfig | None] = {"audio": request.audio, "video": request.video}
        self.peers.append(SimulatedPeer([kind for kind, track in kinds.items() if track is not None], hooks))
        return self.peers[-1]

    async def play(self, acts: Sequence[Act]) -> None:
        """Let time pass and each act happen at its time. Raises SimulationError, StoreError, ArchiveError."""
        for act in acts:
            while self.now_ns < int(act.at_s * NS_PER_S):
                await self._step()
            await self._do(act)
            await self._settle()

    async def _step(self) -> None:
        self.now_ns += STEP_NS
        for client in self.clients.values():
            client.play(NS_PER_S + self.now_ns)
            client.connection.tick(NS_PER_S + self.now_ns)
        await self._settle()

    async def _settle(self) -> None:
        """Let disk and store do all that is due before time goes on."""
        for _ in range(SETTLING_ROUNDS):
            await self.recorder.drain()
            await self.store.archives("")

    async def _do(self, act: Act) -> None:
        match act:
            case Start(parameters=parameters):
                await self.recorder.start_recording(parameters)
            case Enter():
                await self._enter(act)
            case Leave(client_id=client_id):
                client = self.clients.pop(client_id)
                client.connection.stop("NO-ERROR")
                await client.connection.wait_closed()
            case Stop(channel_id=channel_id):
                await self.recorder.stop_recording(channel_id)
                await self._reported(channel_id)
            case Expire(channel_id=channel_id):
                await self._reported(channel_id)
            case Crash():
                os._exit(0)

    async def _enter(self, act: Enter) -> None:
        clip = _read(act.clip)
        tracks = {kind: TrackConfig(track.codec_type) for kind, track in clip.tracks.items()}
        tracks = tracks or {kind: TrackConfig(name) for kind, name in DEFAULT_CODECS.items()}
        request = ConnectionRequest(
            act.channel_id, "sendonly", client_id=act.client_id, audio=tracks.get("audio"), video=tracks.get("video")
        )
        connection = await self.recorder.connect(request)
        connection.accept("")
        self.clients[act.client_id] = Client(connection, self.peers[-1], NS_PER_S + self.now_ns, _units(clip))

    async def _reported(self, channel_id: str) -> None:
        """Wait for a recording's report; the time of the stage stands still meanwhile."""
        while True:
            self.committed.clear()
            events = await self.events()
            if any(event.type is EventType.RECORDING_REPORT and event.channel_id == channel_id for event in events):
                return
            async with asyncio.timeout(REPORT_S):
                await self.committed.wait()

    async def events(self) -> list[Event]:
        """Give all events so far, in their order."""
        return [stored.event for stored in await self.store.events_after(0, 100_000)]


def play(scenario: Scenario, archive_dir: Path, data_dir: Path, seed: str) -> list[Event]:
    """Play a scenario into these folders, which are made; give its events. Nothing else may run in this process.

    Raises SimulationError.
    """
    archive_dir.mkdir(parents=True, exist_ok=True)
    data_dir.mkdir(parents=True, exist_ok=True)
    store = data_dir / "rehearsal.sqlite3"
    if store.exists():
        raise SimulationError(f"{store} is there already: each rehearsal has folders of its own")
    begin_ns, acts = 0, list(scenario.acts)
    for place, crash in enumerate(act for act in scenario.acts if isinstance(act, Crash)):
        end = acts.index(crash) + 1
        _in_child(partial(_play, acts[:end], archive_dir, store, f"{seed} {place}", begin_ns))
        begin_ns, acts = int(crash.at_s * NS_PER_S) + RESTART_NS, acts[end:]
    return asyncio.run(_play(acts, archive_dir, store, f"{seed} last", begin_ns))


def _in_child(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Do the work in a child that is gone at its end without a farewell."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work())
        finally:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise SimulationError("the part up to the crash could not be played")


async def _play(acts: Sequence[Act], archive_dir: Path, store: Path, seed: str, begin_ns: int) -> list[Event]:
    numbers = count()
    stage = Simulation(begin_ns)
    config = RecorderConfig(archive_dir=archive_dir)
    async with SqliteStore(store) as stage.store:
        recorder = Recorder(
            config,
            stage.store,
            stage.make_peer,
            stage.clock(),
            stage.committed.set,
            lambda: derived_id("rehearsal", seed, str(next(numbers))),
        )
        async with recorder as stage.recorder:
            await stage.play(acts)
            for client in stage.clients.values():
                client.connection.stop("NO-ERROR")
                await client.connection.wait_closed()
        return await stage.events()


def _read(clip: str) -> Clip:
    """Read a sample by its name; "" is a clip without tracks."""
    if not clip:
        return Clip({}, 0)
    return read_clip(Path(str(resources.files("rokuga").joinpath("samples", clip))))


def _units(clip: Clip) -> Iterator[tuple[Kind, AccessUnit, int]]:
    """Give the clip's units in the order of their times, again and again."""
    lap = sorted(
        ((unit.time_ns, kind, track, unit) for kind, track in clip.tracks.items() for unit in track.units),
        key=lambda entry: entry[:2],
    )
    for start_ns in count(0, clip.duration_ns) if lap else ():
        for time_ns, kind, track, unit in lap:
            yield kind, _access_unit(track, unit.data, unit.is_keyframe, start_ns + time_ns), start_ns + time_ns


def _access_unit(track: ClipTrack, data: bytes, is_keyframe: bool, time_ns: int) -> AccessUnit:
    rtp_time = time_ns * CODECS[track.codec_type].clock_rate_hz // NS_PER_S
    size = (track.width, track.height) if is_keyframe else (0, 0)
    return AccessUnit(rtp_time, data, is_keyframe, 0, *size)
