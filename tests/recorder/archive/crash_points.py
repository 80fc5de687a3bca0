"""Records the archives of one connection, and keeps what a crash before each I/O step would leave.

The archiver, the writer's threads, the files and recovery are the real ones; frames, clock and store are the test's.
"""

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rokuga.recorder.archive.announcement_order import AnnouncementOrder
from rokuga.recorder.archive.archiver import Archiver
from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.archive.journal import Journal, next_archive, unfinished
from rokuga.recorder.archive.journal_writer import JournalWriter
from rokuga.recorder.archive.recovery import Recovery
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.clock import Clock
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.events import Event
from rokuga.recorder.media import NS_PER_MS, NS_PER_S, AccessUnit, Frame, Kind
from rokuga.recorder.models import ArchiveState, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig

STEP_MS = 100
START_WALL_NS = 1_700_000_000 * NS_PER_S
RECORDING_ID, CONNECTION_ID = "0" * 26, "1" * 26
IDENTITY = ConnectionIdentity("sora", "2" * 26, "3" * 26, "4" * 26, CONNECTION_ID)
CLUSTER = b"\x1f\x43\xb6\x75"
"""The element id of a cluster (RFC 9559 section 5.1.3): a file with one can be played."""
IO_CALLS = ("open", "pwrite", "fsync", "rename", "unlink", "ftruncate")


@dataclass(frozen=True)
class Plan:
    """What is recorded: for each archive its length in ms, and how it ends.

    An archive is "interrupted" in order or ends by a "fault"; or the disk is "full" until the next one begins. The
    last one is closed in any case.
    """

    split_duration: int | None
    split_only: bool
    kinds: tuple[Kind, ...]
    archives: tuple[tuple[int, str], ...]

    @property
    def recording(self) -> RecordingState:
        """The recording that the archives are part of."""
        parameters = RecordingParameters("sora", 0, self.split_duration, self.split_only)
        return RecordingState(RECORDING_ID, parameters, START_WALL_NS)


