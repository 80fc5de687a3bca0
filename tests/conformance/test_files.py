"""Every codec, with and without audio: every reader accepts the file, and finds in it what was sent."""

import shutil
from itertools import pairwise
from pathlib import Path

import av
import pytest

from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.container_table import WEBM
from rokuga.recorder.archive.webm.ebml import read_element
from rokuga.recorder.archive.webm.layout import (
    AUDIO_TRACK,
    CLUSTER,
    CUES,
    SEGMENT_DATA_OFFSET,
    SIMPLE_BLOCK,
    VIDEO_TRACK,
)
from rokuga.recorder.media import Kind
from tests import readers
from tests.conformance.archives import VIDEO_CODECS, RecordedFile, audio_units, record, video_units
from tests.support.recorder import VP8_FRAME, Unit

pytestmark = pytest.mark.system

SHAPES: dict[str, set[Kind]] = {
    "audio and video": {"audio", "video"},
    "video only": {"video"},
    "late video": {"audio", "video"},
}


VP9_FRAME = {True: b"\x82", False: b"\x86"}
"""The uncompressed header's first byte: marker, profile 0, frame type (VP9 bitstream specification, section 6.2)."""


def elements(path: Path, kind: int) -> list[tuple[int, bytes]]:
    """Return offset and data of the Segment's children with this id."""
    data = path.read_bytes()
    found, offset = [], SEGMENT_DATA_OFFSET
    while offset < len(data):
        child = read_element(data, offset)
        if child.id == kind:
            found.append((offset, data[child.data_offset : child.end]))
        offset = child.end
    return found


def blocks(path: Path) -> list[tuple[int, int, bool]]:
    """Return track, time in ms relative to the cluster, and key flag of each block; there are SimpleBlocks only."""
    found = []
    for _, data in elements(path, CLUSTER):
        offset = read_element(data, 0).end
        while offset < len(data):
            block = read_element(data, offset)
            assert block.id == SIMPLE_BLOCK
            head = data[block.data_offset : block.data_offset + 4]
            found.append((head[0] & 0x7F, int.from_bytes(head[1:3], "big", signed=True), bool(head[3] & 0x80)))
            offset = block.end
    return found


def cue_points(path: Path) -> list[tuple[int, int]]:
    """Return time in ms and track of each cue point, and check that it refers to a cluster."""
    ((_, data),) = elements(path, CUES)
    clusters = {offset for offset, _ in elements(path, CLUSTER)}
    points, offset = [], 0
    while offset < len(data):
        point = read_element(data, offset)
        time = read_element(data, point.data_offset)
        positions = read_element(data, time.end)
        track = read_element(data, positions.data_offset)
        position = read_element(data, track.end)
        assert SEGMENT_DATA_OFFSET + int.from_bytes(data[position.data_offset : position.end], "big") in clusters
        points.append((int.from_bytes(data[time.data_offset : time.end], "big"), data[track.data_offset]))
        offset = point.end
    return points


