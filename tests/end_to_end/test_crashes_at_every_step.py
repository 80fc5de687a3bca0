"""SIGKILL at every step and at random moments, with a consumer that fails: no event is lost or out of order."""

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate
from rokuga.recorder.webrtc.outgoing.peer import PublishError
from rokuga.webhooks import order, schemas
from tests import readers
from tests.end_to_end.crashing_daemon import STEPS
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon, NotReadyError, consuming, running

CLIP = read_clip(CLIPS / "vp9-opus.webm")
CHANNELS = ("red", "green", "blue")
KINDS: tuple[dict[str, Any], ...] = (
    {"expire_time": 0},
    {"expire_time": 2},
    {"expire_time": 0, "split_duration": 1},
    {"expire_time": 0, "split_duration": 1, "split_only": True},
)
SETTINGS = {"webhook_response_timeout": "1 s"}

COUNTS = {
    "before close": 3,
    "after close": 3,
    "before json": 5,
    "after json": 5,
    "before rename": 8,
    "after rename": 8,
}
"""A daemon crashes up to the so-manieth time that it reaches a step; 20 for other steps."""

ROUNDING_NS = 1_000_000
"""A file has whole milliseconds."""

Event = dict[str, Any]


@dataclass
class Setup:
    """The folder of one daemon process after the other, and the recordings that they started."""

    folder: Path
    started: list[str] = field(default_factory=list)

    @property
    def media(self) -> Path:
        """The folder with the progress of each archive, a second before its daemon crashed."""
        return self.folder / "media"


class ConsumerFaults:
    """Faults of the consumer, at most one per event: a status, a reset or a response that is too late."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failed: set[str] = set()

    async def answer(self, request: web.Request, event: Event) -> web.Response:
        """Return the response to an event that is stored; the daemon may receive it or not."""
        if event["id"] in self._failed or self._rng.random() < 0.9:
            return web.Response()
        self._failed.add(event["id"])
        match self._rng.randrange(3):
            case 0:
                return web.Response(status=500)
            case 1:
                assert request.transport is not None
                request.transport.abort()
            case _:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), 1.2)
        return web.Response()


async def publish_repeatedly(daemon: Daemon, rng: random.Random, certificate: Certificate) -> None:
    """Publish from one client after the other, in random channels, until the daemon ends."""
    while True:
        channel_id, seconds = rng.choice(CHANNELS), rng.uniform(0.1, 2.5)
        options = PublishOptions(Path(), daemon.signaling_url, channel_id, loop=True, seconds=seconds)
        await publish(options, CLIP, certificate)


async def record_repeatedly(daemon: Daemon, rng: random.Random, started: list[str]) -> None:
    """Start and stop recordings; append the ids of those whose start got a response."""
    while True:
        channel_id = rng.choice(CHANNELS)
        operation = rng.choice(["StartRecording", "StartRecording", "StopRecording"])
        body = {"channel_id": channel_id} | (rng.choice(KINDS) if operation == "StartRecording" else {})
        try:
            answer = await daemon.api(operation, body)
        except aiohttp.ClientResponseError as error:
            if error.status != 400:  # started or stopped already
                raise
        else:
            started.extend([answer["recording_id"]] if operation == "StartRecording" else [])
        await asyncio.wait([asyncio.create_task(daemon.process.wait())], timeout=rng.uniform(0, 0.4))


async def run_until_crash(setup: Setup, consumer: Consumer, step: str, rng: random.Random) -> None:
    """Run a daemon until it kills itself at a step; without a step, kill it at a random moment."""
    command = ("tests.end_to_end.crashing_daemon", step or "never", str(rng.randint(1, COUNTS.get(step, 20))))
    try:
        async with running(setup.folder, consumer.url, (*command, str(setup.media), "run"), **SETTINGS) as daemon:
            await use_until_crash(daemon, setup, None if step else rng.uniform(0, 3), rng)
    except NotReadyError:
        if not step:
            raise
    else:
        assert daemon.process.returncode == -9
        assert not daemon.faults()


async def use_until_crash(daemon: Daemon, setup: Setup, seconds: float | None, rng: random.Random) -> None:
    """Publish and record until the daemon ends, or for so many seconds."""
    certificate = Certificate.make()
    work = [publish_repeatedly(daemon, rng, certificate) for _ in range(2)]
    tasks = [asyncio.create_task(each) for each in (*work, record_repeatedly(daemon, rng, setup.started))]
    end = asyncio.create_task(daemon.process.wait())
    await asyncio.wait([end], timeout=seconds)
    if seconds is not None:
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
        daemon.kill()
    await end
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError | PublishError | aiohttp.ClientError), outcome


async def crash_and_check(folder: Path, steps: Sequence[str], seed: int) -> None:
    """Crash a daemon at each of these steps; then end every recording in order, and check files and events."""
    rng = random.Random(seed)
    setup = Setup(folder)
    setup.media.mkdir(parents=True)
    async with consuming() as consumer:
        consumer.answer = ConsumerFaults(rng).answer
        for step in steps:
            await run_until_crash(setup, consumer, step, rng)
        consumer.answer = None
        async with running(folder, consumer.url, **SETTINGS) as daemon:
            for active in await daemon.api("ListStartedRecording"):
                with contextlib.suppress(aiohttp.ClientResponseError):  # it may have expired just now
                    await daemon.api("StopRecording", {"channel_id": active["channel_id"]})
            await consumer.wait_until(lambda: not unreported(consumer, setup.started))
            assert await daemon.api("ListStartedRecording") == []
            assert not daemon.faults()
    assert not list(daemon.archive_dir.rglob(".*.part")), "files in progress"
    check(daemon.archive_dir, setup.media, consumer.once())
    check_outbox(folder, consumer.once())


async def crash_in_parallel(folder: Path, seed: int, steps: list[str]) -> None:
    """Crash at all steps, in a random order, in four folders in parallel."""
    print("seed", seed)
    random.Random(seed).shuffle(steps)
    async with asyncio.TaskGroup() as tasks:
        for place in range(4):
            tasks.create_task(crash_and_check(folder / str(place), steps[place::4], seed + place))


def unreported(consumer: Consumer, started: list[str]) -> set[str]:
    """Return the recordings that were started, by event or by response, and have no report."""
    begun = {event["data"]["recording_id"] for event in consumer.of_type("recording.started")}
    return (begun | set(started)) - {event["data"]["recording_id"] for event in consumer.of_type("recording.report")}


def check(archive_dir: Path, media: Path, events: list[Event]) -> None:
    """Check the events, without repeats and in the order of arrival, against the files."""
    by_recording: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        schemas.check_body(msgspec.json.encode(event))
        if "recording_id" in event["data"]:
            by_recording[event["data"]["recording_id"]].append(event)
    for folder in archive_dir.glob("*/"):  # a folder that was created just before a crash is empty
        assert folder.name in by_recording or not list(folder.iterdir())
    for recording_id, of_recording in by_recording.items():
        check_recording(archive_dir / recording_id, media, of_recording)
    assert any(event["type"] == "archive.started" for event in events), "nothing was recorded at all"
    created, destroyed = (
        Counter(event["connection_id"] for event in events if event["type"] == event_type)
        for event_type in ("connection.created", "connection.destroyed")
    )
    assert created == destroyed
    assert set(created.values()) == {1}


def check_outbox(folder: Path, events: list[Event]) -> None:
    """Every committed event has arrived, after those that it depends on."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "rokuga.sqlite3")) as connection:
        rows = connection.execute("SELECT channel_id, event_id FROM deliveries ORDER BY seq").fetchall()
    assert {event_id for _, event_id in rows} == {event["id"] for event in events}
    arrival = {event["id"]: place for place, event in enumerate(events)}
    places = {
        event["id"]: order.Subject(
            event["channel_id"], event.get("connection_id", ""), event["data"].get("recording_id", "")
        )
        for event in events
    }
    for (_, earlier), (_, later) in combinations(rows, 2):
        assert not order.follows(places[later], places[earlier]) or arrival[earlier] < arrival[later]


