"""Joins, leaves, starts, stops and splits at the same moment, in random order, on many channels at once."""

import asyncio
import contextlib
import random
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from rokuga.recorder.connection import ConnectionRequest
from rokuga.recorder.errors import RecordingAlreadyStarted, RecordingNotStarted
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.negotiation import TrackConfig
from tests.support.recorder import OPUS_20_MS, VP8_FRAME, Client, RecorderHarness, running_recorder

AT_ONCE = 20
STEP_MS = 40
MOMENTS_MS = (0, 40, 120, 480, 520, 960, 1000, 1040, 1120, 1200)
"""Times at which actions are planned; parts of a second end a little after it."""

ACTIONS = ("start", "start", "stop", "stop", "come", "come", "leave", "start and stop", "stop and start")
KINDS: tuple[dict[str, Any], ...] = ({}, {"split_duration": 1}, {"split_duration": 1, "split_only": True})


class Round:
    """One channel and its planned actions."""

    def __init__(self, harness: RecorderHarness, channel_id: str, dice: random.Random) -> None:
        self._harness = harness
        self._channel_id = channel_id
        self._dice = dice
        self._clients: list[Client] = []
        self._plan = sorted((dice.choice(MOMENTS_MS), dice.choice(ACTIONS)) for _ in range(dice.randint(6, 12)))
        self.started: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    def play(self, time_ms: int) -> None:
        """Send media, tick, and begin the actions of this time."""
        for client in self._clients:
            if time_ms % 80 == 0:
                is_keyframe = time_ms % 240 == 0
                client.send("video", time_ms, VP8_FRAME[is_keyframe] + b"%d" % time_ms, is_keyframe)
            client.send("audio", time_ms, OPUS_20_MS + b"%d" % time_ms)
            client.connection.tick(self._harness.clock.now_ns)
        due = [self._act(action) for moment_ms, action in self._plan if moment_ms == time_ms]
        self._dice.shuffle(due)
        self._tasks += [asyncio.ensure_future(work) for work in due]

    async def end(self) -> None:
        """Stop the recording and disconnect all clients, in random order."""
        await asyncio.gather(*self._tasks)
        works = [self._stop(), *(client.leave() for client in self._clients)]
        self._dice.shuffle(works)
        await asyncio.gather(*works)

    async def _act(self, action: str) -> None:
        match action:
            case "start and stop":
                await self._start()
                await self._stop()
            case "stop and start":
                await self._stop()
                await self._start()
            case "start":
                await self._start()
            case "stop":
                await self._stop()
            case "come":
                await self._come()
            case "leave" if self._clients:
                await self._clients.pop(self._dice.randrange(len(self._clients))).leave()

    async def _start(self) -> None:
        with contextlib.suppress(RecordingAlreadyStarted):
            state = await self._harness.start(self._channel_id, **self._dice.choice(KINDS))
            self.started.append(state.recording_id)

    async def _stop(self) -> None:
        with contextlib.suppress(RecordingNotStarted):
            await self._harness.recorder.stop_recording(self._channel_id)

    async def _come(self) -> None:
        request = ConnectionRequest(self._channel_id, "sendonly", audio=TrackConfig("OPUS"), video=TrackConfig("VP8"))
        connection = await self._harness.recorder.connect(request)
        connection.accept("v=0\r\n")
        (peer,) = (peer for peer in self._harness.peers if peer.request is request)
        self._clients.append(Client(connection, peer, self._harness.clock))


async def play_at_once(harness: RecorderHarness, rounds: list[Round]) -> None:
    """Play rounds concurrently until everything has ended."""
    for time_ms in range(0, MOMENTS_MS[-1] + STEP_MS, STEP_MS):
        for each in rounds:
            each.play(time_ms)
        await asyncio.sleep(0)
        harness.clock.now_ns += STEP_MS * NS_PER_MS
    await asyncio.gather(*(each.end() for each in rounds))


async def reported(harness: RecorderHarness, started: list[str], events: list[Event]) -> None:
    """Wait for the reports of all recordings, and append all events."""

    async def look() -> bool | None:
        events.extend(stored.event for stored in await harness.store.events_after(len(events), 100_000))
        return sum(event.type == "recording.report" for event in events) == len(started) or None

    await harness.commits.wait_for(look)
    await harness.drain()


def resources() -> Counter[str]:
    """Count resources that a round must release, without the threads of pools."""
    return Counter(
        tasks=len(asyncio.all_tasks()),
        threads=sum(not thread.name.startswith(("asyncio_", "finish_", "sync_")) for thread in threading.enumerate()),
        files=len(list(Path("/proc/self/fd").iterdir())),
    )


async def settled(harness: RecorderHarness, expected: Counter[str] | None = None) -> Counter[str]:
    """Count the resources when the tasks whose event is stored have returned."""
    for _ in range(100):
        await harness.drain()
        if resources() == expected:
            break
    return resources()


def check(harness: RecorderHarness, started: list[str], events: list[Event]) -> None:
    """Assert one start and one report per recording, first and last, and one end per archive."""
    by_recording: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if "recording_id" in event.document:
            by_recording[event.document["recording_id"]].append(event)
    assert by_recording.keys() == set(started)
    for told in by_recording.values():
        types = Counter(str(event.type) for event in told)
        assert (told[0].type, told[-1].type) == ("recording.started", "recording.report")
        assert types["recording.started"] == types["recording.report"] == 1
        begun = sorted(
            event.connection.connection_id for event in told if event.connection and event.type == "archive.started"
        )
        report = told[-1].document
        assert sorted(each["connection_id"] for each in (*report["archives"], *report["failed_archives"])) == begun
        assert len(set(begun)) == len(begun)
        ends = "split-archive.end" if report["split_only"] else "archive.available"
        assert types[ends] == len(report["archives"])
        assert types["archive.failed"] == len(report["failed_archives"])
    assert len({event.id for event in events}) == len(events)
    failed = [event.document["reason"] for event in events if event.type == "archive.failed"]
    assert set(failed) <= {"no media was received"}
    assert not list(harness.folder.glob("archive/*/.*")), "files in progress"


async def race(folder: Path, rounds: int, seed: int) -> None:
    """Play so many rounds; no event is repeated, and nothing is left active or open."""
    print("seed", seed)
    dice = random.Random(seed)
    async with running_recorder(folder) as harness:
        started: list[str] = []
        events: list[Event] = []
        before: Counter[str] = Counter()
        for _ in range(rounds // AT_ONCE):
            batch = [Round(harness, f"channel {place}", dice) for place in range(AT_ONCE)]
            await play_at_once(harness, batch)
            harness.peers.clear()
            started += [recording_id for each in batch for recording_id in each.started]
            await reported(harness, started, events)
            before = before or await settled(harness)
            assert await settled(harness, before) == before
            assert not harness.recorder.channels.ids(), "a channel without connections and recording remains"
        assert len(started) > rounds
        check(harness, started, events)


@pytest.mark.timeout(300)
async def test_500_channels_of_random_joins_starts_stops_and_splits_end_consistently(tmp_path: Path) -> None:
    """Each archive ends once, each recording is reported once and last, and nothing is left open."""
    await race(tmp_path, 500, seed=29_30_31)
