"""The archives of one connection in one recording, one after the other.

An error (a full disk, one that stalls) ends an archive, not the recording of its connection: when the error is over,
another archive begins. At most one of them is being written.
"""

from collections.abc import Callable
from typing import Final

import structlog

from rokuga.recorder.archive.archiver import Archiver
from rokuga.recorder.archive.backoff import MAX_INTERNAL_ERRORS, ArchiveBackoff
from rokuga.recorder.connection import Connection
from rokuga.recorder.models import ArchiveState

log = structlog.get_logger()

MakeArchiver = Callable[[Connection, ArchiveState | None], Archiver]
"""Returns the archiver of a connection's first archive (None), or of the one that follows an ended one."""


class ArchiveSeries:
    """One connection's archives, from its first one in a recording until it leaves or the recording ends."""

    def __init__(self, connection: Connection, make_archiver: MakeArchiver) -> None:
        self.connection: Final = connection
        self._make_archiver = make_archiver
        self._archiver: Archiver | None = None
        self._pauses = ArchiveBackoff()
        self._counted: Archiver | None = None

    @property
    def is_writing(self) -> bool:
        """Whether an archive is being written."""
        return self._archiver is not None and self._archiver.is_writing

    def begin(self) -> Archiver:
        """Record the connection from now on into its next archive."""
        before = None if self._archiver is None else self._archiver.state
        self._archiver = archiver = self._make_archiver(self.connection, before)
        self.connection.begin_archive(archiver)
        return archiver

    def interrupt(self, reason: str, now_ns: int) -> None:
        """End the archive that is being written, in order; another one may follow."""
        archiver = self._archiver
        if archiver is not None and archiver.is_writing:
            self.connection.end_archive()
            archiver.interrupt(reason, now_ns)

    def may_begin(self, now_ns: int) -> bool:
        """Return whether the next archive is due: the last one ended, media arrived since, and the pause is over."""
        archiver = self._archiver
        if archiver is None or not archiver.has_ended:
            return False
        if self._counted is not archiver:
            self._counted = archiver
            self._count_end(archiver)
        return self.connection.last_media_ns > archiver.end_ns and self._pauses.may_begin(now_ns)

    def _count_end(self, archiver: Archiver) -> None:
        self._pauses.add_end(archiver.start_ns, archiver.end_ns, is_internal=archiver.failed_internally)
        if self._pauses.is_given_up:
            log.error(
                "connection not recorded any more, too many internal errors",
                connection_id=self.connection.identity.connection_id,
                archives=MAX_INTERNAL_ERRORS,
            )

    async def end(self, stop_ns: int) -> None:
        """End the last archive and announce what is left of it. No other one follows. Safe to repeat."""
        if self._archiver is not None:
            await self._archiver.close(stop_ns)
