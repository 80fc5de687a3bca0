"""Restores what the previous run left, once archive_dir is usable: at the start or later.

Until then nothing in archive_dir is touched, and no recording is started or continued. What could not be recovered is
kept in `notes` for the operator: no single file or row keeps the daemon from working.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from rokuga.recorder.archive.disk import ArchiveError
from rokuga.recorder.archive.leftovers import Outcome, recording_folders, repair_leftovers
from rokuga.recorder.connection_events import lost_events
from rokuga.recorder.context import RecorderContext
from rokuga.recorder.directory_lock import DirectoryFault
from rokuga.recorder.recordings import Recordings
from rokuga.recorder.retry import RetryPolicy, retry
from rokuga.recorder.store import PreviousRun, StoreError

log = structlog.get_logger()

RETRY: Final = RetryPolicy((DirectoryFault, StoreError), unlogged=(DirectoryFault,))
"""The check of archive_dir logs what makes it unusable."""

MAX_NOTES: Final = 20
"""Further ones are in the log only."""

DirectoryCheck = Callable[[], Awaitable[DirectoryFault | None]]
"""Tries archive_dir; returns what makes it unusable."""


async def usable() -> DirectoryFault | None:
    """Return None: this archive_dir is always usable."""
    return None


class Restoration:
    """Restores once: `begin` makes the first attempt, `wait` the further ones."""

    def __init__(self, context: RecorderContext, recordings: Recordings, check: DirectoryCheck) -> None:
        self._context = context
        self._recordings = recordings
        self._check = check
        self._previous_run = PreviousRun((), 0)
        self._unknown: list[Path] = []
        self._fault: DirectoryFault | None = None
        self.notes: list[str] = []

    async def begin(self) -> None:
        """Restore if archive_dir is usable. Raises StoreError."""
        self._previous_run = await self._context.store.previous_run()
        with suppress(DirectoryFault):
            await self._restore()

    async def wait(self) -> None:
        """Wait until everything is restored; archive_dir is tried again until it is usable."""
        if self._fault is not None:
            await retry(self._restore, RETRY, self._context.clock, name="restore the previous run")

    async def repair_unknown(self) -> None:
        """Finish the files in progress of recordings that the store does not contain."""
        for folder in self._unknown:
            if not self._recordings.contains(folder.name):
                found = await asyncio.to_thread(repair_leftovers, folder, self._context.clock.wall_ns())
                for each in found:
                    log.warning("file of an unknown recording", path=str(each.path), outcome=str(each))
                self._note([str(each) for each in found if each.outcome is not Outcome.REMOVED])

    def refusal(self) -> ArchiveError | None:
        """Return why no recording may be started now, None if one may."""
        if self._fault is None:
            return None
        return ArchiveError(self._fault.reason, self._fault.errno, self._fault.path)

    def _note(self, notes: Sequence[str]) -> None:
        for note in notes:
            log.warning("not everything was recovered", note=note)
        self.notes = [*self.notes, *notes][:MAX_NOTES]

    async def _restore(self) -> None:
        """Restore. Raises DirectoryFault where archive_dir is not usable, StoreError."""
        fault = await self._check()
        if fault is not None:
            self._fault = fault
            raise fault
        self._unknown = await asyncio.to_thread(self._list_folders)
        self._note(await self._recordings.restore())
        if lost := lost_events(self._previous_run, self._context.clock.wall_ns()):
            await self._context.store.append(lost)
            self._context.on_committed(lost)
        self._fault = None

    def _list_folders(self) -> list[Path]:
        """Return all folders that exist before a recording begins: one that is made later is never repaired."""
        try:
            return recording_folders(self._context.config.archive_dir)
        except OSError:  # it does not exist yet, or does not any more
            return []
