"""After a crash: finishes the files of one archive from what is on the disk, and says what was not said.

The order of writing tells what is owed: a file has its final name when it is whole, its document comes after it, its
event after both. Ids of events follow from what they are about, so all of them are said again and none twice.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from rokuga.recorder.archive.disk import ArchiveError, archive_errors, publish_file, write_json
from rokuga.recorder.archive.metadata import (
    FileFacts,
    WholeFile,
    archive_event,
    available_document,
    failed_document,
    kinds_of,
    split_end_document,
)
from rokuga.recorder.archive.names import FileNames, archive_names, split_end_names, split_index, split_names
from rokuga.recorder.archive.repair import make_whole
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.events import Document, Event, EventType
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.states import WHOLE, ArchiveState, ArchiveStatus, RecordingState

NOTHING_LEFT: Final = "nothing was left of it to play after a crash"
STATS: Final[Mapping[str, Any]] = {"is_recovered": True}
"""The counters were lost with the process."""


class Recovery:
    """Recovers one archive in two steps: between them the store has to keep what the first one gives.

    All of it runs in the writer's thread.
    """

    def __init__(
        self, config: RecorderConfig, recording: RecordingState, archive: ArchiveState, now_wall_ns: int
    ) -> None:
        self._config = config
        self._recording = recording
        self._archive = archive
        self._now_wall_ns = now_wall_ns
        self._place = (str(config.archive_dir), recording.recording_id, archive.connection.connection_id)
        self._events: list[Event] = []
        self._failure: ArchiveError | None = None

    def finish_files(self) -> ArchiveState:
        """Make whole what files can be; give the archive with the documents that are owed."""
        pattern = re.compile(rf"\.?split-archive-{self._place[2]}_(\d{{4,}})\.(webm|json)(\.part)?")
        indices = {found[1] for name in self._folder() if (found := pattern.fullmatch(name))}
        indices.update(self._archive.owed)
        names = (*sorted(indices - {WHOLE}, key=int), WHOLE)
        files = {index: file for index in names if (file := self._found(index)) is not None}
        known_wall_ns = self._archive.stop_wall_ns or self._archive.start_wall_ns
        stop_wall_ns = until_wall_ns = max([known_wall_ns, *map(_stop_wall_ns, files.values())])
        documents: dict[str, Document] = {}
        for index, file in reversed(files.items()):  # the whole and the last part end together
            documents[index] = document = self._document(index, file, until_wall_ns)
            if index != WHOLE:  # each part before ends where the next one begins
                until_wall_ns = from_rfc3339(document["start_timestamp"])
        owed = dict(reversed(documents.items()))
        self._archive = replace(self._archive, owed=owed, stop_wall_ns=stop_wall_ns)
        return self._archive

    def announce(self) -> tuple[ArchiveState, list[Event]]:
        """Put the documents beside their files; give the archive as it ended, and its events."""
        told = {index: owed for index, owed in self._archive.owed.items() if self._put_beside(index, owed)}
        whole = told.pop(WHOLE, None)
        stop_wall_ns = self._archive.stop_wall_ns or self._archive.start_wall_ns
        for index, document in told.items():
            self._say(EventType.SPLIT_ARCHIVE_AVAILABLE, document, index)
        last = max(map(int, (*told, self._archive.split_last_index or 0)))
        if last:
            kinds = self._archive.split_kinds.union(*map(kinds_of, told.values()))
            self._archive = replace(self._archive, split_last_index=split_index(last), split_kinds=kinds)
            self._end_splits(stop_wall_ns)
        owes_whole = self._recording.parameters.has_whole_files(self._config.recording_dual_output)
        is_available = whole is not None or (bool(last) and not owes_whole)
        if whole is not None:
            self._say(EventType.ARCHIVE_AVAILABLE, whole)
        if not is_available:
            self._say(EventType.ARCHIVE_FAILED, self._failed(stop_wall_ns))
        status = ArchiveStatus.AVAILABLE if is_available else ArchiveStatus.FAILED
        ended = replace(self._archive, status=status, stop_wall_ns=stop_wall_ns, document=whole, owed={})
        return ended, self._events

    def _folder(self) -> list[str]:
        try:
            return [path.name for path in (self._config.archive_dir / self._recording.recording_id).iterdir()]
        except OSError:
            return []  # each file that is missed says so itself

    def _names(self, index: str, extension: str) -> FileNames:
        if index == WHOLE:
            return archive_names(*self._place, extension)
        return split_names(*self._place, int(index), extension)

    def _found(self, index: str) -> Document | WholeFile | None:
        """Give the document of a file, or without one the file, made whole; None where there is nothing to play."""
        names = self._names(index, "webm")
        known = _read_document(self._names(index, "json")) or self._archive.owed.get(index)
        if known is not None:
            return known
        try:
            with archive_errors(names.path):
                return _finish(names)
        except ArchiveError as error:
            self._failure = self._failure or error
            return None

    def _document(self, index: str, file: Document | WholeFile, stop_wall_ns: int) -> Document:
        """Give the document of a file, which ends at `stop_wall_ns` if it says nothing else."""
        if not isinstance(file, WholeFile):
            return file
        facts = FileFacts(self._names(index, "webm"), self._names(index, "json"), file, stop_wall_ns)
        part = None if index == WHOLE else int(index)
        return available_document(self._recording, self._archive, facts, STATS, self._now_wall_ns, part)

    def _put_beside(self, index: str, document: Document) -> bool:
        """Write a document where its file lies without one. A file that was taken away had its document beside it."""
        names, metadata_names = self._names(index, "webm"), self._names(index, "json")
        try:
            with archive_errors(names.path):
                if Path(names.path).exists() and not Path(metadata_names.path).exists():
                    write_json(metadata_names, document, self._config.archive_file_mode)
        except ArchiveError as error:
            self._failure = self._failure or error
            return False
        return True

    def _end_splits(self, stop_wall_ns: int) -> None:
        names = split_end_names(*self._place)
        document = _read_document(names)
        if document is None:
            document = split_end_document(self._recording, self._archive, names, stop_wall_ns, STATS)
            try:
                write_json(names, document, self._config.archive_file_mode)
            except ArchiveError as error:
                self._failure = self._failure or error
        self._say(EventType.SPLIT_ARCHIVE_END, document)

    def _failed(self, stop_wall_ns: int) -> Document:
        names = archive_names(*self._place, "webm")
        failure = self._failure or ArchiveError(NOTHING_LEFT, None, "")
        reason, errno, path = failure.reason, failure.errno, failure.path
        return failed_document(self._recording, self._archive, names, stop_wall_ns, STATS, reason, errno, path)

    def _say(self, event_type: EventType, document: Document, *about: str) -> None:
        connection = self._archive.connection
        self._events.append(
            archive_event(event_type, self._recording, connection, self._now_wall_ns, document, *about)
        )


def remove_leftovers(folder: Path) -> None:
    """End the files in progress that nobody will finish: what can be played gets its name, the rest goes."""
    with contextlib.suppress(OSError):  # whoever needs the folder says what is wrong with it
        for path in list(folder.glob(".*.part")):
            name = path.name.removeprefix(".").removesuffix(".part")
            if path.match("*.webm.part") and make_whole(str(path)) is not None:
                path.rename(folder / name)
            else:
                path.unlink()


def _finish(names: FileNames) -> WholeFile | None:
    """Make a file whole under its final name; None, and no file, where there is nothing to play."""
    if Path(names.path).exists():
        return make_whole(names.path)
    try:
        file = make_whole(names.in_progress_path)
    except FileNotFoundError:
        return None
    if file is None:
        Path(names.in_progress_path).unlink()
    else:
        publish_file(names)
    return file


def _read_document(names: FileNames) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(Path(names.path).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return None


def _stop_wall_ns(file: Document | WholeFile) -> int:
    """Give the end that a file has by its document, or else by its media."""
    if isinstance(file, WholeFile):
        return file.start_wall_ns + file.duration_ms * NS_PER_MS
    return from_rfc3339(file["stop_timestamp"])
