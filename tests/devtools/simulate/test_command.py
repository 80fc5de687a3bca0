"""`rokuga simulate`: the events of every scenario are correct, and the same every time."""

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


async def simulate(scenario: str, folder: Path, *options: str) -> tuple[int | None, Consumer]:
    """Simulate without waiting; return exit code and consumer."""
    async with consuming() as consumer:
        return await command(scenario, consumer.url, folder, *options), consumer


async def command(scenario: str, url: str, folder: Path, *options: str) -> int | None:
    """Run the command as a process; return its exit code."""
    command = [sys.executable, "-m", "rokuga", *arguments(scenario, url, folder), *options]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL)
    return await process.wait()


def arguments(scenario: str, url: str, folder: Path) -> list[str]:
    """Return the arguments of a simulation that does not wait."""
    return ["simulate", scenario, "--url", url, "--archive-dir", str(folder), "--speed", "inf"]


@pytest.mark.system
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_events_and_files_of_every_scenario_are_correct(scenario: str, tmp_path: Path) -> None:
    """Bodies, order and report are as specified, and each file in an event exists and can be decoded."""
    async with consuming() as consumer:
        assert await asyncio.to_thread(main, arguments(scenario, consumer.url, tmp_path)) == 0
    checker = ContractChecker()
    for event in consumer.events:
        checker.check({"sora-event-webhook-type": event["type"]}, msgspec.json.encode(event), 0)
    assert (checker.faults, checker.open_recordings) == ([], [])
    check_files([event["data"] for event in consumer.once() if event["type"].endswith("archive.available")])
    types = Counter(consumer.types)
    assert types[T.RECORDING_REPORT] == types[T.RECORDING_STARTED]
    check_scenario(scenario, consumer, types)


def check_files(announced: Sequence[Mapping[str, Any]]) -> None:
    """Check that each announced file exists with its size, and can be decoded."""
    assert announced
    for document in announced:
        assert Path(document["file_path"]).stat().st_size == document["size"]
        with av.open(document["file_path"]) as container:
            assert sum(1 for _ in container.decode(container.streams[0])) > 10


def check_scenario(scenario: str, consumer: Consumer, types: Counter[str]) -> None:
    """Check the events that are particular to a scenario."""
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


@pytest.mark.system
async def test_the_same_seed_makes_the_same_events(tmp_path: Path) -> None:
    """Bodies and metadata are equal to the byte; another seed changes the ids."""
    folder = tmp_path / "archive"
    results = []
    for options in ((), (), ("--seed", "1")):
        code, consumer = await simulate("split", folder, *options)
        assert code == 0
        files = {path.name: path.read_bytes() for path in sorted(folder.rglob("*.json"))}
        results.append((consumer.events, files))
        folder.rename(tmp_path / f"done-{len(results)}")
    assert results[0] == results[1]
    assert not {event["id"] for event in results[0][0]} & {event["id"] for event in results[2][0]}


@pytest.mark.system
async def test_the_exit_code_is_1_if_the_consumer_accepts_nothing(tmp_path: Path) -> None:
    """Nothing listens at the URL."""
    assert await command("one-connection", "http://127.0.0.1:9/", tmp_path, "--attempts", "1") == 1


def test_the_former_name_of_the_command_works_and_is_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """It was `rokuga rehearse` in version 0.1.0."""
    outputs = []
    for words in (["--help"], ["simulate", "--help"], ["rehearse", "--help"]):
        with pytest.raises(SystemExit, match="0"):
            main(words)
        outputs.append(capsys.readouterr().out)
    commands, simulate_help, rehearse_help = outputs
    assert "simulate" in commands
    assert "rehearse" not in commands
    assert "crash-and-recovery" in simulate_help
    assert rehearse_help == simulate_help
