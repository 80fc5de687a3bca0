"""A long recording without video is finished and repaired as quickly as any other."""

import os
from itertools import pairwise
from pathlib import Path

from rokuga.recorder.archive.webm.cluster import AUDIO_CUE_MS, CLUSTER_MS
from rokuga.recorder.archive.webm.layout import AUDIO_TRACK
from rokuga.recorder.archive.webm.muxer import WebmMuxer
from rokuga.recorder.archive.webm.reader import FIRST_BLOCK_BYTES, MAX_HEADER_BYTES, read_contents, read_header
from rokuga.recorder.media import NS_PER_MS, AccessUnit
from rokuga.recorder.negotiation import TrackConfig
from tests.support.recorder import AUDIO_MS, OPUS_20_MS

DURATION_MS = 300_000


def test_cue_points_of_audio_alone_are_found_without_reading_the_whole_file(tmp_path: Path) -> None:
    """One every 2 s; of each cluster but the last only the head of its first block is read."""
    path = tmp_path / "audio.webm"
    muxer = WebmMuxer(str(path), TrackConfig("OPUS"), None, bytes(16), 0)
    assert muxer.begin_track("audio", AccessUnit(0, OPUS_20_MS, True, 0))
    for time_ms in range(0, DURATION_MS, AUDIO_MS):
        muxer.write("audio", OPUS_20_MS + bytes(80), time_ms * NS_PER_MS, True)
    size = muxer.finish()
    total = 0

    def read(size: int, offset: int) -> bytes:
        nonlocal total
        data = os.pread(descriptor, size, offset)
        total += len(data)
        return data

    descriptor = os.open(path, os.O_RDONLY)
    try:
        contents = read_contents(read, read_header(read), size)
    finally:
        os.close(descriptor)
    clusters = contents.clusters
    assert len(clusters) >= DURATION_MS // CLUSTER_MS - 30
    last_bytes = clusters[-1].end - clusters[-1].offset
    assert total <= MAX_HEADER_BYTES + FIRST_BLOCK_BYTES * (len(clusters) + 1) + last_bytes
    times = [point.time_ms for point in contents.cue_points]
    assert times[0] == 0
    assert times[-1] >= DURATION_MS - AUDIO_CUE_MS - CLUSTER_MS
    steps = {later - time for time, later in pairwise(times)}
    assert AUDIO_CUE_MS <= min(steps) <= max(steps) <= AUDIO_CUE_MS + CLUSTER_MS + AUDIO_MS
    offsets = {cluster.offset for cluster in clusters}
    assert all(point.track == AUDIO_TRACK and point.cluster_offset in offsets for point in contents.cue_points)
