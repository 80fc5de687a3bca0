"""`rokuga rehearse`: every scenario is told without a fault, the same way every time."""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest

from rokuga.cli.__main__ import main
from rokuga.devtools.simulate.scenario import SCENARIOS
from rokuga.recorder.events import EventType
from rokuga.webhooks.contract import ContractChecker
from tests.end_to_end.daemon import ROOT, Consumer, consuming

T = EventType


async def rehearse(scenario: str, folder: Path, *options: str) -> tuple[int | None, Consumer]:
    """Rehearse as fast as it goes; give exit code and what came."""
    async with consuming() as consumer:
        return await command(scenario, consumer.url, folder, *options), consumer


async def command(scenario: str, url: str, folder: Path, *options: str) -> int | None:
    """Run the command as a process, as fast as it goes; give its exit code."""
    command = [sys.executable, "-m", "rokuga", *arguments(scenario, url, folder), *options]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL)
    return await process.wait()


def arguments(scenario: str, url: str, folder: Path) -> list[str]:
    """Give the command's arguments to be as fast as it goes."""
    return ["rehearse", scenario, "--url", url, "--archive-dir", str(folder), "--speed", "inf"]


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_every_scenario_keeps_every_promise(scenario: str, tmp_path: Path) -> None:
    """Bodies, order and report are right, and each file that is named is there and plays."""
    async with consuming() as consumer:
        assert await asyncio.to_thread(main, arguments(scenario, consumer.url, tmp_path)) == 0
    checker = ContractChecker()
    for event in consumer.events:
        checker.check({"sora-event-webhook-type": event["type"]}, msgspec.json.encode(event), 0)
    assert (checker.faults, checker.open_recordings) == ([], [])
    check_files([event["data"] for event in consumer.once() if event["type"].endswith("archive.available")])
    types = Counter(consumer.types)
    assert types[T.RECORDING_REPORT] == types[T.RECORDING_STARTED]
    check_story(scenario, consumer, types)


def check_files(announced: Sequence[Mapping[str, Any]]) -> None:
    """Each file that is named is there, as large as it says, and can be decoded."""
    assert announced
    for document in announced:
        assert Path(document["file_path"]).stat().st_size == document["size"]
        with av.open(document["file_path"]) as container:
            assert sum(1 for _ in container.decode(container.streams[0])) > 10


def check_story(scenario: str, consumer: Consumer, types: Counter[str]) -> None:
    """Each scenario has what it is there for."""
    match scenario:
        case "three-connections":
            assert types[T.ARCHIVE_AVAILABLE] == 3
        case "split":
            assert types[T.SPLIT_ARCHIVE_AVAILABLE] == 2
        case "split-only":
            assert (types[T.SPLIT_ARCHIVE_AVAILABLE], types[T.ARCHIVE_AVAILABLE]) == (2, 0)
        case "expiry":
            (report,) = consumer.of_type(T.RECORDING_REPORT)
            assert report["data"]["expired_at"] == report["data"]["created_at"] + 4
        case "failed-archive":
            assert types[T.ARCHIVE_FAILED] == 1
        case "crash-and-recovery":
            available = consumer.of_type(T.ARCHIVE_AVAILABLE)
            assert [event["data"]["stats"].get("is_recovered") for event in available] == [True, None]
        case "duplicate-delivery":
            assert len(consumer.events) == 2 * len(consumer.once())
        case "out-of-order-across-channels":
            times = [event["timestamp"] for event in consumer.events]
            assert times != sorted(times)


async def test_the_same_seed_tells_the_same_story(tmp_path: Path) -> None:
    """Bodies and metadata are the same to the byte; another seed changes the ids. (FFmpeg draws each file's UID.)"""
    folder = tmp_path / "archive"
    stories = []
    for options in ((), (), ("--seed", "1")):
        code, consumer = await rehearse("split", folder, *options)
        assert code == 0
        files = {path.name: path.read_bytes() for path in sorted(folder.rglob("*.json"))}
        stories.append((consumer.events, files))
        folder.rename(tmp_path / f"done-{len(stories)}")
    assert stories[0] == stories[1]
    assert not {event["id"] for event in stories[0][0]} & {event["id"] for event in stories[2][0]}


async def test_a_consumer_that_takes_nothing_is_told_of(tmp_path: Path) -> None:
    """Exit code 1 after the last attempt where nobody listens."""
    assert await command("one-connection", "http://127.0.0.1:9/", tmp_path, "--attempts", "1") == 1
