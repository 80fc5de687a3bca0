"""kill -9 at random moments, and a consumer that fails: nothing is lost, nothing doubled, nothing out of order."""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from rokuga.api.publish import PublishOptions, publish
from rokuga.recorder.publisher.clip import read_clip
from rokuga.recorder.webrtc.dtls import Certificate
from rokuga.recorder.webrtc.outgoing import PublishError
from rokuga.webhooks import schemas
from tests import readers
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon, running, start

CLIP = read_clip(CLIPS / "vp9-opus.webm")
CHANNELS = ("red", "green", "blue")
KINDS: tuple[dict[str, Any], ...] = (
    {"expire_time": 0},
    {"expire_time": 2},
    {"expire_time": 0, "split_duration": 1},
    {"expire_time": 0, "split_duration": 1, "split_only": True},
)
SETTINGS = {"webhook_response_timeout": "1 s"}

Event = dict[str, Any]


class Trouble:
    """How the consumer fails: each event at most twice, with a status, a reset or an answer that comes too late."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._failures: Counter[str] = Counter()

    async def answer(self, request: web.Request, event: Event) -> web.Response:
        """Answer an event that was kept: the daemon may hear of it or not."""
        if self._failures[event["id"]] == 2 or self._chance.random() < 0.7:
            return web.Response()
        self._failures[event["id"]] += 1
        match self._chance.randrange(3):
            case 0:
                return web.Response(status=500)
            case 1:
                assert request.transport is not None
                request.transport.abort()
            case _:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), 1.2)
        return web.Response()


async def publish_now_and_then(daemon: Daemon, chance: random.Random, certificate: Certificate) -> None:
    """Be one client after the other, in any channel, until the daemon is gone."""
    while True:
        channel_id, seconds = chance.choice(CHANNELS), chance.uniform(0.1, 1.5)
        options = PublishOptions(Path(), daemon.signaling_url, channel_id, loop=True, seconds=seconds)
        await publish(options, CLIP, certificate)


async def record_now_and_then(daemon: Daemon, chance: random.Random, answered: list[str]) -> None:
    """Start and stop recordings; keep the ids of those whose start was answered."""
    while True:
        channel_id = chance.choice(CHANNELS)
        operation = chance.choice(["StartRecording", "StartRecording", "StopRecording"])
        body = {"channel_id": channel_id} | (chance.choice(KINDS) if operation == "StartRecording" else {})
        try:
            answer = await daemon.api(operation, body)
        except aiohttp.ClientResponseError as error:
            if error.status != 400:  # started or stopped already
                raise
        else:
            answered.extend([answer["recording_id"]] if operation == "StartRecording" else [])
        await asyncio.wait([asyncio.create_task(daemon.process.wait())], timeout=chance.uniform(0, 0.4))


async def live_and_be_killed(folder: Path, consumer: Consumer, chance: random.Random, answered: list[str]) -> None:
    """Start a daemon, use it, kill it at a random moment; now and then while it starts."""
    if chance.random() < 0.25:
        process = await start(folder, consumer.url, **SETTINGS)
        assert process.stderr is not None
        reading = asyncio.create_task(process.stderr.read())
        await asyncio.wait([asyncio.create_task(process.wait())], timeout=chance.uniform(0.2, 1.0))
        process.kill()
        await process.wait()
        await reading
    async with running(folder, consumer.url, **SETTINGS) as daemon:
        certificate = Certificate.generateCertificate()
        work = [publish_now_and_then(daemon, chance, certificate) for _ in range(3)]
        tasks = [asyncio.create_task(each) for each in (*work, record_now_and_then(daemon, chance, answered))]
        if not consumer.of_type("archive.started"):  # at least one is, however busy the machine
            first = asyncio.create_task(consumer.wait_for("archive.started"))
            await asyncio.wait([*tasks, first], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(tasks, timeout=chance.uniform(0.3, 2.5), return_when=asyncio.FIRST_COMPLETED)
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
        daemon.kill()
        await daemon.process.wait()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError | PublishError | aiohttp.ClientError), outcome
    assert not daemon.faults()


async def play(folder: Path, consumer: Consumer, rounds: int, seed: int) -> None:
    """Play so many rounds; then end every recording in peace, and look at all that was told and written."""
    chance = random.Random(seed)
    consumer.answer = Trouble(chance).answer
    answered: list[str] = []
    for _ in range(rounds):
        await live_and_be_killed(folder, consumer, chance, answered)
    consumer.answer = None
    async with running(folder, consumer.url, **SETTINGS) as daemon:
        for active in await daemon.api("ListStartedRecording"):
            with contextlib.suppress(aiohttp.ClientResponseError):  # it may have expired just now
                await daemon.api("StopRecording", {"channel_id": active["channel_id"]})
        await consumer.wait_until(lambda: not owed(consumer, answered))
        assert await daemon.api("ListStartedRecording") == []
        assert not daemon.faults()
    assert not list(daemon.archive_dir.rglob(".*")), "files in progress"
    check(daemon.archive_dir, consumer.once())


def owed(consumer: Consumer, answered: list[str]) -> set[str]:
    """Give the recordings that began, or were said to, and have no report."""
    begun = {event["data"]["recording_id"] for event in consumer.of_type("recording.started")}
    return (begun | set(answered)) - {event["data"]["recording_id"] for event in consumer.of_type("recording.report")}


def check(archive_dir: Path, events: list[Event]) -> None:
    """Check what was told, without what came again, in the order of its arrival, against the files."""
    by_recording: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        schemas.check_body(msgspec.json.encode(event))
        if "recording_id" in event["data"]:
            by_recording[event["data"]["recording_id"]].append(event)
    for folder in archive_dir.iterdir():  # one that was made just before the end of its daemon has nothing in it
        assert folder.name in by_recording or not list(folder.iterdir())
    for recording_id, told in by_recording.items():
        check_recording(archive_dir / recording_id, told)
    assert any(event["type"] == "archive.started" for event in events), "nothing was recorded at all"


def check_recording(folder: Path, told: list[Event]) -> None:
    """One start, one report, in this order and around everything else; each archive ends once."""
    types = [event["type"] for event in told]
    assert (types[0], types[-1]) == ("recording.started", "recording.report")
    assert types.count("recording.started") == types.count("recording.report") == 1
    report = told[-1]["data"]
    by_connection: defaultdict[str, list[Event]] = defaultdict(list)
    for event in told[1:-1]:
        by_connection[event["connection_id"]].append(event)
    failed = {entry["connection_id"] for entry in report["failed_archives"]}
    available = {entry["connection_id"] for entry in report["archives"]}
    assert by_connection.keys() == failed | available
    assert not failed & available
    for connection_id, archive in by_connection.items():
        check_archive(archive, connection_id in failed, report["split_only"])
    assert read(folder / f"report-{folder.name}.json") == report


def check_archive(told: list[Event], is_failed: bool, is_split_only: bool) -> None:
    """It starts, its parts follow by number, and it ends once; every file is as it was told and can be decoded."""
    counts = Counter(event["type"] for event in told)
    assert told[0]["type"] == "archive.started"
    assert counts["archive.started"] == 1
    assert counts["archive.failed"] == is_failed
    assert counts["archive.available"] == (not is_failed and not is_split_only)
    assert is_failed or not is_split_only or counts["split-archive.end"] == 1
    parts = [event["data"] for event in told if event["type"] == "split-archive.available"]
    assert [part["split_index"] for part in parts] == [f"{place:04}" for place in range(1, len(parts) + 1)]
    for event in told:
        if event["type"] == "split-archive.end":
            assert event["data"]["split_last_index"] == parts[-1]["split_index"]
            assert read(Path(event["data"]["file_path"])) == event["data"]
        elif event["type"].endswith(".available"):
            assert read(Path(event["data"]["metadata_file_path"])) == event["data"]
            file = Path(event["data"]["file_path"])
            assert file.stat().st_size == event["data"]["size"]
            assert readers.count_frames(file)


def read(path: Path) -> Any:
    """Read a JSON file."""
    return msgspec.json.decode(path.read_bytes())


@pytest.mark.end_to_end
async def test_five_kills_lose_nothing(tmp_path: Path, consumer: Consumer) -> None:
    """Every archive that started is announced once, each recording has its report, and the report is last."""
    await play(tmp_path, consumer, 5, seed=5)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_two_hundred_kills_lose_nothing(tmp_path: Path, consumer: Consumer) -> None:
    """The long form."""
    await play(tmp_path, consumer, 200, seed=200)
