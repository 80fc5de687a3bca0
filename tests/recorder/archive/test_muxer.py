"""The muxer's files, block by block: any order of frames comes back, long ones stay cheap to end."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rokuga.recorder.archive.ebml import LayoutError
from rokuga.recorder.archive.layout_reader import (
    AUDIO_CUE_MS,
    FIRST_BLOCK_BYTES,
    MAX_HEADER_BYTES,
    Block,
    blocks,
    read_contents,
    read_header,
)
from rokuga.recorder.archive.muxer import CLUSTER_MS, Muxer
from rokuga.recorder.archive.repair import make_whole
from rokuga.recorder.archive.sora_layout import AUDIO_TRACK, VIDEO_TRACK, AudioEntry, Description, VideoEntry, header
from rokuga.recorder.codecs.opus import opus_head
from rokuga.recorder.media import NS_PER_MS
from tests.recorder.house import OPUS_20_MS, VP8_FRAME, Unit

TRACKS = {"video": VIDEO_TRACK, "audio": AUDIO_TRACK}
VIDEO = VideoEntry("V_VP8", 320, 180)
AUDIO = AudioEntry(2, opus_head(2))
UID = bytes(range(16))


def write(path: Path, units: Sequence[Unit]) -> int:
    """Write a file of these units, in this order; give its size."""
    muxer = Muxer(str(path), UID, 0)
    kinds = {kind for kind, *_ in units}
    if "video" in kinds:
        muxer.describe(VIDEO)
    if "audio" in kinds:
        muxer.describe(AUDIO)
    for kind, time_ms, data, is_keyframe in units:
        muxer.write(kind, data, time_ms * NS_PER_MS, is_keyframe)
    return muxer.close()


class File:
    """A file that counts what is read of it."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        self.read_bytes = 0
        self.header = read_header(self.read)
        self.contents = read_contents(self.read, self.header, len(self._data))

    def read(self, size: int, offset: int) -> bytes:
        """Read as pread does."""
        data = self._data[offset : offset + size]
        self.read_bytes += len(data)
        return data

    def blocks(self) -> list[Block]:
        """Give all blocks."""
        return [
            block
            for cluster in self.contents.clusters
            for block in blocks(cluster, self._data[cluster.offset : cluster.end])
        ]


def sound(begin_ms: int, end_ms: int) -> list[Unit]:
    """Give a packet each 20 ms."""
    return [("audio", time_ms, OPUS_20_MS + b"%d" % time_ms, True) for time_ms in range(begin_ms, end_ms, 20)]


@st.composite
def frames(draw: st.DrawFn) -> list[Unit]:
    """Two kinds whose times do not go down, merged anyhow, with pauses of up to two minutes."""
    units: list[Unit] = []
    now = {"video": 0, "audio": 0}
    steps = st.one_of(st.integers(0, 60), st.integers(0, 60), st.integers(0, 120_000))
    for kind, step, key in draw(
        st.lists(st.tuples(st.sampled_from(["video", "audio"]), steps, st.booleans()), min_size=1)
    ):
        now[kind] += step
        is_audio = kind == "audio"
        data = OPUS_20_MS if is_audio else VP8_FRAME[key] + bytes(len(units))
        units.append(("audio" if is_audio else "video", now[kind], data, key or is_audio))
    return units


@given(frames())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_is_in_the_file_once_and_in_the_order_of_its_kind(tmp_path: Path, units: list[Unit]) -> None:
    """Times, key flags and order of each kind, also over pauses of more than 32.767 s, the reach of a block's time."""
    path = tmp_path / "file.webm"
    assert write(path, units) == path.stat().st_size
    found = File(path).blocks()
    for kind, track in TRACKS.items():
        expected = [(time_ms, key) for of_kind, time_ms, _, key in units if of_kind == kind]
        assert [(block.time_ms, block.is_keyframe) for block in found if block.track == track] == expected


def test_sound_alone_has_cues_and_is_not_read_through_for_them(tmp_path: Path) -> None:
    """A long meeting without cameras ends as quickly as any: its end keeps the writer's thread from other files."""
    path = tmp_path / "sound.webm"
    write(path, sound(0, 300_000))
    file = File(path)
    times = [point.time_ms for point in file.contents.cue_points]
    assert times[0] == 0
    assert {later - time for time, later in pairwise(times)} <= set(
        range(AUDIO_CUE_MS, AUDIO_CUE_MS + CLUSTER_MS + 20)
    )
    assert times[-1] >= 300_000 - AUDIO_CUE_MS - CLUSTER_MS
    clusters = file.contents.clusters
    last_bytes = clusters[-1].end - clusters[-1].offset
    assert file.read_bytes <= MAX_HEADER_BYTES + FIRST_BLOCK_BYTES * (len(clusters) + 1) + last_bytes


@pytest.mark.parametrize("kinds", [("audio",), ("audio", "video")])
def test_a_file_that_ends_anywhere_is_made_whole_or_nothing(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """Torn at any byte: the blocks of whole clusters stay, in a file of known size; a header alone is nothing."""
    path, torn = tmp_path / "whole.webm", tmp_path / "torn.webm"
    units = sound(0, 2000)
    if "video" in kinds:
        units += [("video", t, VP8_FRAME[t == 0] + b"%d" % t, t == 0) for t in range(0, 2000, 40)]
    size = write(path, sorted(units, key=lambda unit: unit[1]))
    data, whole = path.read_bytes(), File(path)
    unfinished = header(whole.header.size_bytes, whole.header.description)
    for end in range(0, size, 7):
        torn.write_bytes((unfinished + data[len(unfinished) :])[:end])
        made = make_whole(str(torn))
        clusters = [cluster for cluster in whole.contents.clusters if cluster.end <= end]
        if not clusters:
            assert made is None
            continue
        assert made is not None
        left = File(torn)
        assert left.header.file_bytes == made.size_bytes == torn.stat().st_size
        assert left.contents.clusters == clusters
        assert left.blocks() == whole.blocks()[: len(left.blocks())]
        assert made.kinds == set(kinds)


@given(st.binary(max_size=200), st.integers(0, 600))
@settings(max_examples=300)
def test_bytes_that_are_not_ours_are_a_layout_error(noise: bytes, offset: int) -> None:
    """Any damage to a header gives a header or the room's error."""
    ours = bytearray(header(1200, Description(UID, 0, VIDEO, AUDIO)) + bytes.fromhex("1f43b675 85 e78100 a380"))
    ours[offset : offset + len(noise)] = noise
    data = bytes(ours)
    try:
        found = read_header(lambda size, begin: data[begin : begin + size])
        read_contents(lambda size, begin: data[begin : begin + size], found, len(data))
    except LayoutError:
        pass


def test_a_header_that_does_not_fit_is_refused() -> None:
    """A CodecPrivate larger than the room that was kept is an error, not a file of overlapping elements."""
    with pytest.raises(LayoutError):
        header(600, Description(UID, 0, VideoEntry("V_AV1", 320, 180, os.urandom(500)), AUDIO))
