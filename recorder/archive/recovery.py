"""Crash recovery of one archive: finishes its files from what is on the disk, and applies the facts to its journal.

The order of writing shows how far an archive came: a file has its final name when it is complete, its document comes
after it, its event after both. Ids of events are derived, so recovery may store all of them again.

Files may have been changed by others. A document or a file that cannot be read is renamed, reported in `notes`, and
made again where that is possible; the other files of the archive are recovered all the same.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from rokuga.recorder.archive.container import FinishedFile, Unplayable
from rokuga.recorder.archive.container_table import container_of
from rokuga.recorder.archive.disk import (
    ArchiveError,
    archive_error,
    archive_errors,
    publish_file,
    write_json,
)
from rokuga.recorder.archive.document_validation import AVAILABLE, SPLIT_END, is_document
from rokuga.recorder.archive.facts import (
    ArchiveClosed,
    DocumentWritten,
    Fact,
    Failure,
    FilesFound,
    PartAnnounced,
    PartsEndAnnounced,
    PartsEnded,
    RecoveryFailed,
)
from rokuga.recorder.archive.journal import DocumentFile, Journal, apply
from rokuga.recorder.archive.names import FileNames, split_index
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.directory_lock import aside_path
from rokuga.recorder.events import Document, Event
from rokuga.recorder.models import WHOLE_FILE, ArchiveState, RecordingState

log = structlog.get_logger()

UNREADABLE: Final = "its content cannot be read"
NOT_RECOVERED: Final = "its files are not finished after a crash"
NOTHING_LEFT: Final = Failure("nothing was left of it to play after a crash")
STATS: Final[Mapping[str, Any]] = {"is_recovered": True}
"""The counters were lost with the process."""


class Recovery:
    """Recovers one archive in two steps; the store must have the result of the first one before the second begins.

    Of an archive that had ended, and that another one was to follow, only parts are left to announce.
    All of it runs in the writer's thread.
    """

    def __init__(
        self, config: RecorderConfig, recording: RecordingState, archive: ArchiveState, now_wall_ns: int
    ) -> None:
        has_whole_file = recording.parameters.has_whole_files(config.recording_dual_output)
        self._journal = Journal(recording, archive, str(config.archive_dir), has_whole_file)
        self._container = container_of(recording.parameters)
        self._had_ended = self._journal.has_ended
        self._folder = config.archive_dir / recording.recording_id
        self._file_mode = config.archive_file_mode
        self._now_wall_ns = now_wall_ns
        self._events: list[Event] = []
        self._failure: Failure | None = None
        self.notes: list[str] = []
        """What was renamed, or cannot be done, for the operator."""

    def finish_files(self) -> ArchiveState:
        """Finish the files; return the archive with the documents that are pending."""
        files = {index: file for index in self._indices() if (file := self._find(index)) is not None}
        self._apply(FilesFound(files, STATS))
        return self._journal.archive

    def announce(self) -> tuple[ArchiveState, list[Event]]:
        """Write the documents that are missing; return the archive as it ended, and its events."""
        written = [index for index, document in self._journal.archive.owed.items() if self._complete(index, document)]
        for index in written:
            self._apply(DocumentWritten(index))
        for index in written:
            if index != WHOLE_FILE:
                self._apply(PartAnnounced(index))
        stop_wall_ns = self._journal.archive.stop_wall_ns or self._journal.archive.start_wall_ns
        self._end_parts(stop_wall_ns)
        if self._had_ended:
            self._apply(PartsEndAnnounced())
        else:
            self._apply(ArchiveClosed(stop_wall_ns, STATS, self._failure or NOTHING_LEFT))
        return self._journal.archive, self._events

    def give_up(self, reason: str) -> tuple[ArchiveState, list[Event]]:
        """Return the archive as failed, with archive.failed alone, after an internal error in the other steps."""
        failure = Failure(f"{NOT_RECOVERED}: {reason}")
        self.notes.append(f"{self._journal.media_names(WHOLE_FILE).path}: {failure.reason}")
        self._events = []
        self._apply(RecoveryFailed(STATS, failure))
        return self._journal.archive, self._events

    def _apply(self, fact: Fact) -> Sequence[DocumentFile]:
        step = apply(self._journal, fact, self._now_wall_ns)
        self._journal = step.journal
        self._events += step.events
        return step.documents

    def _indices(self) -> list[str]:
        """Return the indices of the files that may be there: parts in ascending order, then the whole file."""
        archive = self._journal.archive
        connection_id, suffix = archive.connection.connection_id, re.escape(self._container.suffix)
        pattern = re.compile(rf"\.?split-archive-{connection_id}_([0-9]{{4,9}})\.({suffix}|json)(\.part)?")
        numbers = {int(found[1]) for name in self._file_names() if (found := pattern.fullmatch(name))}
        parts = {split_index(number) for number in numbers if number > archive.parts_before}
        parts.update(archive.owed)
        return [*sorted(parts - {WHOLE_FILE}, key=int), *(() if self._had_ended else (WHOLE_FILE,))]

    def _file_names(self) -> list[str]:
        try:
            return [path.name for path in self._folder.iterdir()]
        except OSError:
            return []  # each file that is missing is noted by itself

    def _find(self, index: str) -> Document | FinishedFile | None:
        """Return the document of a file, or the file, finished; None where there is nothing to play."""
        names = self._journal.media_names(index)
        document = self._read_document(self._journal.document_names(index), AVAILABLE)
        known = document or self._journal.archive.owed.get(index)
        if known is not None:
            return known
        try:
            with archive_errors(names.path):
                return self._finish(names)
        except ArchiveError as error:
            self._note(error)
        except Exception as error:  # whatever is in the file, the others are finished
            log.exception("internal error, file not recovered", path=names.path)
            self._note(ArchiveError(f"{UNREADABLE}: {error!r}", None, names.path))
        return None

    def _note(self, error: ArchiveError) -> None:
        """Keep the first failure for archive.failed; note each."""
        self._failure = self._failure or error.failure
        self.notes.append(f"{error.path}: {error.reason}")

    def _read_document(self, names: FileNames, shape: Mapping[str, type]) -> Document | None:
        """Return the document under these names; one that is not this archive's is renamed: None."""
        try:
            document = msgspec.json.decode(Path(names.path).read_bytes())
        except OSError:
            return None
        except (msgspec.DecodeError, RecursionError, ValueError):
            document = None
        archive = self._journal.archive
        if is_document(document, shape, archive.recording_id, archive.connection.connection_id):
            return document
        self._set_aside(Path(names.path), Path(names.path))
        return None

    def _set_aside(self, path: Path, final: Path) -> None:
        """Rename what cannot be read, after the name that it has or should have had."""
        aside = aside_path(final, self._now_wall_ns)
        try:
            path.rename(aside)
        except OSError as error:
            self._note(archive_error(error, str(path)))
        else:
            self.notes.append(f"{path}: {UNREADABLE}; it is now {aside.name}")

    def _finish(self, names: FileNames) -> FinishedFile | None:
        """Finish a file under its final name; None, and no such file, where there is nothing to play."""
        is_named = Path(names.path).exists()
        path = names.path if is_named else names.in_progress_path
        try:
            file = self._container.repair(path)
        except FileNotFoundError:
            return None
        if isinstance(file, FinishedFile):
            if not is_named:
                publish_file(names)
            return file
        if file is Unplayable.EMPTY:
            Path(path).unlink()
        else:
            self._set_aside(Path(path), Path(names.path))
            self._failure = self._failure or Failure(UNREADABLE, None, names.path)
        return None

    def _complete(self, index: str, document: Document) -> bool:
        """Write the document of a file that has none; False where that fails.

        A file that is gone had its document: somebody moved both.
        """
        names, document_names = self._journal.media_names(index), self._journal.document_names(index)
        try:
            with archive_errors(names.path):
                if Path(names.path).exists() and not Path(document_names.path).exists():
                    write_json(document_names, document, self._file_mode)
        except ArchiveError as error:
            self._note(error)
            return False
        return True

    def _end_parts(self, stop_wall_ns: int) -> None:
        known = self._read_document(self._journal.parts_end_names, SPLIT_END) if self._journal.last_part else None
        for names, document in self._apply(PartsEnded(stop_wall_ns, STATS, known)):
            try:
                write_json(names, document, self._file_mode)
            except ArchiveError as error:
                self._note(error)