@dataclass
class Disk:
    """What is kept: files by name, archives by number, events in order. The disk may be full."""

    folder: Path
    archives: dict[int, ArchiveState] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    is_full: bool = False
    _sizes: dict[int, int] = field(default_factory=dict)

    def check_writable(self, descriptor: int, data: bytes, offset: int) -> None:
        """Raise OSError where the disk is full and the file has no room for the data, nor had it ever."""
        inode, end = os.fstat(descriptor).st_ino, offset + len(data)
        if self.is_full and end > self._sizes.get(inode, 0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sizes[inode] = max(self._sizes.get(inode, 0), end)

    def files(self) -> dict[str, bytes]:
        """Return the content of each file."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def save(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Store a state and its events, each event once."""
        self.archives[archive.number] = archive
        known = {event.id for event in self.events}
        self.events += [event for event in events if event.id not in known]


@dataclass(frozen=True)
class CrashPoint:
    """What a crash leaves. `is_complete`: all media had been written."""

    files: dict[str, bytes]
    archives: dict[int, ArchiveState]
    events: list[Event]
    is_complete: bool = False

    def is_playable(self, name: str) -> bool:
        """Whether a media file has something to play, under its final name or before."""
        return any(CLUSTER in self.files.get(form, b"") for form in (name, f".{name}.part"))


class Recorder:
    """Notes a crash point before each I/O step while it is entered."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.points: list[CrashPoint] = []
        self.is_complete = False
        self._lock = threading.RLock()

    def note(self) -> None:
        """Keep what is on the disk and in the store now."""
        disk = self.disk
        point = CrashPoint(disk.files(), dict(disk.archives), list(disk.events), self.is_complete)
        if not self.points or self.points[-1] != point:
            self.points.append(point)

    def save(self, archive: ArchiveState, events: Sequence[Event]) -> None:
        """Store, in one step."""
        with self._lock:
            self.note()
            self.disk.save(archive, events)
            self.note()

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note a crash point before each call of the operating system."""
        with contextlib.ExitStack() as stack:
            for name in IO_CALLS:
                stack.enter_context(patch.object(os, name, self._before(getattr(os, name))))
            yield

    def _before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self.note()
                if call.__name__ == "pwrite":
                    self.disk.check_writable(*arguments)
                return None if call.__name__ == "fsync" else call(*arguments, **named)

        return noted


async def record(plan: Plan, disk: Disk) -> list[CrashPoint]:
    """Record all archives of a plan; return the crash points on the way, the last one after its end."""
    recorder = Recorder(disk)
    with recorder.noting():
        async with WriterThread() as writer:
            await _Run(plan, recorder, writer).all_archives()
    recorder.note()
    return recorder.points


class _Run:
    def __init__(self, plan: Plan, recorder: Recorder, writer: WriterThread) -> None:
        self._plan = plan
        self._recorder = recorder
        self._writer = writer
        self._now_ns = NS_PER_S
        self._clock = Clock(lambda: self._now_ns, lambda: self._wall_at(self._now_ns))
        self._order = AnnouncementOrder()
        self._config = RecorderConfig(recorder.disk.folder.parent)

    def _wall_at(self, monotonic_ns: int) -> int:
        return START_WALL_NS + monotonic_ns - NS_PER_S

    async def all_archives(self) -> None:
        before: ArchiveState | None = None
        for number, (media_ms, ending) in enumerate(self._plan.archives, 1):
            is_last = number == len(self._plan.archives)
            archiver = self._archiver(before)
            await archiver.start()
            await self._play(archiver, media_ms)
            self._recorder.is_complete = is_last
            await self._end(archiver, ending, is_last)
            before = archiver.state
            self._now_ns += NS_PER_S

    async def _end(self, archiver: Archiver, ending: str, is_last: bool) -> None:
        if ending == "fault":
            archiver.fail(ArchiveError("a fault", errno.EIO, "/somewhere"))
        elif ending == "interrupted":
            archiver.interrupt("because", self._now_ns)
        elif not is_last:
            self._recorder.disk.is_full = True
            await self._play(archiver, 1000)
        await self._settle()
        if is_last:
            await archiver.close(self._now_ns)
        elif archiver.is_writing:  # nothing was written while the disk was full
            archiver.interrupt("because", self._now_ns)
            await self._settle()
        self._recorder.disk.is_full = False

    def _archiver(self, before: ArchiveState | None) -> Archiver:
        recording, config = self._plan.recording, self._config
        audio = TrackConfig("OPUS") if "audio" in self._plan.kinds else None
        video = TrackConfig("VP8") if "video" in self._plan.kinds else None
        wall_ns = self._wall_at(self._now_ns)
        state = ArchiveState(RECORDING_ID, IDENTITY, audio, video, wall_ns)
        has_whole_file = recording.parameters.has_whole_files(config.recording_dual_output)
        journal = JournalWriter(
            Journal(
                recording,
                state if before is None else next_archive(before, wall_ns),
                str(config.archive_dir),
                has_whole_file,
            ),
            self._now_ns,
            file_mode=config.archive_file_mode,
            writer=self._writer,
            clock=self._clock,
            wall_at=self._wall_at,
            counters=lambda: {"audio": {"plis": 1}},
            save=self._save,
        )
        return Archiver(
            journal,
            recording.parameters,
            config=config,
            writer=self._writer,
            clock=self._clock,
            announcement_order=self._order,
            on_failure=lambda: None,
        )

    async def _save(self, archive: ArchiveState, events: Sequence[Event]) -> bool:
        self._recorder.save(archive, events)
        return True

    async def _play(self, archiver: Archiver, media_ms: int) -> None:
        for ms in range(0, media_ms, STEP_MS):
            for kind in self._plan.kinds:
                archiver.write(self._frame(kind, ms))
            self._now_ns += STEP_MS * NS_PER_MS
            archiver.tick(self._now_ns, ())
            await self._settle()

    def _frame(self, kind: Kind, ms: int) -> Frame:
        is_keyframe = kind == "audio" or ms % 500 == 0
        data = b"\xfc" if kind == "audio" else bytes([0 if is_keyframe else 1, 0, 0])
        size = (320, 180) if kind == "video" and is_keyframe else (0, 0)
        return Frame(kind, AccessUnit(0, data, is_keyframe, self._now_ns, *size), self._now_ns)

    async def _settle(self) -> None:
        """Wait until nothing is under way."""
        await self._writer.drain()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


def recover(plan: Plan, point: CrashPoint, folder: Path, *, is_noted: bool = False) -> list[CrashPoint]:
    """Start after a crash; return what is there after it, behind its own crash points if they are noted."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in point.files.items():
        (folder / name).write_bytes(content)
    disk = Disk(folder, dict(point.archives), list(point.events))
    recorder = Recorder(disk)
    save = recorder.save if is_noted else disk.save
    with recorder.noting() if is_noted else patch.object(os, "fsync"):
        for archive in unfinished([archive for _, archive in sorted(point.archives.items())]):
            recovery = Recovery(
                RecorderConfig(folder.parent), plan.recording, archive, START_WALL_NS + 3600 * NS_PER_S
            )
            save(recovery.finish_files(), [])
            save(*recovery.announce())
    recorder.note()
    return recorder.points
