"""Rolling restarts on one volume: a supervisor starts the new daemon while the old one still records.

The starts that fail do not affect the old daemon: each file is complete, each event is delivered once.
"""

import asyncio
import contextlib
import socket
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from tests import readers
from tests.end_to_end.daemon import Consumer, Daemon, NotReadyError, consuming, running
from tests.end_to_end.publishing import publishing

pytestmark = pytest.mark.end_to_end

RETRY_S = 1.0
"""The supervisor's delay after a daemon that ended."""


def free_ports(count: int) -> list[str]:
    """Return distinct ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]


def ports() -> dict[str, str]:
    """Return settings with ports that every generation of the daemon uses."""
    return dict(zip(("api_port", "signaling_port", "media_port"), free_ports(3), strict=True))


@dataclass
class Supervisor:
    """Starts a daemon on a volume until it runs; `failures` are the reasons of those that did not."""

    folder: Path
    consumer: Consumer
    settings: dict[str, str]
    failures: list[str] = field(default_factory=list)

    async def start(self, stack: contextlib.AsyncExitStack) -> Daemon:
        """Return the first daemon that becomes ready."""
        while True:
            try:
                return await stack.enter_async_context(running(self.folder, self.consumer.url, **self.settings))
            except NotReadyError as error:
                (line,) = error.args[0]
                self.failures.append(str(line["reason"]))
                await asyncio.sleep(RETRY_S)


def check_events(consumer: Consumer, generations: int, publishers: int) -> None:
    """Assert that every event arrived once, and that each start has its end."""
    assert len({event["id"] for event in consumer.events}) == len(consumer.events), Counter(consumer.types)
    counts = Counter(consumer.types)
    assert counts["connection.created"] == counts["connection.destroyed"] == generations * publishers
    assert counts["archive.started"] == counts["archive.available"] == generations * publishers
    assert counts["recording.started"] == counts["recording.report"]
    assert counts["archive.failed"] == 0
    assert {event["data"]["reason"] for event in consumer.of_type("connection.destroyed")} & {"CRASH"} == set()
    (report,) = consumer.of_type("recording.report")
    assert len(report["data"]["archives"]) == generations * publishers
    assert not report["data"]["failed_archives"]


def check_files(consumer: Consumer) -> None:
    """Assert that each announced file is complete and matches its document, and that parts are consecutive."""
    parts: dict[str, list[str]] = defaultdict(list)
    for event in consumer.events:
        if event["type"] in {"archive.available", "split-archive.available"}:
            document = event["data"]
            path = Path(document["file_path"])
            assert path.stat().st_size == document["size"]
            assert msgspec.json.decode(Path(document["metadata_file_path"]).read_bytes()) == document
            assert "is_recovered" not in document["stats"]
            assert readers.decode_strictly(path).keys() == {"audio", "video"}
            if event["type"] == "split-archive.available":
                parts[document["connection_id"]].append(document["split_index"])
    assert all(indices == [f"{n:04d}" for n in range(1, len(indices) + 1)] for indices in parts.values())


async def publish_and_replace(
    old: Daemon, stack: contextlib.AsyncExitStack, supervisor: Supervisor, publishers: int, failed_starts: int
) -> Daemon:
    """Publish to the old daemon during failed starts, and until each publisher has two parts; then end it.

    Return the daemon that the supervisor has started then.
    """
    consumer = supervisor.consumer
    parts = Counter(consumer.types)["split-archive.available"] + 2 * publishers
    failures = len(supervisor.failures) + failed_starts
    async with contextlib.AsyncExitStack() as sending:
        entering = (publishing(old.signaling_url, may_be_cut_off=True) for _ in range(publishers))
        await asyncio.gather(*map(sending.enter_async_context, entering))
        starting = asyncio.create_task(supervisor.start(stack))
        await consumer.wait_until(lambda: Counter(consumer.types)["split-archive.available"] >= parts)
        while len(supervisor.failures) < failures:
            assert not starting.done(), "a second daemon runs beside the first"
            await asyncio.sleep(0.05)
        assert await old.stop() == 0
    assert not old.faults()
    return await starting


async def restart_repeatedly(folder: Path, generations: int, publishers: int, failed_starts: int) -> list[str]:
    """Run one generation of the daemon after the other on one volume; return the reasons of failed starts."""
    async with consuming() as consumer, contextlib.AsyncExitStack() as stack:
        supervisor = Supervisor(folder, consumer, ports())
        daemon = await supervisor.start(stack)
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 1})
        for _ in range(generations):
            pid = daemon.process.pid
            first = len(supervisor.failures)
            daemon = await publish_and_replace(daemon, stack, supervisor, publishers, failed_starts)
            expected = f"already used by pid {pid} on {socket.gethostname()}"
            assert all(expected in line for line in supervisor.failures[first : first + failed_starts]), (
                supervisor.failures
            )
        await daemon.api("StopRecording", {"channel_id": "sora"})
        await consumer.wait_for("recording.report")
        assert not daemon.faults()
        check_events(consumer, generations, publishers)
        await asyncio.to_thread(check_files, consumer)
        return supervisor.failures


async def test_a_rolling_restart_on_one_volume_loses_nothing(tmp_path: Path) -> None:
    assert len(await restart_repeatedly(tmp_path, generations=2, publishers=3, failed_starts=2)) >= 4


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_rolling_restarts_that_overlap_for_ten_seconds_lose_nothing(tmp_path: Path) -> None:
    """The long form: more publishers, and failed starts each second for 10 s and longer."""
    assert len(await restart_repeatedly(tmp_path, generations=3, publishers=8, failed_starts=6)) >= 18
