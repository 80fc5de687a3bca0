"""Video pauses, audio continues, the daemon is killed: audio up to the last second is on the disk."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from rokuga.devtools.publisher.clip import Clip, ClipUnit, read_clip
from rokuga.devtools.publisher.publisher import Publication, PublishOptions, publish
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.dtls.transport import Certificate
from tests import readers
from tests.end_to_end.daemon import CLIPS, Consumer, Daemon

OPUS_PACKET_NS = 20_000_000


def clip_with_paused_video(seconds: int) -> Clip:
    """Return a clip with video in its first second only."""
    clip = read_clip(CLIPS / "vp9-opus.webm")
    video, audio = clip.tracks["video"], clip.tracks["audio"]
    sounds = [
        ClipUnit(audio.units[place % len(audio.units)].data, place * OPUS_PACKET_NS, True)
        for place in range(seconds * 50)
    ]
    pictures = [unit for unit in video.units if unit.time_ns < NS_PER_S]
    return Clip({"audio": replace(audio, units=sounds), "video": replace(video, units=pictures)}, seconds * NS_PER_S)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def record_and_kill(daemon: Daemon, consumer: Consumer, seconds: int) -> tuple[Path, int, int]:
    """Record for so long, then kill; return file, ms of audio sent, growth of memory in the second half."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    publication = Publication()
    options = PublishOptions(Path(), daemon.signaling_url, "sora")
    clip = clip_with_paused_video(seconds + 60)
    publishing = asyncio.create_task(publish(options, clip, Certificate.make(), publication))
    await consumer.wait_for("archive.started")
    await asyncio.wait([publishing], timeout=seconds / 2)
    before = resident_bytes(daemon.process.pid)
    await asyncio.wait([publishing], timeout=seconds / 2)
    grown = resident_bytes(daemon.process.pid) - before
    sent_ms = publication.counts.units["audio"] * 20
    daemon.kill()
    await daemon.process.wait()
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    (file,) = daemon.archive_dir.rglob(".archive-*.webm.part")
    return file, sent_ms, grown


@pytest.mark.end_to_end
async def test_audio_is_on_the_disk_while_video_pauses(daemon: Daemon, consumer: Consumer) -> None:
    """No audio is buffered for video that does not arrive."""
    file, sent_ms, _ = await record_and_kill(daemon, consumer, 6)
    stored = readers.packets(file)
    assert stored["audio"][-1][1] >= sent_ms - 1000
    assert len(stored["video"]) == 30


@pytest.mark.soak
async def test_a_minute_of_paused_video_keeps_memory_constant(daemon: Daemon, consumer: Consumer) -> None:
    """The second half of 60 s costs no memory."""
    file, sent_ms, grown = await record_and_kill(daemon, consumer, 60)
    assert readers.packets(file)["audio"][-1][1] >= sent_ms - 1000
    assert grown < 8 * 1024 * 1024
