"""One WebM file from its first frame to its final name. All of it runs in the writer's thread."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rokuga.recorder.archive.muxer import Muxer
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.archive.sora_layout import AudioEntry, VideoEntry
from rokuga.recorder.archive.writer import archive_errors, publish_file
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.codecs.table import CODECS, Codec
from rokuga.recorder.media import AccessUnit, Kind, TrackConfig

DEFAULT_CHANNELS = 2
"""Opus decodes to either; Sora writes 2."""

Batch = Sequence[tuple[Kind, AccessUnit, int]]
"""Units with their time in ns from the file's zero, in file order."""


@dataclass(frozen=True, slots=True)
class WholeFile:
    """What a finished file holds."""

    size_bytes: int
    kinds: frozenset[Kind]
    width: int
    height: int


class ArchiveFile:
    """Writes what it is given, from the first key frame on for video. Methods raise ArchiveError."""

    def __init__(self, names: FileNames, audio: TrackConfig | None, video: TrackConfig | None, mode: int) -> None:
        self._names = names
        self._video_codec: Codec | None = CODECS[video.codec_type] if video is not None else None
        self._audio = _audio_entry(audio) if audio is not None else None
        self._mode = mode
        self._kinds: set[Kind] = set()
        self._width = self._height = 0
        self._muxer: Muxer | None = None

    def open(self) -> None:
        """Create the file under its in-progress name."""
        with archive_errors(self._names.in_progress_path):
            self._muxer = Muxer(self._names.in_progress_path, os.urandom(16), self._audio, self._mode)

    def write(self, batch: Batch) -> None:
        """Write units; video before the first key frame is left out."""
        muxer = self._muxer
        if muxer is None:
            return
        with archive_errors(self._names.in_progress_path):
            for kind, unit, time_ns in batch:
                if kind == "video" and "video" not in self._kinds and not self._begin_video(muxer, unit):
                    continue
                self._kinds.add(kind)
                muxer.write(kind, unit.data, max(time_ns, 0), unit.is_keyframe)

    def finish(self) -> WholeFile | None:
        """Make the file whole and give it its final name; None, and no file, if nothing was written."""
        muxer, self._muxer = self._muxer, None
        if muxer is None:
            return None
        with archive_errors(self._names.path):
            if not self._kinds:
                muxer.abandon()
                Path(self._names.in_progress_path).unlink(missing_ok=True)
                return None
            size = muxer.close()
            publish_file(self._names)
            return WholeFile(size, frozenset(self._kinds), self._width, self._height)

    def abandon(self) -> None:
        """Keep what is on the disk of a file that cannot be finished, if it can be played."""
        muxer, self._muxer = self._muxer, None
        with contextlib.suppress(OSError):  # the folder may be gone, too
            if muxer is not None:
                muxer.abandon()
            if self._kinds:
                publish_file(self._names)
            else:
                Path(self._names.in_progress_path).unlink(missing_ok=True)

    def _begin_video(self, muxer: Muxer, unit: AccessUnit) -> bool:
        """Describe the video by its first key frame; False where this unit is none."""
        codec = self._video_codec
        if not unit.is_keyframe or codec is None:
            return False
        try:
            codec_private = codec.codec_private(unit.data, 0)
        except PayloadError:
            return False
        self._width, self._height = unit.width, unit.height
        muxer.describe_video(VideoEntry(codec.matroska_codec_id, unit.width, unit.height, codec_private))
        return True


def _audio_entry(audio: TrackConfig) -> AudioEntry:
    channels = 1 if audio.params.get("channels") == 1 else DEFAULT_CHANNELS
    return AudioEntry(channels, CODECS[audio.codec_type].codec_private(b"", channels))
