"""Frame ids: each Opus packet is unique and decodes as before; a stored unit is found where it was sent."""

from pathlib import Path

import av
import pytest

from rokuga.devtools.publisher.clip import Clip, read_clip
from rokuga.devtools.soak.frame_ids import with_frame_ids
from rokuga.recorder.codecs.opus import packet_duration_ns
from rokuga.recorder.media import NS_PER_MS
from tests.devtools.soak.sent_and_stored import PICTURE_NS, sent

CLIP = read_clip(Path(__file__).parent.parent.parent.parent / "media-samples" / "vp9-opus.webm")


def sound(clip: Clip) -> bytes:
    """Decode a clip's audio."""
    decoder = av.CodecContext.create("opus", "r")
    frames = [frame for unit in clip.tracks["audio"].units for frame in decoder.decode(av.Packet(unit.data))]
    return b"".join(bytes(plane) for frame in frames for plane in frame.planes)


def test_packets_with_frame_ids_are_unique_and_decode_to_the_same_sound() -> None:
    changed = with_frame_ids(CLIP)
    units = changed.tracks["audio"].units
    assert len({unit.data for unit in units}) == len(units)
    assert len({unit.data for unit in CLIP.tracks["audio"].units}) < len(units)
    assert {packet_duration_ns(unit.data) for unit in units} == {20 * NS_PER_MS}
    assert sound(changed) == sound(CLIP)
    assert changed.tracks["video"] is CLIP.tracks["video"]


@pytest.mark.parametrize(("after", "near", "found"), [(-1, 0, 0), (149, 0, 150), (-1, 100, 100), (99, 200, 100)])
def test_a_unit_of_a_looped_clip_follows_the_last_one_or_is_nearest_in_time(
    after: int, near: int, found: int
) -> None:
    """Picture 0 of the clip has the numbers 0, 100 and 200."""
    track = sent().tracks["video"]
    data = track.track.units[found % 100].data
    assert track.find(data, near * PICTURE_NS, after) == found


def test_a_unit_that_was_not_sent_about_that_time_is_not_found() -> None:
    track = sent().tracks["video"]
    assert track.find(b"v0", 50 * PICTURE_NS, -1) is None
    assert track.find(b"strange", 0, -1) is None
