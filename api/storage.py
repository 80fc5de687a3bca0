"""The locks of the daemon's two directories: data_dir at the start, archive_dir as soon as it can be used."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from rokuga.api.config.loader import DaemonConfig
from rokuga.recorder.directory_lock import DirectoryFault, DirectoryInUse, DirectoryLock

log = structlog.get_logger()

PRIVATE_MODE = 0o700
OPEN_MODE = 0o777
"""Less the umask."""


class ArchiveDirectory:
    """Checks archive_dir: that it exists, that we have its lock, and that it is writable. Logs each fault once."""

    def __init__(self, lock: DirectoryLock) -> None:
        self._lock = lock
        self._checking = asyncio.Lock()
        self._fault: str | None = None

    async def check(self) -> DirectoryFault | None:
        """Acquire the lock, if it is not held, and write a file. Return the fault, None without one."""
        async with self._checking:
            try:
                await asyncio.to_thread(self._lock.check)
            except DirectoryFault as error:
                self._log_change(error)
                return error
            self._log_change(None)
            return None

    async def probe(self) -> str | None:
        """Return the fault with path and errno, for /readyz."""
        fault = await self.check()
        return None if fault is None else str(fault)

    def _log_change(self, fault: DirectoryFault | None) -> None:
        text = None if fault is None else str(fault)
        if fault is not None and text != self._fault:
            log.warning(
                "archive_dir unusable, no recordings", path=fault.path, reason=fault.reason, errno=fault.errno
            )
        elif fault is None and self._fault is not None:
            log.info("archive_dir usable again", path=str(self._lock.directory))
        self._fault = text


@contextlib.asynccontextmanager
async def owned_directories(config: DaemonConfig) -> AsyncIterator[ArchiveDirectory]:
    """Create both directories if they are missing, and hold their locks until the end of the context.

    Raises DirectoryInUse where another process holds a lock, DirectoryFault where data_dir is unusable; only lock
    files have been written then. An unusable archive_dir is no error: its probe reports it.
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
            pass  # reported by the check
        directory = ArchiveDirectory(archive)
        await directory.check()
        for lock in (data, archive):
            if lock.is_held and not lock.is_exclusive:
                log.warning("the file system has no locks: run no second daemon here", path=str(lock.directory))
        yield directory
    finally:
        archive.release()
        data.release()


def _data_mode(data_dir: Path, archive_dir: Path) -> int:
    """Return the permissions of a new data_dir: private, unless archive_dir is below it."""
    return OPEN_MODE if archive_dir.resolve().is_relative_to(data_dir.resolve()) else PRIVATE_MODE


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
