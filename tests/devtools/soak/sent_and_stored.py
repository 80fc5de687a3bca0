"""What a connection has sent and the file of it without faults, which tests then modify."""

from dataclasses import dataclass, field
from typing import Any

from rokuga.devtools.publisher.clip import Clip, ClipTrack, ClipUnit
from rokuga.devtools.publisher.sender import Run
from rokuga.devtools.soak.frame_ids import SentMedia, empty_sent_media
from rokuga.devtools.soak.webm import StoredBlock, WebmFile
from rokuga.recorder.clock import rfc3339
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, Kind

BEGIN_WALL_NS = 1_700_000_000 * NS_PER_S
PICTURE_NS = 40 * NS_PER_MS
SOUND_NS = 20 * NS_PER_MS
CLIP_NS = 4 * NS_PER_S
SECONDS = 10
KEYFRAME_EVERY = 25


def clip() -> Clip:
    """Return a clip of four seconds: each unit is unique, and each second begins with a key frame."""
    pictures = [ClipUnit(b"v%d" % n, n * PICTURE_NS, n % KEYFRAME_EVERY == 0) for n in range(100)]
    sounds = [ClipUnit(b"a%d" % n, n * SOUND_NS, True) for n in range(200)]
    return Clip({"video": ClipTrack("VP9", pictures, 64, 48), "audio": ClipTrack("OPUS", sounds)}, CLIP_NS)


def sent(seconds: int = SECONDS) -> SentMedia:
    """Return what a connection has sent in so many seconds."""
    made = empty_sent_media("connection", "channel", BEGIN_WALL_NS, clip())
    made.tracks["video"].extend([Run(0, 0, 0)], seconds * 25)
    made.tracks["audio"].extend([Run(0, 0, 0)], seconds * 50)
    made.until_wall_ns = BEGIN_WALL_NS + seconds * NS_PER_S
    made.is_over = True
    return made


@dataclass
class StoredFile:
    """A file from `begin_ms` to `end_ms` of what was sent; `late_ms` is the delay of each kind."""

    begin_ms: int = 0
    end_ms: int = SECONDS * 1000
    index: int | None = None
    late_ms: dict[Kind, int] = field(default_factory=lambda: {"audio": 5, "video": 5})
    stats: dict[str, Any] = field(default_factory=dict)

    def file(self) -> WebmFile:
        """Return its contents."""
        source = sent()
        blocks: dict[Kind, list[StoredBlock]] = {}
        for kind, track in source.tracks.items():
            blocks[kind] = [
                StoredBlock(
                    max(time_ns // NS_PER_MS - self.begin_ms + self.late_ms[kind], 0),
                    track.track.units[place].data,
                    track.track.units[place].is_keyframe,
                )
                for place, time_ns in zip(track.places, track.times_ns, strict=True)
                if self.begin_ms <= time_ns // NS_PER_MS < self.end_ms
            ]
        last_ms = max(block.time_ms for each in blocks.values() for block in each)
        return WebmFile(float(last_ms), blocks, [("video", blocks["video"][0].time_ms, True)])

    def document(self) -> dict[str, Any]:
        """Return the document beside it."""
        document: dict[str, Any] = {
            "start_timestamp": rfc3339(BEGIN_WALL_NS + self.begin_ms * NS_PER_MS),
            "stop_timestamp": rfc3339(BEGIN_WALL_NS + self.end_ms * NS_PER_MS),
            "stats": self.stats,
        }
        return document if self.index is None else document | {"split_index": f"{self.index:04}"}
