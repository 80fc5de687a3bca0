"""A daemon on a file system that is frozen for a while: writes to it block, as on a stalled disk."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests import readers
from tests.end_to_end.daemon import Consumer, Daemon, running
from tests.end_to_end.publishing import assert_all_is_stored, publishing
from tests.machine import mounted

pytestmark = [pytest.mark.end_to_end, pytest.mark.soak]

PUBLISHERS = 4
DISK_BYTES = 256 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount an ext4 file system, in a file, at tmp_path/disk."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(tmp_path / "disk", "-o", "loop", image) as folder:
        yield folder
    image.unlink()


@contextlib.contextmanager
def frozen(disk: Path) -> Iterator[None]:
    """Block all writes to a file system while the context is open (fsfreeze(8))."""
    subprocess.run(["fsfreeze", "--freeze", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", disk], check=True)


@contextlib.asynccontextmanager
async def recording_on(disk: Path, consumer: Consumer, **settings: str) -> AsyncIterator[Daemon]:
    """Run a daemon with all its files on that disk, unless `data_dir` is set."""
    async with running(disk, consumer.url, **settings) as daemon:
        yield daemon
    assert not daemon.faults()


@pytest.mark.parametrize("store", ["on another disk", "on the same disk"])
async def test_a_disk_that_stalls_for_5_s_in_every_10_loses_nothing(
    consumer: Consumer, disk: Path, tmp_path: Path, store: str
) -> None:
    """Four publishers for 30 s: everything that they sent is stored, byte for byte, without retransmission."""
    settings = {"data_dir": str(tmp_path / "data")} if store == "on another disk" else {}
    async with recording_on(disk, consumer, **settings) as daemon:
        await stall_again_and_again(daemon, consumer, disk)


async def stall_again_and_again(daemon: Daemon, consumer: Consumer, disk: Path) -> None:
    """Record four publishers for 30 s, of which the disk is frozen for 15; assert that everything is stored."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    async with contextlib.AsyncExitStack() as stack:
        publications = [await stack.enter_async_context(publishing(daemon.signaling_url)) for _ in range(PUBLISHERS)]
        await consumer.wait_for("archive.started", count=PUBLISHERS)
        for _ in range(3):
            await asyncio.sleep(5)
            with frozen(disk):
                await asyncio.sleep(5)
    await daemon.api("StopRecording", {"channel_id": "sora"})
    await consumer.wait_for("recording.report")
    for publication in publications:
        available = await consumer.wait_for("archive.available", connection_id=publication.connection_id)
        assert_all_is_stored(publication, Path(available["data"]["file_path"]))
        assert publication.counts.retransmissions == 0
        assert publication.counts.media_ns > 30_000_000_000


async def test_a_disk_that_stalls_for_longer_ends_archives_and_not_the_daemon(
    consumer: Consumer, disk: Path, tmp_path: Path
) -> None:
    """archive.failed is announced during the stall, and the API responds; then the connection is recorded again."""
    settings = {"data_dir": str(tmp_path / "data"), "archive_max_queued_bytes": "1 MB"}
    async with recording_on(disk, consumer, **settings) as daemon:
        await stall_for_too_long(daemon, consumer, disk)


async def stall_for_too_long(daemon: Daemon, consumer: Consumer, disk: Path) -> None:
    """Record one publisher until its archive fails, and further."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    async with publishing(daemon.signaling_url) as publication:
        await consumer.wait_for("archive.started")
        await asyncio.sleep(3)
        with frozen(disk):
            failed = await consumer.wait_for("archive.failed")
            assert failed["data"]["connection_id"] == publication.connection_id
            assert failed["data"]["reason"] == "the disk is too slow"
            assert not await daemon.api("ListArchiving")
            (connection,) = await daemon.api("Sora_20201013.ListConnections")
            assert connection["connection_id"] == publication.connection_id
            assert await ready(daemon) == 503
        assert [line["event"] for line in daemon.log if line["level"] == "warning"] == ["archive failed"]
        await consumer.wait_for("archive.started", count=2)
        await asyncio.sleep(3)
        await daemon.api("StopRecording", {"channel_id": "sora"})
        report = await consumer.wait_for("recording.report")
        assert [a["connection_id"] for a in report["data"]["failed_archives"]] == [publication.connection_id]
        (entry,) = report["data"]["archives"]
        assert entry["filename"].endswith(f"archive-{publication.connection_id}_2.webm")
        assert readers.decode_strictly(Path(entry["file_path"]))["video"]
        stored = Path(failed["data"]["file_path"])
        readers.identify(stored)
        assert readers.duration_s(stored) > 3
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
        await consumer.wait_for("archive.started", count=3)
        await asyncio.sleep(1)
        await daemon.api("StopRecording", {"channel_id": "sora"})
        again = await consumer.wait_for("archive.available", count=2)
        assert readers.decode_strictly(Path(again["data"]["file_path"]))["video"]


async def ready(daemon: Daemon) -> int:
    """Return the status of /readyz."""
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.api_url.rstrip('/')}/readyz") as answer:
        return answer.status
