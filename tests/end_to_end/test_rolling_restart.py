"""A rolling restart on one volume: a supervisor starts a new daemon beside the old one until it runs.

The old one records several publishers meanwhile. Each file is whole, each event comes once, and nothing that the old
one does is disturbed by those that try.
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

AGAIN_S = 1.0
"""The supervisor's pause after a daemon that ended."""


def free_ports(count: int) -> list[str]:
    """Find ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]


def ports() -> dict[str, str]:
    """Configure ports that every generation of the daemon has."""
    return dict(zip(("api_port", "signaling_port", "media_port"), free_ports(3), strict=True))


@dataclass
class Supervisor:
    """Starts a daemon on a volume again and again until it runs; `lost` has what those said that did not."""

    folder: Path
    consumer: Consumer
    settings: dict[str, str]
    lost: list[str] = field(default_factory=list)

    async def start(self, stack: contextlib.AsyncExitStack) -> Daemon:
        """Give the first daemon that is ready."""
        while True:
            try:
                return await stack.enter_async_context(running(self.folder, self.consumer.url, **self.settings))
            except NotReadyError as error:
                (line,) = error.args[0]
                self.lost.append(str(line["reason"]))
                await asyncio.sleep(AGAIN_S)


def check_events(consumer: Consumer, generations: int, publishers: int) -> None:
    """See that every event came once, and that each start has its end."""
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
    """See that each announced file is whole, as its document says, and that parts follow one another."""
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


async def be_published_and_replaced(
    old: Daemon, stack: contextlib.AsyncExitStack, supervisor: Supervisor, publishers: int, losses: int
) -> Daemon:
    """Have publishers send to the old daemon while new ones lose, and until each has two parts; then end it.

    The supervisor goes on meanwhile: gives the daemon that takes over.
    """
    consumer = supervisor.consumer
    parts = Counter(consumer.types)["split-archive.available"] + 2 * publishers
    lost = len(supervisor.lost) + losses
    async with contextlib.AsyncExitStack() as sending:
        entering = (publishing(old.signaling_url, may_be_cut_off=True) for _ in range(publishers))
        await asyncio.gather(*map(sending.enter_async_context, entering))
        starting = asyncio.create_task(supervisor.start(stack))
        await consumer.wait_until(lambda: Counter(consumer.types)["split-archive.available"] >= parts)
        while len(supervisor.lost) < lost:
            assert not starting.done(), "a second daemon runs beside the first"
            await asyncio.sleep(0.05)
        assert await old.stop() == 0
    assert not old.faults()
    return await starting


async def roll(folder: Path, generations: int, publishers: int, losses: int) -> list[str]:
    """Have one generation of the daemon after the other on one volume; give what those said that lost."""
    async with consuming() as consumer, contextlib.AsyncExitStack() as stack:
        supervisor = Supervisor(folder, consumer, ports())
        daemon = await supervisor.start(stack)
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0, "split_duration": 1})
        for _ in range(generations):
            pid = daemon.process.pid
            first = len(supervisor.lost)
            daemon = await be_published_and_replaced(daemon, stack, supervisor, publishers, losses)
            expected = f"already used by pid {pid} on {socket.gethostname()}"
            assert all(expected in line for line in supervisor.lost[first : first + losses]), supervisor.lost
        await daemon.api("StopRecording", {"channel_id": "sora"})
        await consumer.wait_for("recording.report")
        assert not daemon.faults()
        check_events(consumer, generations, publishers)
        await asyncio.to_thread(check_files, consumer)
        return supervisor.lost


async def test_a_rolling_restart_on_one_volume_disturbs_nobody(tmp_path: Path) -> None:
    assert len(await roll(tmp_path, generations=2, publishers=3, losses=2)) >= 4


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_rolling_restarts_that_overlap_for_ten_seconds_disturb_nobody(tmp_path: Path) -> None:
    """The long form: more publishers, and starts that lose, one a second after the other, for 10 s and longer."""
    assert len(await roll(tmp_path, generations=3, publishers=8, losses=6)) >= 18
