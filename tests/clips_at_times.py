"""Clips with packets and key frames at given times, and readers of the files that were recorded of them."""

import functools
import math
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rokuga.devtools.publisher.clip import Clip, ClipTrack, ClipUnit, read_clip
from rokuga.recorder.events import Event, EventType
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind
from tests import readers

CLIP = read_clip(Path(__file__).parent.parent / "media-samples" / "vp9-opus.webm")
FRAME_NS = NS_PER_S // 30
OPUS_NS = 20 * NS_PER_MS


def opus(times_ns: Sequence[int]) -> ClipTrack:
    """Return Opus packets of the clip at these times, each numbered in its padding (RFC 6716 section 3.2.5)."""
    spoken = [unit.data for unit in CLIP.tracks["audio"].units]
    units = []
    for place, time_ns in enumerate(times_ns):
        frame = spoken[place % len(spoken)]
        assert frame[0] & 3 == 0, "one frame a packet"
        data = bytes((frame[0] | 3, 0x41, 4)) + frame[1:] + place.to_bytes(4, "big")
        units.append(ClipUnit(data, time_ns, True))
    return ClipTrack("OPUS", units)


def speech(seconds: float, begin_ns: int = 0) -> ClipTrack:
    """Return Opus packets each 20 ms."""
    return opus([begin_ns + place * OPUS_NS for place in range(int(seconds * 50))])


def pictures(seconds: float, keyframes_s: Sequence[float] = (0,), begin_ns: int = 0) -> ClipTrack:
    """Return VP9 at 30 frames a second, with key frames at these times only."""
    track = _encoded(math.ceil(seconds), tuple(keyframes_s))
    units = track.units[: int(seconds * 30)]
    return replace(
        track, units=[replace(unit, time_ns=begin_ns + place * FRAME_NS) for place, unit in enumerate(units)]
    )


@functools.cache
def _encoded(seconds: int, keyframes_s: tuple[float, ...]) -> ClipTrack:
    """Encode FFmpeg's moving test pattern in a small size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.webm"
        keyframes = ",".join(map(str, keyframes_s))
        source = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=30", "-t", str(seconds)]
        encoder = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "150k"]
        order = ["-lag-in-frames", "0", "-auto-alt-ref", "0", "-g", "100000", "-force_key_frames", keyframes]
        subprocess.run(["ffmpeg", "-v", "error", *source, *encoder, *order, str(path)], check=True)
        track = read_clip(path).tracks["video"]
    shown = [place for place, unit in enumerate(track.units) if unit.is_keyframe]
    assert shown == [round(second * 30) for second in keyframes_s], shown
    return track


def clip(audio: ClipTrack | None = None, video: ClipTrack | None = None) -> Clip:
    """Return a clip of these tracks."""
    tracks: dict[Kind, ClipTrack] = {}
    if audio is not None:
        tracks["audio"] = audio
    if video is not None:
        tracks["video"] = video
    return Clip(tracks, max(track.units[-1].time_ns for track in tracks.values()) + FRAME_NS)


def of_type(events: Sequence[Event], event_type: EventType) -> list[Event]:
    """Return the events of a type."""
    return [event for event in events if event.type is event_type]


def whole_file(events: Sequence[Event]) -> tuple[Path, Event]:
    """Return the only whole file and its event."""
    (event,) = of_type(events, EventType.ARCHIVE_AVAILABLE)
    return Path(event.document["file_path"]), event


def times_ms(path: Path, kind: Kind) -> list[int]:
    """Return the times of a kind's packets."""
    return [time for _, time, _ in readers.packets(path)[kind]]
