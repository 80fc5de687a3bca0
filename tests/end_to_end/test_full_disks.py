"""A daemon on a full disk, or without file descriptors: it stays up, and no event is lost."""

import asyncio
import contextlib
import errno
import itertools
import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from rokuga.recorder.webrtc.outgoing.peer import PublishError
from tests import readers
from tests.end_to_end.daemon import Consumer, Daemon, running, start
from tests.end_to_end.publishing import publishing
from tests.machine import small_disk

pytestmark = pytest.mark.end_to_end

DISK_BYTES = 8 << 20
RECORDING = {"expire_time": 0, "split_duration": 1}


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk of a folder while the context is open."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    ballast.unlink()


async def start_recordings(daemon: Daemon) -> None:
    """Start one recording after the other until the API refuses."""
    for number in itertools.count():
        await daemon.api("StartRecording", {"channel_id": f"other {number}", **RECORDING})


async def record_again(daemon: Daemon, consumer: Consumer) -> None:
    """Record another channel, and stop both recordings."""
    await daemon.api("StartRecording", {"channel_id": "again", **RECORDING})
    async with publishing(daemon.signaling_url, "again") as publication:
        await consumer.wait_for("split-archive.available", channel_id="again")
    found = await consumer.wait_for("archive.available", connection_id=publication.connection_id)
    assert readers.decode_strictly(Path(found["data"]["file_path"]))["video"]
    for channel_id in ("sora", "again"):
        await daemon.api("StopRecording", {"channel_id": channel_id})
        await consumer.wait_for("recording.report", channel_id=channel_id)


async def test_archives_on_a_full_disk_fail_and_the_daemon_records_again(tmp_path: Path, consumer: Consumer) -> None:
    """Complete parts are announced; when there is space again, the same daemon records."""
    with small_disk(tmp_path / "archive", DISK_BYTES):
        async with running(tmp_path, consumer.url) as daemon:
            await daemon.api("StartRecording", {"channel_id": "sora", **RECORDING})
            async with publishing(daemon.signaling_url):
                await consumer.wait_for("split-archive.available")
                with full(daemon.archive_dir):
                    failed = await consumer.wait_for("archive.failed")
                    assert await daemon.api("ListArchiving") == []
            assert failed["data"]["errno"] == errno.ENOSPC
            await record_again(daemon, consumer)
            assert not daemon.faults()
        assert not list(daemon.archive_dir.rglob(".*.part"))


async def test_a_database_that_cannot_grow_loses_no_event(tmp_path: Path, consumer: Consumer) -> None:
    """A client connects, is recorded and disconnects while nothing can be stored: its events follow later."""
    with small_disk(tmp_path / "data", DISK_BYTES):
        async with running(tmp_path, consumer.url) as daemon:
            await daemon.api("StartRecording", {"channel_id": "sora", **RECORDING})
            await consumer.wait_for("recording.started")
            with full(tmp_path / "data"):
                with pytest.raises(aiohttp.ClientResponseError) as caught:
                    await start_recordings(daemon)
                async with publishing(daemon.signaling_url) as publication:
                    while not any(each["seconds"] for each in await daemon.api("ListArchiving")):
                        pass
            assert caught.value.status == 503
            destroyed = await consumer.wait_for("connection.destroyed")
            assert destroyed["connection_id"] == publication.connection_id
            found = await consumer.wait_for("archive.available")
            assert readers.decode_strictly(Path(found["data"]["file_path"]))["video"]
            await record_again(daemon, consumer)
        types = [
            event["type"] for event in consumer.once() if event.get("connection_id") == publication.connection_id
        ]
        assert {"connection.created", "archive.started", "archive.available", "connection.destroyed"} <= set(types)
        assert len(types) == len(set(types)) + types.count("split-archive.available") - 1


async def test_a_webhook_log_that_cannot_grow_delays_no_event(tmp_path: Path, consumer: Consumer) -> None:
    """Only the log is on a full disk: events have log_written false; the fault and its end are logged once."""
    with small_disk(tmp_path / "data" / "log", DISK_BYTES):
        async with running(tmp_path, consumer.url) as daemon:
            with full(tmp_path / "data" / "log"):
                await daemon.api("StartRecording", {"channel_id": "sora", **RECORDING})
                async with publishing(daemon.signaling_url):
                    await consumer.wait_for("split-archive.available", count=2)
            before = len(consumer.events)
            await daemon.api("StopRecording", {"channel_id": "sora"})
            await consumer.wait_for("recording.report")
            await daemon.logged("webhook log written again")
            assert await daemon.stop() == 0
        unwritten = [event["id"] for event in consumer.events if not event["log_written"]]
        lines = (tmp_path / "data" / "log" / "event_webhook.jsonl").read_bytes().splitlines()
    assert len(unwritten) >= before - 1
    assert [json.loads(line)["id"] for line in lines] == [
        event["id"] for event in consumer.events if event["log_written"]
    ]
    assert [line["event"] for line in daemon.faults()] == ["webhook log not written"]


async def test_an_archive_fails_without_file_descriptors_and_the_daemon_records_again(
    tmp_path: Path, consumer: Consumer
) -> None:
    """The next part cannot be opened; the archive fails, and the same daemon records again with descriptors."""
    async with running(tmp_path, consumer.url) as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", **RECORDING})
        async with publishing(daemon.signaling_url):
            await consumer.wait_for("split-archive.available")
            process_id = daemon.process.pid
            limits = resource.prlimit(process_id, resource.RLIMIT_NOFILE)
            resource.prlimit(process_id, resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                await daemon.logged("archive failed")
            finally:
                resource.prlimit(process_id, resource.RLIMIT_NOFILE, limits)
            failed = await consumer.wait_for("archive.failed")
        assert failed["data"]["errno"] == errno.EMFILE
        await record_again(daemon, consumer)
        assert not daemon.faults()


def catches(process_id: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


async def test_sigterm_during_start_ends_the_daemon_in_order(tmp_path: Path, consumer: Consumer) -> None:
    """Recovery is finished first; a recording that is being started exists afterwards, or does not."""
    async with running(tmp_path, consumer.url) as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", **RECORDING})
        with contextlib.suppress(PublishError):
            async with publishing(daemon.signaling_url):
                await consumer.wait_for("split-archive.available")
                daemon.kill()
                await daemon.process.wait()
    process = await start(tmp_path, consumer.url)
    assert process.stderr is not None
    reading = asyncio.create_task(process.stderr.read())
    while not catches(process.pid, signal.SIGTERM):
        pass
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert b'"error"' not in await reading
    async with running(tmp_path, consumer.url) as daemon:
        starting = asyncio.create_task(daemon.api("StartRecording", {"channel_id": "other", **RECORDING}))
        await asyncio.sleep(0)
        assert await daemon.stop() == 0
        answer = await asyncio.gather(starting, return_exceptions=True)
        assert isinstance(answer[0], dict | aiohttp.ClientError)
    async with running(tmp_path, consumer.url) as daemon:
        active = {each["channel_id"] for each in await daemon.api("ListStartedRecording")}
        assert active >= ({"sora", "other"} if isinstance(answer[0], dict) else {"sora"})
        assert not daemon.faults()