def check_all_readers(sent: RecordedFile, kinds: set[Kind], path: Path | None = None) -> None:
    """Check the file with every reader."""
    path = path or sent.path
    expected = {kind: sent.units[kind] for kind in kinds}
    stored = readers.packets(path)
    assert {kind: stored[kind] for kind in kinds} == expected
    assert readers.decode_strictly(path) == {kind: len(units) for kind, units in expected.items()}
    tracks = readers.identify(path)["tracks"]
    numbers: dict[Kind, int] = {"video": VIDEO_TRACK, "audio": AUDIO_TRACK}
    assert {track["type"]: track["properties"]["number"] for track in tracks} == {
        kind: numbers[kind] for kind in kinds
    }
    for kind in kinds:
        flags = [is_keyframe for track, _, is_keyframe in blocks(path) if track == numbers[kind]]
        assert flags == [is_keyframe for _, _, is_keyframe in expected[kind]]
    last_ms = max(units[-1][1] for units in expected.values())
    assert readers.duration_s(path) == pytest.approx(last_ms / 1000, abs=0.03)
    inspected = readers.inspect_with_hisui(path)
    for kind in kinds:
        assert inspected[f"{kind}_sample_count"] == len(expected[kind])
    keyframes = [(time_ms, VIDEO_TRACK) for _, time_ms, is_keyframe in expected.get("video", ()) if is_keyframe]
    assert (cue_points(path) == keyframes) if keyframes else {track for _, track in cue_points(path)} == {AUDIO_TRACK}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_every_reader_finds_what_was_sent(tmp_path: Path, codec: str, shape: str) -> None:
    """Payloads, times and key flags; every frame decodes; Hisui, mkvmerge and ffprobe agree."""
    kinds = SHAPES[shape]
    late_ms = 520 if shape == "late video" else 0
    units = video_units(codec, late_ms) + (audio_units() if "audio" in kinds else [])
    sent = await record(tmp_path, units, audio="OPUS" if "audio" in kinds else None, video=codec)
    check_all_readers(sent, kinds)
    assert (sent.document["video_width"], sent.document["video_height"]) == (320, 180)
    assert sent.document["video_codec_type"] == codec


@pytest.mark.parametrize("codec", [None, *VIDEO_CODECS])
async def test_audio_only_is_a_file_without_a_video_track(tmp_path: Path, codec: str | None) -> None:
    """Video was not negotiated, or never sent: readers find an audio track, and can seek in it."""
    sent = await record(tmp_path, audio_units(), video=codec)
    check_all_readers(sent, {"audio"})
    assert sent.document["video"] is False


@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_a_truncated_file_is_accepted_after_repair(tmp_path: Path, codec: str) -> None:
    """What was stored is decodable, and has its cues."""
    sent = await record(tmp_path, video_units(codec) + audio_units(), video=codec)
    clusters = elements(sent.path, CLUSTER)
    torn = tmp_path / "torn.webm"
    shutil.copy(sent.path, torn)
    with torn.open("r+b") as file:
        file.truncate(clusters[-1][0] + 20)
    assert isinstance(WEBM.repair(str(torn)), FinishedFile)
    stored = readers.packets(torn)
    left: dict[Kind, int] = {kind: len(units) for kind, units in stored.items()}
    assert all(left.values())
    for kind, count in left.items():
        sent.units[kind] = sent.units[kind][:count]
    check_all_readers(sent, {"audio", "video"}, torn)


@pytest.mark.parametrize(("channels", "params"), [(1, {"channels": 1}), (2, {}), (2, {"stereo": True})])
async def test_opus_has_codec_private_data_and_seek_pre_roll(
    tmp_path: Path, channels: int, params: dict[str, object]
) -> None:
    """19 bytes of OpusHead with the negotiated channels (RFC 7845 section 5.1); alone and beside video."""
    for codec in ("VP8", None):
        units = audio_units(channels=channels) + (video_units(codec) if codec else [])
        folder = tmp_path / str(codec)
        folder.mkdir()
        sent = await record(folder, units, video=codec, opus_params=params)
        (track,) = (track for track in readers.identify(sent.path)["tracks"] if track["type"] == "audio")
        assert track["codec"] == "Opus"
        assert track["properties"]["codec_private_length"] == 19
        head = bytes.fromhex(track["properties"]["codec_private_data"])
        assert head == b"OpusHead" + bytes((1, channels, 0, 0)) + (48_000).to_bytes(4, "little") + bytes(3)
        shown = readers.probe(sent.path, "-select_streams", "a", "-show_entries", "stream=codec_name,channels")
        assert shown["streams"] == [{"codec_name": "opus", "channels": channels}]
        assert b"\x56\xbb\x84" + (80_000_000).to_bytes(4, "big") in sent.path.read_bytes()[:1500]


