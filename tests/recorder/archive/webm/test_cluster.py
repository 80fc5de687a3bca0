"""Clusters as bytes: where one begins, its blocks, its cue points."""

from rokuga.recorder.archive.webm.cluster import AUDIO_CUE_MS, CLUSTER_MS, ClusterWriter
from rokuga.recorder.archive.webm.ebml import read_element
from rokuga.recorder.archive.webm.layout import AUDIO_TRACK, CLUSTER, VIDEO_TRACK, CuePoint, cue_point
from rokuga.recorder.archive.webm.reader import Block, Cluster, blocks

OFFSET = 1000
"""Of the first cluster in the file."""


def read(data: bytes) -> list[tuple[int, list[Block]]]:
    """Return the offset of each cluster in the file, and its blocks."""
    found, offset = [], 0
    while offset < len(data):
        element = read_element(data, offset)
        assert element.id == CLUSTER
        cluster = Cluster(offset, element.data_offset, element.end)
        found.append((OFFSET + offset, list(blocks(cluster, data[offset:]))))
        offset = element.end
    return found


def test_a_batch_is_one_cluster_in_which_blocks_keep_their_times() -> None:
    """A block that arrives late may be before the first one of its cluster."""
    writer = ClusterWriter(OFFSET)
    sent = [(AUDIO_TRACK, 40), (VIDEO_TRACK, 60), (AUDIO_TRACK, 20), (AUDIO_TRACK, 80)]
    for track, time_ms in sent:
        writer.add(track, b"data", time_ms, is_keyframe=track == AUDIO_TRACK)
    expected = [Block(track, time_ms, track == AUDIO_TRACK) for track, time_ms in sent]
    assert read(writer.drain()) == [(OFFSET, expected)]
    assert writer.drain() == b""


def test_a_video_key_frame_begins_a_cluster_and_has_a_cue_point() -> None:
    """Also within a batch; audio has no cue points beside video."""
    writer = ClusterWriter(OFFSET)
    writer.add(AUDIO_TRACK, b"audio", 0, is_keyframe=True)
    writer.add(VIDEO_TRACK, b"key", 10, is_keyframe=True)
    writer.add(VIDEO_TRACK, b"delta", 43, is_keyframe=False)
    (_, first), (offset, second) = read(writer.drain())
    assert (len(first), [block.time_ms for block in second]) == (1, [10, 43])
    assert writer.cue_points == cue_point(CuePoint(10, VIDEO_TRACK, offset))


def test_audio_alone_has_a_cue_point_every_two_seconds() -> None:
    """At the first cluster that begins AUDIO_CUE_MS after the previous cue point."""
    writer = ClusterWriter(OFFSET)
    for time_ms in range(0, 2 * AUDIO_CUE_MS + 20, 20):
        writer.add(AUDIO_TRACK, b"audio", time_ms, is_keyframe=True)
    begins = {found[0].time_ms: offset for offset, found in read(writer.drain())}
    assert list(begins) == list(range(0, 2 * AUDIO_CUE_MS + 1, CLUSTER_MS))
    cued = (0, AUDIO_CUE_MS, 2 * AUDIO_CUE_MS)
    expected = b"".join(cue_point(CuePoint(time_ms, AUDIO_TRACK, begins[time_ms])) for time_ms in cued)
    assert writer.cue_points == expected


def test_a_block_too_early_for_its_cluster_begins_another_one() -> None:
    """The relative timestamp is a signed 16-bit number of ms (RFC 9559 section 10.2)."""
    writer = ClusterWriter(OFFSET)
    for time_ms in (40_000, 40_000 - 0x8000, 40_000 - 0x8001 - 0x8000):
        writer.add(VIDEO_TRACK, b"data", time_ms + 0x8001, is_keyframe=False)
    assert [len(found) for _, found in read(writer.drain())] == [2, 1]


def test_a_payload_of_any_size_is_read_back() -> None:
    """Around the sizes at which the size field grows."""
    writer = ClusterWriter(OFFSET)
    sizes = (0, 1, 0x3FFE - 4, 0x3FFF - 4, 0x4000 - 4, 1_000_000)
    for size in sizes:
        writer.add(VIDEO_TRACK, bytes(size), 0, is_keyframe=False)
    ((_, found),) = read(writer.drain())
    assert len(found) == len(sizes)
