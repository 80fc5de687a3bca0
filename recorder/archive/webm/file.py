"""One WebM file from its first frame to its final name.

It is opened and written in the writer's thread, finished or abandoned in another one afterwards.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final

from rokuga.recorder.archive.disk import FAULTS, ArchiveError, archive_error, publish_file, sync_folder
from rokuga.recorder.archive.metadata import FinishedFile
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.archive.webm.codecs import MATROSKA_CODECS
from rokuga.recorder.archive.webm.ebml import LayoutError
from rokuga.recorder.archive.webm.muxer import Muxer
from rokuga.recorder.archive.webm.repair import make_whole
from rokuga.recorder.archive.webm.sora_layout import SHORTEST_MS, AudioEntry, VideoEntry
from rokuga.recorder.codecs.depacketizer import PayloadError
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig

DEFAULT_CHANNELS: Final = 2
"""Opus decodes to either; Sora writes 2."""

MAX_CODEC_PRIVATE_BYTES: Final = 512
"""Fits into the header with any audio track (see HEADER_BYTES of the muxer). AV1 sends some 20 bytes."""

Batch = Sequence[tuple[Kind, AccessUnit, int]]
"""Units with their time in ns from the file's zero, in file order."""

Beside = Callable[[Callable[[], None]], "Future[None]"]
"""Has work done in another thread than the writer's."""


class ArchiveFile:
    """Writes what it is given, from the first key frame on for video.

    Methods raise ArchiveError. After a fault of `write` the file takes no more, and `finish` says the fault again.
    """

    def __init__(
        self,
        names: FileNames,
        audio: TrackConfig | None,
        video: TrackConfig | None,
        mode: int,
        start_wall_ns: int,
        beside: Beside | None = None,
        sync_interval_ns: int = NS_PER_S,
    ) -> None:
        """`start_wall_ns` is the wall time of the file's zero.

        After each `sync_interval_ns` of media it is made last `beside`; without that, at its end.
        """
        self._names = names
        self._video_codec = MATROSKA_CODECS[video.codec_type] if video is not None else None
        self._audio = _audio_entry(audio) if audio is not None else None
        self._mode = mode
        self._start_wall_ns = start_wall_ns
        self._audio_units = self._video_units = self._keyframes = 0
        self._size = (0, 0)
        self._last_ns = 0
        self._muxer: Muxer | None = None
        self._error: ArchiveError | None = None
        self._beside = beside
        self._sync_interval_ns = sync_interval_ns
        self._synced_ns = 0
        self._syncing: Future[None] | None = None

    def open(self) -> None:
        """Create the file under its in-progress name."""
        with _Faults(self):
            self._muxer = Muxer(self._names.in_progress_path, os.urandom(16), self._start_wall_ns, self._mode)
            if self._beside is not None:
                self._syncing = self._beside(lambda: sync_folder(str(Path(self._names.path).parent)))

    def write(self, batch: Batch) -> None:
        """Write units; video before the first key frame is left out."""
        muxer = self._muxer
        if muxer is None or self._error is not None:
            return
        with _Faults(self):
            for kind, unit, time_ns in batch:
                if self._takes(kind, unit, muxer):
                    muxer.write(kind, unit.data, max(time_ns, 0), unit.is_keyframe)
                    self._last_ns = max(self._last_ns, time_ns)
            muxer.end_batch()
            self._sync_if_due(muxer)

    def finish(self) -> FinishedFile | None:
        """Make the file whole and give it its final name; None, and no file, if nothing was written."""
        if self._error is not None:
            raise self._error
        with _Faults(self):
            self._end_sync()
        muxer, self._muxer = self._muxer, None
        if muxer is None:
            return None
        with _Faults(self):
            kinds = self._kinds
            if not kinds:
                muxer.abandon()
                Path(self._names.in_progress_path).unlink(missing_ok=True)
                return None
            size = muxer.close()
            publish_file(self._names)
            duration_ms = max(self._last_ns // NS_PER_MS, SHORTEST_MS)
            stored = {"audio": self._audio_units, "video": self._video_units, "keyframe": self._keyframes}
            return FinishedFile(size, kinds, *self._size, self._start_wall_ns, duration_ms, stored)

    def abandon(self) -> FinishedFile | None:
        """Make what is on the disk of a file that failed a whole one, if it can be played: None if not."""
        with contextlib.suppress(OSError):
            self._end_sync()
        muxer, self._muxer = self._muxer, None
        if muxer is not None:
            muxer.abandon()
        path = self._names.in_progress_path
        with contextlib.suppress(OSError):  # the folder may be gone, too
            file = make_whole(path)
            if file is not None:
                publish_file(self._names)
                return file
            Path(path).unlink(missing_ok=True)
        return None

    def _sync_if_due(self, muxer: Muxer) -> None:
        """Have what was written so far made last when it is time; raise what went wrong the last time."""
        if self._beside is None or (self._syncing is not None and not self._syncing.done()):
            return
        self._end_sync()
        if self._last_ns - self._synced_ns >= self._sync_interval_ns:
            self._synced_ns = self._last_ns
            self._syncing = self._beside(muxer.sync_data)

    def _end_sync(self) -> None:
        """Wait for the sync that is under way: the descriptor must stay open meanwhile. One that waits is dropped."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None and not syncing.cancel():
            syncing.result()

    @property
    def _kinds(self) -> frozenset[Kind]:
        units: dict[Kind, int] = {"audio": self._audio_units, "video": self._video_units}
        return frozenset(kind for kind, count in units.items() if count)

    def fail(self, fault: OSError | LayoutError) -> ArchiveError:
        """Remember the first fault; say this one as what it is."""
        error = archive_error(fault, self._names.in_progress_path)
        self._error = self._error or error
        return error

    def _takes(self, kind: Kind, unit: AccessUnit, muxer: Muxer) -> bool:
        """Count a unit; False for one that its track cannot begin with."""
        if kind == "audio":
            if not self._audio_units and not self._begin_audio(muxer):
                return False
            self._audio_units += 1
            return True
        if not self._video_units and not self._begin_video(muxer, unit):
            return False
        self._video_units += 1
        self._keyframes += unit.is_keyframe
        return True

    def _begin_audio(self, muxer: Muxer) -> bool:
        if self._audio is not None:
            muxer.describe(self._audio)
        return self._audio is not None

    def _begin_video(self, muxer: Muxer, unit: AccessUnit) -> bool:
        """Describe the track by its first unit."""
        codec = self._video_codec
        if codec is None or not unit.is_keyframe or not (unit.width and unit.height):
            return False
        try:
            codec_private = codec.codec_private(unit.data, 0)
        except PayloadError:
            return False
        if len(codec_private) > MAX_CODEC_PRIVATE_BYTES:
            return False
        self._size = unit.width, unit.height
        muxer.describe(VideoEntry(codec.codec_id, *self._size, codec_private))
        return True


class _Faults:
    """A block whose faults are the file's. A class, since each batch goes through one and generators are slow."""

    __slots__ = ("_file",)

    def __init__(self, file: ArchiveFile) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, FAULTS):
            raise self._file.fail(error) from error


def _audio_entry(audio: TrackConfig) -> AudioEntry:
    channels = 1 if audio.params.get("channels") == 1 else DEFAULT_CHANNELS
    codec = MATROSKA_CODECS[audio.codec_type]
    return AudioEntry(codec.codec_id, channels, codec.codec_private(b"", channels), codec.seek_pre_roll_ns)
