"""The simulation of a scenario: the real recorder, files and events, with a simulated clock and simulated peers.

Only the network is missing: the units of a clip are passed to the connection. Ids are derived from the seed and times
from the steps, so that a scenario always has the same event bodies. A crash is real: the steps before it run in a
child process that ends without any cleanup.
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
from rokuga.devtools.simulate.scenario import (
    CrashStep,
    ExpireStep,
    JoinStep,
    LeaveStep,
    Scenario,
    StartStep,
    Step,
    StopStep,
)
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
"""2026-01-01T00:00:00Z, the begin of every scenario."""

TICK_NS: Final = 40 * NS_PER_MS
RESTART_NS: Final = NS_PER_S
"""The time from a crash to the next start."""

REPORT_TIMEOUT_S: Final = 30.0

SETTLE_ROUNDS: Final = 8
"""Rounds of writer and store after which all work of a step is done; the end of a part needs fewer."""


class SimulationError(Exception):
    """The scenario could not be simulated."""


class SimulatedPeer:
    """A peer without a network: it is connected at once, and the simulation passes it its units."""

    def __init__(self, kinds: Collection[Kind], hooks: PeerHooks) -> None:
        self.connected = asyncio.Event()
        self.mids: Mapping[Kind, str] = {}
        self._sink = hooks.sink
        self._kinds = kinds
        self._on_connected = hooks.on_connected
        self._counts: dict[Kind, int] = dict.fromkeys(kinds, 0)
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def offer(self) -> str:
        """Return an empty offer, which is not read."""
        return ""

    def accept(self, _answer: str) -> Collection[Kind]:
        """Accept all kinds."""
        return self._kinds

    def answer(self, _offer: str) -> str:
        """Return an empty answer, which is not read."""
        return ""

    async def run(self) -> str:
        """Connect at once, and return the reason when closed."""
        self.connected.set()
        self._on_connected()
        return await self._ended

    def receive(self, kind: Kind, unit: AccessUnit) -> None:
        """Pass a unit to the connection, as if it had arrived."""
        self._counts[kind] += len(unit.data)
        self._sink.unit(kind, unit)

    def tick(self, now_ns: int) -> None:
        """Do nothing: no unit is late."""

    def waiting(self) -> Collection[Kind]:
        """Return nothing: no kind waits for a key frame."""
        return ()

    def request_keyframe(self) -> None:
        """Do nothing: a clip has fixed key frames."""

    def flush(self) -> None:
        """Do nothing: no unit is buffered."""

    def stats(self) -> Mapping[Kind, Mapping[str, int]]:
        """Return the bytes that were sent."""
        return {kind: {"received_bytes": size} for kind, size in self._counts.items()}

    def close(self, reason: str) -> None:
        """End `run` with this reason."""
        if not self._ended.done():
            self._ended.set_result(reason)


@dataclass(slots=True)
class SimulatedClient:
    """One client; `units` are kind, unit and time in ns since it joined, without end."""

    connection: Connection
    peer: SimulatedPeer
    joined_ns: int
    units: Iterator[tuple[Kind, AccessUnit, int]]
    pending: tuple[Kind, AccessUnit, int] | None = None

    def send(self, now_ns: int) -> None:
        """Send the units that are due."""
        while (unit := self.pending or next(self.units, None)) is not None:
            self.pending = unit
            kind, access_unit, time_ns = unit
            if self.joined_ns + time_ns > now_ns:
                return
            access_unit.arrival_ns = self.joined_ns + time_ns
            self.peer.receive(kind, access_unit)
            self.pending = None


@dataclass(slots=True)
class Simulation:
    """One run of the daemon; `now_ns` counts from the beginning of the scenario."""

    now_ns: int
    recorder: Recorder = field(init=False)
    store: SqliteStore = field(init=False)
    clients: dict[str, SimulatedClient] = field(default_factory=dict)
    peers: list[SimulatedPeer] = field(default_factory=list)
    committed: asyncio.Event = field(default_factory=asyncio.Event)

    def clock(self) -> Clock:
        """Return the recorder's clock, which is the simulated one."""
        return Clock(lambda: NS_PER_S + self.now_ns, lambda: BEGIN_WALL_NS + self.now_ns)

    def make_peer(self, request: ConnectionRequest, hooks: PeerHooks) -> SimulatedPeer:
        """Return the simulated peer of a new connection."""
        kinds: dict[Kind, TrackConfig | None] = {"audio": request.audio, "video": request.video}
        self.peers.append(SimulatedPeer([kind for kind, track in kinds.items() if track is not None], hooks))
        return self.peers[-1]

    async def run(self, steps: Sequence[Step]) -> None:
        """Advance the clock, and execute each step at its time. Raises SimulationError, StoreError, ArchiveError."""
        for step in steps:
            while self.now_ns < int(step.at_s * NS_PER_S):
                await self._tick()
            await self._execute(step)
            await self._settle()

    async def _tick(self) -> None:
        self.now_ns += TICK_NS
        for client in self.clients.values():
            client.send(NS_PER_S + self.now_ns)
            client.connection.tick(NS_PER_S + self.now_ns)
        await self._settle()

    async def _settle(self) -> None:
        """Wait until writer and store are idle, before the clock advances."""
        for _ in range(SETTLE_ROUNDS):
            await self.recorder.drain()
            await self.store.archives("")

    async def _execute(self, step: Step) -> None:
        match step:
            case StartStep(parameters=parameters):
                await self.recorder.start_recording(parameters)
            case JoinStep():
                await self._join(step)
            case LeaveStep(client_id=client_id):
                client = self.clients.pop(client_id)
                client.connection.stop("NO-ERROR")
                await client.connection.wait_closed()
            case StopStep(channel_id=channel_id):
                await self.recorder.stop_recording(channel_id)
                await self._wait_reported(channel_id)
            case ExpireStep(channel_id=channel_id):
                await self._wait_reported(channel_id)
            case CrashStep():
                os._exit(0)

    async def _join(self, step: JoinStep) -> None:
        clip = _read(step.clip)
        tracks = {kind: TrackConfig(track.codec_type) for kind, track in clip.tracks.items()}
        tracks = tracks or {kind: TrackConfig(name) for kind, name in DEFAULT_CODECS.items()}
        request = ConnectionRequest(
            step.channel_id,
            "sendonly",
            client_id=step.client_id,
            audio=tracks.get("audio"),
            video=tracks.get("video"),
        )
        connection = await self.recorder.connect(request)
        connection.accept("")
        self.clients[step.client_id] = SimulatedClient(
            connection, self.peers[-1], NS_PER_S + self.now_ns, _units(clip)
        )

    async def _wait_reported(self, channel_id: str) -> None:
        """Wait for the report of a recording, while the simulated clock is stopped."""
        while True:
            self.committed.clear()
            events = await self.events()
            if any(event.type is EventType.RECORDING_REPORT and event.channel_id == channel_id for event in events):
                return
            async with asyncio.timeout(REPORT_TIMEOUT_S):
                await self.committed.wait()

    async def events(self) -> list[Event]:
        """Return all events so far, in order."""
        return [stored.event for stored in await self.store.events_after(0, 100_000)]


