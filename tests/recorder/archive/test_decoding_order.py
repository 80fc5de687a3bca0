"""Pictures in decoding order, with B-frames: their times step back, and are written as they are."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import av
import pytest

from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.container_table import WEBM
from rokuga.recorder.media import NS_PER_MS, AccessUnit
from tests import readers
from tests.support.recorder import OPUS_20_MS, Client, RecorderHarness

AVAILABLE, PART = "archive.available", "split-archive.available"
PICTURE_MS = 40


class Picture(NamedTuple):
    """A picture, in sending order, with its presentation time."""

    time_ms: int
    data: bytes
    is_keyframe: bool


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """10 s of H.264 with two B-frames between the others, a key frame each second."""
    path = tmp_path_factory.mktemp("b") / "pictures.ts"
    source = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-t", "10"]
    encoder = [
        "-c:v",
        "libx264",
        "-bf",
        "2",
        "-g",
        "25",
        "-x264-params",
        "b-adapt=0:scenecut=0",
        "-pix_fmt",
        "yuv420p",
    ]
    subprocess.run(["ffmpeg", "-v", "error", *source, *encoder, str(path)], check=True)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    begin = min(packet.pts or 0 for packet in packets)
    return [Picture(((packet.pts or 0) - begin) // 90, bytes(packet), packet.is_keyframe) for packet in packets]


async def play(harness: RecorderHarness, client: Client, pictures: list[Picture]) -> list[tuple[int, bytes]]:
    """Send each picture once it can have been encoded: when the next one that is shown before it was captured."""
    begin_ns, number = harness.clock.now_ns, 0
    for place, picture in enumerate(pictures):
        due_ms = place * PICTURE_MS + 2 * PICTURE_MS
        while number * 20 < due_ms:
            harness.clock.now_ns = begin_ns + number * 20 * NS_PER_MS
            if client.peer.request.audio is not None:
                client.send("audio", 1000 + number * 20, OPUS_20_MS + b"%d" % number)
            number += 1
            await client.tick()
        harness.clock.now_ns = begin_ns + due_ms * NS_PER_MS
        size = (160, 90) if picture.is_keyframe else (0, 0)
        rtp_time = (1000 + picture.time_ms) * 90
        unit = AccessUnit(rtp_time, picture.data, picture.is_keyframe, harness.clock.now_ns, *size)
        client.peer.hooks.sink.unit("video", unit)
        await client.tick()
        if place % 25 == 0:
            await harness.drain()
    return [(picture.time_ms, picture.data) for picture in pictures]


def stored(path: Path) -> list[tuple[int, bytes]]:
    """Read the blocks of video, in file order, with their times from the first shown one."""
    packets = readers.packets(path)["video"]
    begin_ms = min(time_ms for _, time_ms, _ in packets)
    return [(time_ms - begin_ms, data) for data, time_ms, _ in packets]


@pytest.mark.system
async def test_pictures_in_decoding_order_keep_their_order_and_their_times(
    harness: RecorderHarness, pictures: list[Picture]
) -> None:
    assert [picture.time_ms for picture in pictures[:4]] == [0, 120, 40, 80]
    await harness.start()
    client = await harness.connect(video="H264")
    client.peer.counters = {"video": {}}
    sent = await play(harness, client, pictures)
    await harness.stop()
    (whole,) = await harness.events(AVAILABLE)
    path = Path(whole.document["file_path"])
    found = stored(path)
    assert [data for _, data in found] == [data for _, data in sent]
    assert all(abs(time_ms - sent_ms) <= 2 for (time_ms, _), (sent_ms, _) in zip(found, sent, strict=True))
    assert readers.decode_strictly(path)["video"] == 250
    assert whole.document["stats"]["video"]["gaps"] == 0
    readers.identify(path)


@pytest.mark.system
async def test_parts_of_pictures_in_decoding_order_begin_with_their_key_frame(
    harness: RecorderHarness, pictures: list[Picture]
) -> None:
    await harness.start(split_duration=3)
    sent = await play(harness, await harness.connect(video="H264"), pictures)
    await harness.stop()
    parts = sorted((e.document for e in await harness.events(PART)), key=lambda part: str(part["split_index"]))
    joined: list[bytes] = []
    for part in parts:
        path = Path(part["file_path"])
        packets = readers.packets(path)["video"]
        assert packets[0][2]
        assert packets[0][1] == min(time_ms for _, time_ms, _ in packets)
        assert readers.decode_strictly(path)["video"] == len(packets)
        joined += [data for data, _, _ in packets]
    assert len(parts) >= 3
    assert joined == [data for _, data in sent]


@pytest.mark.system
async def test_a_file_of_pictures_in_decoding_order_is_repaired_as_long_as_it_was(
    harness: RecorderHarness, pictures: list[Picture], tmp_path: Path
) -> None:
    """Cut off behind a cluster whose last picture is not the last one shown."""
    await harness.start()
    await play(harness, await harness.connect(audio=None, video="H264"), pictures)
    await harness.stop()
    (whole,) = await harness.events(AVAILABLE)
    for share in (0.3, 0.42, 0.5, 0.61, 0.7, 0.8, 0.93):
        duration_ms, last_ms = repaired(Path(whole.document["file_path"]), tmp_path / "torn.webm", share)
        assert duration_ms == pytest.approx(last_ms, abs=1)


def repaired(whole: Path, torn: Path, share: float) -> tuple[float, int]:
    """Cut a file off and repair it; return its duration and the time of its last picture, in ms."""
    written = whole.read_bytes()
    torn.write_bytes(written[: int(len(written) * share)])
    assert isinstance(WEBM.repair(str(torn)), FinishedFile)
    return readers.duration_s(torn) * 1000, max(time_ms for _, time_ms, _ in readers.packets(torn)["video"])
