"""How much disk is free for archives, and whether it is too little to begin one."""

import structlog

from rokuga.recorder.archive.disk import ArchiveError, free_bytes, has_less_free, low_space
from rokuga.recorder.archive.writer import WriterThread
from rokuga.recorder.config import RecorderConfig

log = structlog.get_logger()


class DiskSpace:
    """The file system of archive_dir, as it was when `measure` was last called."""

    def __init__(self, config: RecorderConfig, writer: WriterThread) -> None:
        self._folder = str(config.archive_dir)
        self._min_free_bytes = config.archive_min_free_bytes
        self._writer = writer
        self._is_low = False

    async def measure(self) -> None:
        """Find out whether less is free than archive_min_free_bytes."""
        is_low = await self._writer.submit(lambda: has_less_free(self._folder, self._min_free_bytes))
        if is_low and not self._is_low:
            log.warning("less disk space is free than archive_min_free_bytes: archives are closed", path=self._folder)
        self._is_low = is_low

    def refusal(self) -> ArchiveError | None:
        """Return why no archive may begin now, None if one may."""
        return low_space(self._folder) if self._is_low else None

    async def free_bytes(self) -> int:
        """Return the free bytes, measured by the writer thread: blocks as long as that does. Raises OSError."""
        return await self._writer.submit(lambda: free_bytes(self._folder))