def simulate(scenario: Scenario, archive_dir: Path, data_dir: Path, seed: str) -> list[Event]:
    """Simulate a scenario in these folders, which are created; return its events. No event loop may be running.

    Raises SimulationError.
    """
    archive_dir.mkdir(parents=True, exist_ok=True)
    data_dir.mkdir(parents=True, exist_ok=True)
    store = data_dir / "simulation.sqlite3"
    if store.exists():
        raise SimulationError(f"{store} exists already: each simulation needs a new data_dir")
    begin_ns, steps = 0, list(scenario.steps)
    for place, crash in enumerate(step for step in scenario.steps if isinstance(step, CrashStep)):
        end = steps.index(crash) + 1
        _in_child(partial(_run, steps[:end], archive_dir, store, f"{seed} {place}", begin_ns))
        begin_ns, steps = int(crash.at_s * NS_PER_S) + RESTART_NS, steps[end:]
    return asyncio.run(_run(steps, archive_dir, store, f"{seed} last", begin_ns))


def _in_child(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run the work in a child process, which ends without cleanup. Raises SimulationError if it fails."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work())
        finally:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise SimulationError("the steps before the crash failed")


async def _run(steps: Sequence[Step], archive_dir: Path, store: Path, seed: str, begin_ns: int) -> list[Event]:
    numbers = count()
    simulation = Simulation(begin_ns)
    config = RecorderConfig(archive_dir=archive_dir)
    async with SqliteStore(store) as simulation.store:
        recorder = Recorder(
            config,
            simulation.store,
            simulation.make_peer,
            simulation.clock(),
            simulation.committed.set,
            lambda: derived_id("rehearsal", seed, str(next(numbers))),
        )
        async with recorder as simulation.recorder:
            await simulation.run(steps)
            for client in simulation.clients.values():
                client.connection.stop("NO-ERROR")
                await client.connection.wait_closed()
        return await simulation.events()


def _read(clip: str) -> Clip:
    """Read a sample by its name; an empty name is a clip without tracks."""
    if not clip:
        return Clip({}, 0)
    return read_clip(Path(str(resources.files("rokuga").joinpath("samples", clip))))


def _units(clip: Clip) -> Iterator[tuple[Kind, AccessUnit, int]]:
    """Return the clip's units by time, again and again."""
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
