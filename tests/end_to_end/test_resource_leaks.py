"""Connections leave no memory, file descriptors or tasks behind; a client that vanishes is detected."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from rokuga.api.daemon import running as running_here
from rokuga.devtools.publisher.clip import read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.webrtc.dtls.transport import Certificate
from tests import readers
from tests.api.serving import config_in
from tests.end_to_end.daemon import CLIPS, ROOT, Consumer, Daemon, running

CLIP = read_clip(CLIPS / "vp9-opus.webm")
WAVE = 5
MEGABYTE = 1024 * 1024


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int) -> int:
    """Return the number of open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resources() -> tuple[int, int, int]:
    """Return resident bytes, open files and tasks of this process."""
    gc.collect()
    return resident_bytes(os.getpid()), open_files(os.getpid()), len(asyncio.all_tasks())


async def wave(url: str, consumer: Consumer, certificate: Certificate, seconds: float) -> None:
    """Publish from five clients at once; three of them disconnect abruptly."""
    before = len(consumer.of_type("archive.available"))
    publications = [Publication() for _ in range(WAVE)]
    options = PublishOptions(Path(), url, "sora", seconds=seconds)
    tasks = [asyncio.create_task(publish(options, CLIP, certificate, p)) for p in publications]
    await asyncio.gather(*(publication.sending.wait() for publication in publications))
    await asyncio.wait(tasks, timeout=seconds - 0.5)
    for task in tasks[:3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await consumer.wait_for("archive.available", count=before + WAVE)
    await consumer.wait_for("connection.destroyed", count=before + WAVE)


async def run_waves(folder: Path, consumer: Consumer, rounds: int, seconds: float) -> tuple[int, int, int]:
    """Run so many publications; return by how much bytes, files and tasks grew since the first wave."""
    # The number of kept connections to the consumer depends on how many events are delivered at a time.
    config = config_in(folder, event_webhook_url=consumer.url, webhook_max_in_flight="4")
    certificate = Certificate.make()
    async with running_here(config) as addresses:
        daemon = Daemon(None, folder, addresses.api_url)  # type: ignore[arg-type]  # it runs in this process
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
        await wave(addresses.signaling_url, consumer, certificate, seconds)
        before = resources()
        for _ in range(rounds // WAVE - 1):
            await wave(addresses.signaling_url, consumer, certificate, seconds)
        await daemon.api("StopRecording", {"channel_id": "sora"})
        await consumer.wait_for("recording.report")
        after = resources()
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


@pytest.mark.end_to_end
async def test_twenty_publications_leave_no_resources_behind(tmp_path: Path, consumer: Consumer) -> None:
    """Memory, file descriptors and tasks are as many as after the first five."""
    grown_bytes, grown_files, grown_tasks = await run_waves(tmp_path, consumer, 20, 1.5)
    assert grown_bytes < 10 * MEGABYTE
    assert grown_files <= 2
    assert grown_tasks <= 2


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_two_hundred_publications_leave_no_resources_behind(daemon: Daemon, consumer: Consumer) -> None:
    """The long form, on a daemon in its own process: after 200 publications as after 20."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    certificate = Certificate.make()
    seen = []
    for _ in range(200 // WAVE):
        await wave(daemon.signaling_url, consumer, certificate, 3)
        seen.append((resident_bytes(daemon.process.pid), open_files(daemon.process.pid)))
    (bytes_before, files_before), (bytes_after, files_after) = seen[20 // WAVE - 1], seen[-1]
    assert bytes_after - bytes_before < 10 * MEGABYTE, seen
    assert files_after <= files_before + 2, seen


@pytest.mark.end_to_end
async def test_a_client_that_vanishes_is_ended_by_the_media_timeout(tmp_path: Path, consumer: Consumer) -> None:
    """Without a disconnect, an alert or a closed socket. Its return is another connection."""
    async with running(tmp_path, consumer.url, media_timeout="2 s") as daemon:
        await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
        clip = str(CLIPS / "vp9-opus.webm")
        command = ["-m", "rokuga", "publish", clip, "--url", daemon.signaling_url, "--loop", "--client-id", "laptop"]
        client = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)
        try:
            await consumer.wait_for("archive.started")
            await asyncio.wait([asyncio.create_task(client.wait())], timeout=2)
            client.send_signal(signal.SIGSTOP)
            first = await consumer.wait_for("archive.available")
            options = PublishOptions(Path(), daemon.signaling_url, "sora", client_id="laptop", seconds=1)
            await publish(options, CLIP, Certificate.make())
            second = await consumer.wait_for("archive.available", count=2)
            await daemon.api("StopRecording", {"channel_id": "sora"})
            report = await consumer.wait_for("recording.report")
        finally:
            with contextlib.suppress(ProcessLookupError):
                client.kill()
            await client.wait()
    assert {first["client_id"], second["client_id"]} == {"laptop"}
    assert first["connection_id"] != second["connection_id"]
    assert len(report["data"]["archives"]) == 2
    offset_s = first["data"]["stop_time_offset"] - first["data"]["start_time_offset"]
    assert offset_s == pytest.approx(readers.duration_s(Path(first["data"]["file_path"])), abs=1.1)
    (destroyed,) = consumer.of_type("connection.destroyed", reason="MEDIA-TIMEOUT")
    assert destroyed["connection_id"] == first["connection_id"]