def check_recording(folder: Path, media: Path, events: list[Event]) -> None:
    """Check one recording: its start is first, its report is last, and each archive ends once."""
    types = [event["type"] for event in events]
    assert (types[0], types[-1]) == ("recording.started", "recording.report")
    assert types.count("recording.started") == types.count("recording.report") == 1
    report = events[-1]["data"]
    by_connection: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events[1:-1]:
        by_connection[event["connection_id"]].append(event)
    failed = {entry["connection_id"] for entry in report["failed_archives"]}
    available = {entry["connection_id"] for entry in report["archives"]}
    assert by_connection.keys() == failed | available
    assert not failed & available
    for connection_id, archive in by_connection.items():
        check_archive(archive, connection_id in failed, report["split_only"])
        check_media(media / f"{folder.name}-{connection_id}", archive)
    assert read(folder / f"report-{folder.name}.json") == report


def check_archive(events: list[Event], is_failed: bool, is_split_only: bool) -> None:
    """Check one archive: start, numbered parts, one end; every file matches its document."""
    counts = Counter(event["type"] for event in events)
    assert events[0]["type"] == "archive.started"
    assert counts["archive.started"] == 1
    assert counts["archive.failed"] == is_failed
    assert counts["archive.available"] == (not is_failed and not is_split_only)
    assert is_failed or not is_split_only or counts["split-archive.end"] == 1
    parts = [event["data"] for event in events if event["type"] == "split-archive.available"]
    assert [part["split_index"] for part in parts] == [f"{place:04}" for place in range(1, len(parts) + 1)]
    for event in events:
        if event["type"] == "split-archive.end":
            assert event["data"]["split_last_index"] == parts[-1]["split_index"]
            assert read(Path(event["data"]["file_path"])) == event["data"]
        elif event["type"].endswith(".available"):
            assert read(Path(event["data"]["metadata_file_path"])) == event["data"]
            assert Path(event["data"]["file_path"]).stat().st_size == event["data"]["size"]


def check_media(progress: Path, events: list[Event]) -> None:
    """Check that the files can be read to their ends, and together contain all media up to the last second."""
    end_ns = 0
    for event in events:
        if event["type"].endswith(".available"):
            times = [
                time
                for packets in readers.packets(Path(event["data"]["file_path"])).values()
                for _, time, _ in packets
            ]
            begin_ms = (int(event["data"].get("split_index", 1)) - 1) * 1000
            end_ns = max(end_ns, (begin_ms + max(times)) * 1_000_000)
    if progress.exists():
        assert int(progress.read_bytes() or b"0") <= end_ns + ROUNDING_NS, events


def read(path: Path) -> Any:
    """Read a JSON file."""
    return msgspec.json.decode(path.read_bytes())


@pytest.mark.end_to_end
@pytest.mark.timeout(300)
async def test_crashes_at_every_step_lose_nothing(tmp_path: Path) -> None:
    """Every archive that started is announced once, each recording has its report, and the report is last."""
    await crash_in_parallel(tmp_path, 20, [*STEPS, "", ""])


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_two_hundred_crashes_lose_nothing(tmp_path: Path) -> None:
    """The long form."""
    await crash_in_parallel(tmp_path, 200, [*STEPS, "", ""] * 10)
