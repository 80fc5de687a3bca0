"""Hisui, Shiguredo's compositor, accepts the folder of a recording, and composes what was sent."""

from pathlib import Path

import pytest

from rokuga.recorder.media import NS_PER_MS, Kind
from tests import readers
from tests.conformance.archives import DURATION_MS, VIDEO_CODECS, audio_units, record, video_units
from tests.support.recorder import running_recorder

pytestmark = pytest.mark.system

FRAMES: dict[Kind, int] = {"audio": 50, "video": 25}
SHAPES: dict[str, set[Kind]] = {
    "audio and video": {"audio", "video"},
    "video only": {"video"},
    "silent video": {"audio"},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_a_recording_is_composed(tmp_path: Path, codec: str, shape: str) -> None:
    """Without a message on stderr."""
    kinds = SHAPES[shape]
    units = (video_units(codec) if "video" in kinds else []) + (audio_units() if "audio" in kinds else [])
    sent = await record(tmp_path, units, audio="OPUS" if "audio" in kinds else None, video=codec)
    output = tmp_path / "composed.mp4"
    summary = readers.compose_with_hisui(sent.path.parent, output)
    for kind in kinds:
        assert summary[f"output_{kind}_duration_seconds"] == pytest.approx(DURATION_MS / 1000, abs=0.05)
    assert readers.count_frames(output) == {kind: FRAMES[kind] for kind in kinds}


@pytest.mark.parametrize("split_only", [True, False])
async def test_parts_are_composed_to_the_whole(tmp_path: Path, *, split_only: bool) -> None:
    """Parts have no gaps; beside a whole file they are not composed twice."""
    seconds = 3
    async with running_recorder(tmp_path) as harness:
        await harness.start(split_duration=1, split_only=split_only)
        client = await harness.connect(video="VP8")
        begin_ns = harness.clock.now_ns
        units = [
            unit for place in range(seconds) for unit in video_units("VP8", 1000 * place) + audio_units(1000 * place)
        ]
        for kind, time_ms, data, is_keyframe in sorted(units, key=lambda unit: unit[1]):
            harness.clock.now_ns = begin_ns + time_ms * NS_PER_MS
            client.send(kind, time_ms, data, is_keyframe)
            await client.tick()
        harness.clock.now_ns = begin_ns + seconds * DURATION_MS * NS_PER_MS
        state = await harness.stop()
        parts = await harness.events("split-archive.available")
        assert len(parts) == seconds
        assert len(await harness.events("archive.available")) == (0 if split_only else 1)
    output = tmp_path / "composed.mp4"
    readers.compose_with_hisui(tmp_path / "archive" / state.recording_id, output)
    assert readers.duration_s(output) == pytest.approx(seconds, abs=0.05)
    assert readers.count_frames(output) == pytest.approx(
        {kind: seconds * count for kind, count in FRAMES.items()}, abs=1
    )
