"""What the last process left is taken up once archive_dir can be used, at the start or later.

Until then nothing in archive_dir is touched, and no recording is started or gone on with. What could not be
understood is kept in `notes`, for the operator: one odd file or row never keeps the daemon from its work.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.archive.leftovers import Outcome, recording_folders, repair_leftovers
from rokuga.recorder.clock import Clock
from rokuga.recorder.connection_events import lost_events
from rokuga.recorder.directories import DirectoryFault
from rokuga.recorder.events import Event
from rokuga.recorder.recordings import Recordings
from rokuga.recorder.store import PreviousRun, RecordingStore, StoreError

log = structlog.get_logger()

AGAIN_S: Final = 1.0
"""Pause after which a directory that cannot be used is tried again."""

MAX_NOTES: Final = 20
"""More are in the log only."""

DirectoryCheck = Callable[[], Awaitable[DirectoryFault | None]]
"""Tries archive_dir; returns what keeps it from being used."""


async def usable() -> DirectoryFault | None:
    """Return that archive_dir can be used."""
    return None


class Restoration:
    """Restores once: `begin` tries it, `wait` goes on trying."""

    def __init__(
        self,
        archive_dir: Path,
        store: RecordingStore,
        recordings: Recordings,
        clock: Clock,
        committed: Callable[[Sequence[Event]], None],
        check: DirectoryCheck,
    ) -> None:
        self._archive_dir = archive_dir
        self._store = store
        self._recordings = recordings
        self._clock = clock
        self._committed = committed
        self._check = check
        self._last_life = PreviousRun((), 0)
        self._unknown: list[Path] = []
        self._fault: DirectoryFault | None = None
        self.notes: list[str] = []

    async def begin(self) -> None:
        """Restore if archive_dir can be used. Raises StoreError."""
        self._last_life = await self._store.previous_run()
        await self._try()

    async def wait(self) -> None:
        """Return once it is restored; archive_dir is tried again until it can be used."""
        while self._fault is not None:
            await asyncio.sleep(AGAIN_S)
            try:
                await self._try()
            except StoreError as error:
                log.error("what the last process left cannot be taken up yet", reason=str(error))

    async def repair_unknown(self) -> None:
        """Finish the files in progress of recordings that the store does not know, which nobody else will finish."""
        for folder in self._unknown:
            if not self._recordings.knows(folder.name):
                found = await asyncio.to_thread(repair_leftovers, folder, self._clock.wall_ns())
                for each in found:
                    log.warning("a file of an unknown recording", path=str(each.path), outcome=str(each))
                self.note([str(each) for each in found if each.outcome is not Outcome.REMOVED])

    def refusal(self) -> ArchiveError | None:
        """Return what keeps recordings from being started."""
        if self._fault is None:
            return None
        return ArchiveError(self._fault.reason, self._fault.errno, self._fault.path)

    def note(self, notes: Sequence[str]) -> None:
        """Keep what could not be understood."""
        for note in notes:
            log.warning("not everything could be restored", note=note)
        self.notes = [*self.notes, *notes][:MAX_NOTES]

    async def _try(self) -> None:
        fault = await self._check()
        if fault is None:
            self._unknown = await asyncio.to_thread(self._list_folders)
            self.note(await self._recordings.restore())
            if lost := lost_events(self._last_life, self._clock.wall_ns()):
                await self._store.append(lost)
                self._committed(lost)
        self._fault = fault

    def _list_folders(self) -> list[Path]:
        """Name all folders before any recording is begun: a folder that is made later is never repaired."""
        try:
            return recording_folders(self._archive_dir)
        except OSError:  # it is not there yet, or was taken away again
            return []
