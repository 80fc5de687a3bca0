"""The two directories that a daemon owns: data_dir at the start, archive_dir then or later."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from rokuga.api.config.loader import DaemonConfig
from rokuga.recorder.directories import DirectoryFault, DirectoryInUse, DirectoryLock

log = structlog.get_logger()

PRIVATE_MODE = 0o700
OPEN_MODE = 0o777
"""Less the umask."""


class ArchiveDirectory:
    """Tries archive_dir: that it is there, locked by us, and can be written. What is wrong is logged once."""

    def __init__(self, lock: DirectoryLock) -> None:
        self._lock = lock
        self._looking = asyncio.Lock()
        self._fault: str | None = None

    async def check(self) -> DirectoryFault | None:
        """Lock it unless it is locked, and try to make a file in it; return what is wrong."""
        async with self._looking:
            try:
                await asyncio.to_thread(self._lock.check)
            except DirectoryFault as error:
                self._note(error)
                return error
            self._note(None)
            return None

    async def probe(self) -> str | None:
        """Say what is wrong, with path and errno; for /readyz."""
        fault = await self.check()
        return None if fault is None else str(fault)

    def _note(self, fault: DirectoryFault | None) -> None:
        text = None if fault is None else str(fault)
        if fault is not None and text != self._fault:
            log.warning("nothing can be recorded", path=fault.path, reason=fault.reason, errno=fault.errno)
        elif fault is None and self._fault is not None:
            log.info("archive_dir can be used again", path=str(self._lock.directory))
        self._fault = text


@contextlib.asynccontextmanager
async def owned_directories(config: DaemonConfig) -> AsyncIterator[ArchiveDirectory]:
    """Hold the locks of both directories until the end of the context; they are made if they are missing.

    Raises DirectoryInUse where another process has one of them, DirectoryFault where data_dir cannot be used. Nothing
    but lock files has been touched then. An archive_dir that cannot be used is left to its probe.
    """
    archive_dir = config.recorder.archive_dir
    data = DirectoryLock(config.data_dir)
    archive = DirectoryLock(archive_dir)
    try:
        data.acquire(_data_mode(config.data_dir, archive_dir))
        data.check()
        if _is_same(config.data_dir, archive_dir):
            archive = data
        try:
            archive.acquire()
        except DirectoryInUse:
            raise
        except DirectoryFault:
            pass  # what is wrong is told by the check
        directory = ArchiveDirectory(archive)
        await directory.check()
        for lock in (data, archive):
            if lock.is_held and not lock.is_exclusive:
                log.warning(
                    "the file system has no locks: nothing keeps a second daemon away", path=str(lock.directory)
                )
        yield directory
    finally:
        archive.release()
        data.release()


def _data_mode(data_dir: Path, archive_dir: Path) -> int:
    """Return the permissions of a data_dir that is made now: its owner's alone, unless recordings are under it."""
    return OPEN_MODE if archive_dir.resolve().is_relative_to(data_dir.resolve()) else PRIVATE_MODE


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
