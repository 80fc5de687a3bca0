"""After a crash: finishes the files of one archive from what is on the disk, and says what was not said.

The order of writing tells what is owed: a file has its final name when it is whole, its document comes after it, its
event after both. Ids of events follow from what they are about, so all of them are said again and none twice.

Anybody may have changed what lies there. A document or a file that cannot be understood is set aside under another
name, reported in `notes`, and made again from what else there is; the other files of the archive do not suffer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from rokuga.recorder.archive.documents import AVAILABLE, SPLIT_END, is_document
from rokuga.recorder.archive.metadata import (
    FileFacts,
    archive_event,
    available_document,
    failed_document,
    kinds_of,
    split_end_document,
)
from rokuga.recorder.archive.names import FileNames, archive_names, split_end_names, split_index, split_names
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.directories import aside_path
from rokuga.recorder.events import Document, Event, EventType
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.models import WHOLE_FILE, ArchiveState, ArchiveStatus, RecordingState

log = structlog.get_logger()

UNREADABLE: Final = "its content cannot be read"
NOT_RECOVERED: Final = "its files are not finished after a crash"
NOTHING_LEFT: Final = "nothing was left of it to play after a crash"
STATS: Final[Mapping[str, Any]] = {"is_recovered": True}
"""The counters were lost with the process."""


class Recovery:
    """Recovers one archive in two steps: between them the store has to keep what the first one gives.

    Of an archive that had ended, and that another one was to follow, only the parts are left to be told.
    All of it runs in the writer's thread.
    """

    def __init__(
        self, config: RecorderConfig, recording: RecordingState, archive: ArchiveState, now_wall_ns: int
    ) -> None:
        self._config = config
        self._recording = recording
        self._archive = archive
        self._now_wall_ns = now_wall_ns
        self._container = container_of(recording.parameters)
        self._has_ended = archive.status is not ArchiveStatus.WRITING
        self._place = (str(config.archive_dir), recording.recording_id, archive.connection.connection_id)
        self._events: list[Event] = []
        self._failure: ArchiveError | None = None
        self.notes: list[str] = []
        """What was set aside, or cannot be done, for the operator."""

    def finish_files(self) -> ArchiveState:
        """Make whole what files can be; give the archive with the documents that are owed."""
        media = re.escape(self._container.suffix)
        pattern = re.compile(rf"\.?split-archive-{self._place[2]}_([0-9]{{4,9}})\.({media}|json)(\.part)?")
        numbers = {int(found[1]) for name in self._folder() if (found := pattern.fullmatch(name))}
        indices = {split_index(number) for number in numbers if number > self._archive.parts_before}
        indices.update(self._archive.owed)
        whole = () if self._has_ended else (WHOLE_FILE,)
        names = (*sorted(indices - {WHOLE_FILE}, key=int), *whole)
        files = {index: file for index in names if (file := self._found(index)) is not None}
        known_wall_ns = self._archive.stop_wall_ns or self._archive.start_wall_ns
        stop_wall_ns = until_wall_ns = max([known_wall_ns, *map(_stop_wall_ns, files.values())])
        documents: dict[str, Document] = {}
        for index, file in reversed(files.items()):  # the whole and the last part end together
            documents[index] = document = self._document(index, file, until_wall_ns)
            if index != WHOLE_FILE:  # each part before ends where the next one begins
                until_wall_ns = from_rfc3339(document["start_timestamp"])
        owed = dict(reversed(documents.items()))
        self._archive = replace(self._archive, owed=owed, stop_wall_ns=stop_wall_ns)
        return self._archive

    def announce(self) -> tuple[ArchiveState, list[Event]]:
        """Put the documents beside their files; give the archive as it ended, and its events."""
        told = {index: owed for index, owed in self._archive.owed.items() if self._put_beside(index, owed)}
        whole = told.pop(WHOLE_FILE, None)
        stop_wall_ns = self._archive.stop_wall_ns or self._archive.start_wall_ns
        for index, document in told.items():
            self._say(EventType.SPLIT_ARCHIVE_AVAILABLE, document, index)
        last = max(map(int, (*told, self._archive.split_last_index or 0)))
        if last:
            kinds = self._archive.split_kinds.union(*map(kinds_of, told.values()))
            self._archive = replace(self._archive, split_last_index=split_index(last), split_kinds=kinds)
            self._end_splits(stop_wall_ns)
        if self._has_ended:
            ended = replace(self._archive, owed={}, owes_parts_end=False)
            return ended, self._events
        owes_whole = self._recording.parameters.has_whole_files(self._config.recording_dual_output)
        is_available = whole is not None or (last > self._archive.parts_before and not owes_whole)
        if whole is not None:
            self._say(EventType.ARCHIVE_AVAILABLE, whole, *self._about)
        if not is_available:
            self._say(EventType.ARCHIVE_FAILED, self._failed(stop_wall_ns), *self._about)
        status = ArchiveStatus.AVAILABLE if is_available else ArchiveStatus.FAILED
        ended = replace(self._archive, status=status, stop_wall_ns=stop_wall_ns, document=whole, owed={})
        return ended, self._events

    def give_up(self, reason: str) -> tuple[ArchiveState, list[Event]]:
        """Return the archive as failed, with archive.failed alone; files stay as they are.

        For a fault of ours in the other two steps.
        """
        self._failure = ArchiveError(f"{NOT_RECOVERED}: {reason}", None, "")
        self.notes.append(f"{self._names(WHOLE_FILE, self._container.suffix).path}: {self._failure.reason}")
        self._events = []
        if self._has_ended:
            return replace(self._archive, owed={}, owes_parts_end=False), self._events
        stop_wall_ns = self._archive.stop_wall_ns or self._archive.start_wall_ns
        self._say(EventType.ARCHIVE_FAILED, self._failed(stop_wall_ns), *self._about)
        return replace(self._archive, status=ArchiveStatus.FAILED, stop_wall_ns=stop_wall_ns, owed={}), self._events

    @property
    def _about(self) -> tuple[str, ...]:
        """What tells this archive's events from those of the connection's first one."""
        return (str(self._archive.number),) if self._archive.number > 1 else ()

    def _folder(self) -> list[str]:
        try:
            return [path.name for path in (self._config.archive_dir / self._recording.recording_id).iterdir()]
        except OSError:
            return []  # each file that is missed says so itself

    def _names(self, index: str, extension: str) -> FileNames:
        if index == WHOLE_FILE:
            return archive_names(*self._place, extension, self._archive.number)
        return split_names(*self._place, int(index), extension)

    def _found(self, index: str) -> Document | FinishedFile | None:
        """Give the document of a file, or without one the file, made whole; None where there is nothing to play."""
        names = self._names(index, self._container.suffix)
        known = self._document_beside(self._names(index, "json"), AVAILABLE) or self._archive.owed.get(index)
        if known is not None:
            return known
        try:
            with archive_errors(names.path):
                return self._finish(names)
        except ArchiveError as error:
            self._fail(error)
        except Exception as error:  # whatever is in the file, the others are finished
            log.exception("unexpected fault", path=names.path)
            self._fail(ArchiveError(f"{UNREADABLE}: {error!r}", None, names.path))
        return None

    def _fail(self, error: ArchiveError) -> None:
        """Keep the first fault for archive.failed; note each."""
        self._failure = self._failure or error
        self.notes.append(f"{error.path}: {error.reason}")

    def _document_beside(self, names: FileNames, shape: Mapping[str, type]) -> dict[str, Any] | None:
        """Return the document under these names; one that is there and not ours is set aside: None."""
        try:
            document = msgspec.json.decode(Path(names.path).read_bytes())
        except OSError:
            return None
        except (msgspec.DecodeError, RecursionError, ValueError):
            document = None
        if is_document(document, shape, self._place[1], self._archive.connection.connection_id):
            return dict(document)
        self._set_aside(Path(names.path), Path(names.path))
        return None

    def _set_aside(self, path: Path, final: Path) -> None:
        """Rename what cannot be understood, after the name that it has or should have had."""
        aside = aside_path(final, self._now_wall_ns)
        try:
            path.rename(aside)
        except OSError as error:
            self._fail(archive_error(error, str(path)))
        else:
            self.notes.append(f"{path}: {UNREADABLE}; it is now {aside.name}")

    def _finish(self, names: FileNames) -> FinishedFile | None:
        """Make a file whole under its final name; None, and no such file, where there is nothing to play."""
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
            self._failure = self._failure or ArchiveError(UNREADABLE, None, names.path)
        return None

    def _document(self, index: str, file: Document | FinishedFile, stop_wall_ns: int) -> Document:
        """Give the document of a file, which ends at `stop_wall_ns` if it says nothing else."""
        if not isinstance(file, FinishedFile):
            return file
        facts = FileFacts(self._names(index, self._container.suffix), self._names(index, "json"), file, stop_wall_ns)
        part = None if index == WHOLE_FILE else int(index)
        return available_document(self._recording, self._archive, facts, STATS, self._now_wall_ns, part)

    def _put_beside(self, index: str, document: Document) -> bool:
        """Write a document where its file lies without one. A file that was taken away had its document beside it."""
        names, metadata_names = self._names(index, self._container.suffix), self._names(index, "json")
        try:
            with archive_errors(names.path):
                if Path(names.path).exists() and not Path(metadata_names.path).exists():
                    write_json(metadata_names, document, self._config.archive_file_mode)
        except ArchiveError as error:
            self._fail(error)
            return False
        return True

    def _end_splits(self, stop_wall_ns: int) -> None:
        names = split_end_names(*self._place)
        document = self._document_beside(names, SPLIT_END)
        if document is None:
            document = split_end_document(self._recording, self._archive, names, stop_wall_ns, STATS)
            try:
                write_json(names, document, self._config.archive_file_mode)
            except ArchiveError as error:
                self._fail(error)
        self._say(EventType.SPLIT_ARCHIVE_END, document)

    def _failed(self, stop_wall_ns: int) -> Document:
        names = self._names(WHOLE_FILE, self._container.suffix)
        failure = self._failure or ArchiveError(NOTHING_LEFT, None, "")
        reason, errno, path = failure.reason, failure.errno, failure.path
        return failed_document(self._recording, self._archive, names, stop_wall_ns, STATS, reason, errno, path)

    def _say(self, event_type: EventType, document: Document, *about: str) -> None:
        connection = self._archive.connection
        self._events.append(
            archive_event(event_type, self._recording, connection, self._now_wall_ns, document, *about)
        )


def unfinished(archives: Sequence[ArchiveState]) -> list[ArchiveState]:
    """Give the archives that are to be recovered: those being written, and those whose parts have no end yet."""
    newest = {archive.connection.connection_id: archive.number for archive in archives}
    return [
        archive
        for archive in archives
        if archive.status is ArchiveStatus.WRITING
        or (archive.owes_parts_end and archive.number == newest[archive.connection.connection_id])
    ]


def _stop_wall_ns(file: Document | FinishedFile) -> int:
    """Give the end that a file has by its document, or else by its media."""
    if isinstance(file, FinishedFile):
        return file.start_wall_ns + file.duration_ms * NS_PER_MS
    return from_rfc3339(file["stop_timestamp"])
