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

from rokuga.recorder.archive.metadata import (
    FileFacts,
    WholeFile,
    archive_event,
    available_document,
    failed_document,
    split_end_document,
)
from rokuga.recorder.archive.names import FileNames, archive_names, split_end_names, split_index, split_names
from rokuga.recorder.archive.repair import make_whole
from rokuga.recorder.archive.writer import ArchiveError, archive_errors, publish_file, write_json
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.config import RecorderConfig
from rokuga.recorder.events import Document, Event, EventType
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.states import ArchiveState, ArchiveStatus, RecordingState

NOTHING_LEFT: Final = "nothing was left of it to play after a crash"
STATS: Final[Mapping[str, Any]] = {"is_recovered": True}
"""The counters were lost with the process."""


class Recovery:
    """Recovers one archive; all of it runs in the writer's thread."""

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

    def run(self) -> tuple[ArchiveState, list[Event]]:
        """Finish what can be finished; give the archive as it ended, and every event that follows from it."""
        parts = self._parts()
        whole = self._file(archive_names(*self._place, "webm"), archive_names(*self._place, "json"))
        documents = [*parts.values(), *([whole] if whole is not None else [])]
        stop_wall_ns = max((_stop_wall_ns(document) for document in documents), default=self._archive.start_wall_ns)
        last = max(map(int, (*parts, self._archive.split_last_index or 0)))
        if last:
            self._archive = replace(self._archive, split_last_index=split_index(last))
            self._end_splits(stop_wall_ns)
        owes_whole = self._recording.parameters.has_whole_files(self._config.recording_dual_output)
        is_available = whole is not None or (bool(last) and not owes_whole)
        if whole is not None:
            self._say(EventType.ARCHIVE_AVAILABLE, whole)
        if not is_available:
            self._say(EventType.ARCHIVE_FAILED, self._failed(stop_wall_ns))
        status = ArchiveStatus.AVAILABLE if is_available else ArchiveStatus.FAILED
        return replace(self._archive, status=status, stop_wall_ns=stop_wall_ns, document=whole), self._events

    def _parts(self) -> dict[str, Document]:
        """Finish the parts in their order; give the document of each by its index."""
        pattern = re.compile(rf"\.?split-archive-{self._place[2]}_(\d{{4,}})\.(webm|json)(\.part)?")
        indices = {int(found[1]) for name in self._folder() if (found := pattern.fullmatch(name))}
        parts: dict[str, Document] = {}
        for index in sorted(indices):
            names = split_names(*self._place, index, "webm")
            document = self._file(names, split_names(*self._place, index, "json"), index)
            if document is not None:
                parts[split_index(index)] = document
                self._say(EventType.SPLIT_ARCHIVE_AVAILABLE, document, split_index(index))
        return parts

    def _folder(self) -> list[str]:
        try:
            return [path.name for path in (self._config.archive_dir / self._recording.recording_id).iterdir()]
        except OSError:
            return []  # each file that is missed says so itself

    def _file(self, names: FileNames, metadata_names: FileNames, index: int | None = None) -> Document | None:
        """Finish one file and give its document; None where there is nothing to play."""
        written = _read_document(metadata_names)
        if written is not None:
            return written
        try:
            with archive_errors(names.path):
                file = _finish(names)
            if file is None:
                return None
            stop_wall_ns = file.start_wall_ns + file.duration_ms * NS_PER_MS
            facts = FileFacts(names, metadata_names, file, stop_wall_ns)
            document = available_document(self._recording, self._archive, facts, STATS, self._now_wall_ns, index)
            write_json(metadata_names, document, self._config.archive_file_mode)
        except ArchiveError as error:
            self._failure = self._failure or error
            return None
        return document

    def _end_splits(self, stop_wall_ns: int) -> None:
        names = split_end_names(*self._place)
        document = _read_document(names)
        if document is None:
            document = split_end_document(self._recording, self._archive, names, stop_wall_ns, STATS)
            try:
                write_json(names, document, self._config.archive_file_mode)
            except ArchiveError as error:
                self._failure = self._failure or error
                return
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


def _stop_wall_ns(document: Document) -> int:
    return from_rfc3339(document["stop_timestamp"])
