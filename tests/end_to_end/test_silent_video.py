"""Video falls silent, the sound goes on, the daemon is killed: what was heard a second before is on the disk."""

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


def clip_with_silent_video(seconds: int) -> Clip:
    """Video for one second, then silence of it, while the sound goes on."""
    clip = read_clip(CLIPS / "vp9-opus.webm")
    video, audio = clip.tracks["video"], clip.tracks["audio"]
    spoken = [
        ClipUnit(audio.units[place % len(audio.units)].data, place * OPUS_PACKET_NS, True)
        for place in range(seconds * 50)
    ]
    shown = [unit for unit in video.units if unit.time_ns < NS_PER_S]
    return Clip({"audio": replace(audio, units=spoken), "video": replace(video, units=shown)}, seconds * NS_PER_S)


def resident_bytes(pid: int) -> int:
    """Give how much memory a process has."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def record_and_kill(daemon: Daemon, consumer: Consumer, seconds: int) -> tuple[Path, int, int]:
    """Record for so long, then kill; give the file, the ms of sound sent and by how much memory grew meanwhile."""
    await daemon.api("StartRecording", {"channel_id": "sora", "expire_time": 0})
    publication = Publication()
    options = PublishOptions(Path(), daemon.signaling_url, "sora")
    clip = clip_with_silent_video(seconds + 60)
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
async def test_sound_is_on_the_disk_while_video_is_silent(daemon: Daemon, consumer: Consumer) -> None:
    """Nothing waits in memory for video that does not come."""
    file, sent_ms, _ = await record_and_kill(daemon, consumer, 6)
    stored = readers.packets(file)
    assert stored["audio"][-1][1] >= sent_ms - 1000
    assert len(stored["video"]) == 30


@pytest.mark.soak
async def test_a_minute_of_silent_video_keeps_memory_flat(daemon: Daemon, consumer: Consumer) -> None:
    """The same for 60 s: the second half of it costs no memory to speak of."""
    file, sent_ms, grown = await record_and_kill(daemon, consumer, 60)
    assert readers.packets(file)["audio"][-1][1] >= sent_ms - 1000
    assert grown < 8 * 1024 * 1024
