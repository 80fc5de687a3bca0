"""The folder of a new recording: made while somebody waits for the answer, or not at all."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from rokuga.recorder.archive.disk import ArchiveError, make_folder, remove_empty_folder, sync_parent
from rokuga.recorder.context import RecorderContext


class RecordingFolders:
    """Makes and removes folders in a thread of their own: the writer may take a second to finish 200 files.

    One at a time, so that a disk that hangs blocks no more than one thread.
    """

    def __init__(self, context: RecorderContext) -> None:
        self._context = context
        self._lock = asyncio.Lock()

    async def make(self, folder: str) -> None:
        """Make a folder within `request_timeout_s`. Raises ArchiveError; what the disk makes later is removed."""
        config, timeout_s = self._context.config, self._context.timeouts.request_timeout_s
        is_refused = False

        def make() -> None:
            if not is_refused:
                make_folder(folder, config.archive_folder_mode, config.archive_min_free_bytes)

        if not await self._in_time(self._in_thread(make)):
            is_refused = True
            self._context.spawn(self._in_thread(lambda: remove_empty_folder(folder)))
            raise ArchiveError(f"no answer within {timeout_s:g} s", errno.ETIMEDOUT, folder)
        self._context.writer.submit_sync(lambda: sync_parent(folder))

    async def remove_empty(self, folder: str) -> None:
        """Remove a folder, later if that takes longer than `request_timeout_s`."""
        await self._in_time(self._in_thread(lambda: remove_empty_folder(folder)))

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> bool:
        """Return False if the work takes longer than `request_timeout_s`; it is finished all the same."""
        task = asyncio.ensure_future(work)
        await asyncio.wait({task}, timeout=self._context.timeouts.request_timeout_s)
        if task.done():
            await task
            return True

        async def finish() -> None:
            with suppress(ArchiveError):
                await task

        self._context.spawn(finish())
        return False

    async def _in_thread(self, work: Callable[[], None]) -> None:
        async with self._lock:
            await asyncio.to_thread(work)