async def test_h264_that_begins_late_loses_no_audio(tmp_path: Path) -> None:
    """2 s of pictures without a key frame, then one with parameter sets: audio from 0, video from 2 s."""
    pictures = video_units("H264", 2000)
    lost: list[Unit] = [("video", i * 40, data, False) for i, (_, _, data, key) in enumerate(pictures * 2) if not key]
    sound = [unit for begin_ms in (0, 1000, 2000) for unit in audio_units(begin_ms)]
    sent = await record(tmp_path, [*lost, *sound, *pictures], video="H264")
    sent.units["video"] = sent.units["video"][-len(pictures) :]
    check_all_readers(sent, {"audio", "video"})
    assert readers.packets(sent.path)["video"][0][0].startswith(b"\0\0\0\1")


@pytest.mark.parametrize("codec", ["VP8", "VP9"])
async def test_the_picture_size_may_change(tmp_path: Path, codec: str) -> None:
    """640x480 > 480x360 > 320x240 > 640x480 in one file: every frame decodes at its size."""
    sizes = [(640, 480), (480, 360), (320, 240), (640, 480)]
    units = [unit for i, size in enumerate(sizes) for unit in video_units(codec, 1000 * i, *size)]
    sent = await record(
        tmp_path, units, audio=None, video=codec, sizes={1000 * i: size for i, size in enumerate(sizes)}
    )
    assert readers.packets(sent.path)["video"] == sent.units["video"]
    with av.open(str(sent.path)) as container:
        shown = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert shown == [size for size in sizes for _ in range(25)]
    assert readers.inspect_with_hisui(sent.path)["video_sample_count"] == 100
    assert (sent.document["video_width"], sent.document["video_height"]) == (640, 480)


async def test_key_frames_have_their_flag_and_a_cue_point(tmp_path: Path) -> None:
    """VP9, 60 s at 30 fps with key frames at 0, 10 and 30 s: three cues, and a seek to 35 s begins at 30 s."""
    keyframes = {0, 300, 900}
    units: list[Unit] = [
        ("video", round(i * 1000 / 30), VP9_FRAME[i in keyframes], i in keyframes) for i in range(1800)
    ]
    units += [("audio", time_ms, b"\xfc.", True) for time_ms in range(0, 60_000, 20)]
    sent = await record(tmp_path, units, video="VP9")
    assert readers.packets(sent.path) == sent.units
    assert [key for track, _, key in blocks(sent.path) if track == VIDEO_TRACK] == [
        i in keyframes for i in range(1800)
    ]
    assert cue_points(sent.path) == [(0, VIDEO_TRACK), (10_000, VIDEO_TRACK), (30_000, VIDEO_TRACK)]
    with av.open(str(sent.path)) as container:
        container.seek(35_000_000)
        packet = next(container.demux(video=0))
        assert packet.is_keyframe
        assert packet.pts == 30_000


@pytest.mark.parametrize("silence_ms", [0, 40_000])
async def test_no_block_is_more_than_a_second_from_its_cluster(tmp_path: Path, silence_ms: int) -> None:
    """Up to 90 s after the only key frame, also after 40 s without media: times are exact and never decrease."""

    def place(time_ms: int) -> int:
        return time_ms + (silence_ms if time_ms >= 45_000 else 0)

    units: list[Unit] = [
        ("video", place(time_ms), VP8_FRAME[not time_ms], not time_ms) for time_ms in range(0, 90_001, 40)
    ]
    units += [("audio", place(time_ms), b"\xfc.", True) for time_ms in range(0, 90_001, 20)]
    sent = await record(tmp_path, units, video="VP8")
    stored = readers.packets(sent.path)
    assert stored == sent.units
    assert stored["video"][-1][1] == stored["audio"][-1][1] == 90_000 + silence_ms
    for kind in stored.values():
        assert all(before[1] <= after[1] for before, after in pairwise(kind))
    assert max(abs(delta_ms) for _, delta_ms, _ in blocks(sent.path)) <= 1000
