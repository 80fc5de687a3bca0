"""One media file from its first frame to its final name, in any container.

It is opened and written in the writer thread; afterwards it is finished or abandoned in another one.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

from rokuga.recorder.archive.container import MIN_DURATION_MS, Container, ContainerError, FinishedFile, Muxer
from rokuga.recorder.archive.disk import FAULTS, ArchiveError, archive_error, publish_file, sync_folder
from rokuga.recorder.archive.names import FileNames
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Kind
from rokuga.recorder.negotiation import TrackConfig

Batch = Sequence[tuple[Kind, AccessUnit, int]]
"""Units with their time in ns from the file's zero, in file order."""

RunInSyncThread = Callable[[Callable[[], None]], "Future[None]"]
"""Runs a call in another thread than the writer's."""


class ArchiveFile:
    """Writes batches of units, video from its first key frame on, and syncs them to the disk at an interval.

    Methods raise ArchiveError. After an error of `write` nothing more is written, and `finish` raises it again.
    """

    def __init__(
        self,
        container: Container,
        names: FileNames,
        audio: TrackConfig | None,
        video: TrackConfig | None,
        mode: int,
        start_wall_ns: int,
        run_in_sync_thread: RunInSyncThread | None = None,
        sync_interval_ns: int = NS_PER_S,
    ) -> None:
        """`start_wall_ns` is the wall time of the file's zero; `mode` are its permissions.

        It is synced after each `sync_interval_ns` of media, or without `run_in_sync_thread` only when it is finished.
        """
        self._container = container
        self._names = names
        self._audio = audio
        self._video = video
        self._mode = mode
        self._start_wall_ns = start_wall_ns
        self._audio_units = self._video_units = self._keyframes = 0
        self._size = (0, 0)
        self._last_ns = 0
        self._muxer: Muxer | None = None
        self._error: ArchiveError | None = None
        self._run_in_sync_thread = run_in_sync_thread
        self._sync_interval_ns = sync_interval_ns
        self._synced_ns = 0
        self._syncing: Future[None] | None = None

    def open(self) -> None:
        """Create the file under its in-progress name."""
        with _Errors(self):
            self._muxer = self._container.open(
                self._names.in_progress_path, self._audio, self._video, self._start_wall_ns, self._mode
            )
            if self._run_in_sync_thread is not None:
                self._syncing = self._run_in_sync_thread(lambda: sync_folder(str(Path(self._names.path).parent)))

    def write(self, batch: Batch) -> None:
        """Write units; video before the first key frame is left out."""
        muxer = self._muxer
        if muxer is None or self._error is not None:
            return
        with _Errors(self):
            for kind, unit, time_ns in batch:
                if self._count(kind, unit, muxer):
                    muxer.write(kind, unit.data, max(time_ns, 0), unit.is_keyframe)
                    self._last_ns = max(self._last_ns, time_ns)
            muxer.flush()
            self._sync_if_due(muxer)

    def finish(self) -> FinishedFile | None:
        """Complete the file and rename it to its final name; None, and no file, if nothing was written."""
        if self._error is not None:
            raise self._error
        with _Errors(self):
            self._end_sync()
        muxer, self._muxer = self._muxer, None
        if muxer is None:
            return None
        with _Errors(self):
            kinds = self._kinds
            if not kinds:
                muxer.abandon()
                Path(self._names.in_progress_path).unlink(missing_ok=True)
                return None
            size_bytes = muxer.finish()
            publish_file(self._names)
            duration_ms = max(self._last_ns // NS_PER_MS, MIN_DURATION_MS)
            stored = {"audio": self._audio_units, "video": self._video_units, "keyframe": self._keyframes}
            return FinishedFile(size_bytes, kinds, *self._size, self._start_wall_ns, duration_ms, stored)

    def abandon(self) -> FinishedFile | None:
        """Repair a file that failed and rename it to its final name; None, and no file, if it cannot be played."""
        with contextlib.suppress(OSError):
            self._end_sync()
        muxer, self._muxer = self._muxer, None
        if muxer is not None:
            muxer.abandon()
        path = self._names.in_progress_path
        with contextlib.suppress(OSError):  # the folder may have been removed, too
            file = self._container.repair(path)
            if isinstance(file, FinishedFile):
                publish_file(self._names)
                return file
            Path(path).unlink(missing_ok=True)
        return None

    def _sync_if_due(self, muxer: Muxer) -> None:
        """Begin a sync when it is due; raise the error of the previous one."""
        if self._run_in_sync_thread is None or (self._syncing is not None and not self._syncing.done()):
            return
        self._end_sync()
        if self._last_ns - self._synced_ns >= self._sync_interval_ns:
            self._synced_ns = self._last_ns
            self._syncing = self._run_in_sync_thread(muxer.sync_data)

    def _end_sync(self) -> None:
        """Wait for a sync that runs, since the descriptor must stay open meanwhile; cancel one that has not begun."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None and not syncing.cancel():
            syncing.result()

    @property
    def _kinds(self) -> frozenset[Kind]:
        units: dict[Kind, int] = {"audio": self._audio_units, "video": self._video_units}
        return frozenset(kind for kind, count in units.items() if count)

    def fail(self, error: OSError | ContainerError) -> ArchiveError:
        """Store the first error for `finish`; return this one as an ArchiveError."""
        failure = archive_error(error, self._names.in_progress_path)
        self._error = self._error or failure
        return failure

    def _count(self, kind: Kind, unit: AccessUnit, muxer: Muxer) -> bool:
        """Count a unit; False for one that is not written, since its track cannot begin with it."""
        if kind == "audio":
            if not self._audio_units and (self._audio is None or not muxer.begin_track(kind, unit)):
                return False
            self._audio_units += 1
            return True
        if not self._video_units and not self._begin_video(unit, muxer):
            return False
        self._video_units += 1
        self._keyframes += unit.is_keyframe
        return True

    def _begin_video(self, unit: AccessUnit, muxer: Muxer) -> bool:
        if self._video is None or not unit.is_keyframe or not (unit.width and unit.height):
            return False
        if not muxer.begin_track("video", unit):
            return False
        self._size = unit.width, unit.height
        return True


class _Errors:
    """Raises errors of its block as ArchiveError. A class: each batch enters one, and generators are slow."""

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
