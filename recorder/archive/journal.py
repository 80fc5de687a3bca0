"""The state machine of one archive: journal and fact in; journal, documents and events out. Pure.

Recording (`journal_writer.py`) and recovery after a crash (`recovery.py`) apply the same facts, and then do only the
I/O that a step orders:

1. store the archive's state together with the step's events, in one transaction;
2. write the step's documents, then apply `DocumentWritten` for a file's document.

So a document is stored as pending before it is written, and an event is stored only after its document is written.
Ids of events are derived, so a fact that is applied again after a crash causes the same event.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.container_table import container_of
from rokuga.recorder.archive.facts import (
    ArchiveClosed,
    ArchiveFailed,
    ArchiveOpened,
    DocumentWritten,
    Fact,
    Failure,
    FileFinished,
    FilesFound,
    Interrupted,
    PartAnnounced,
    PartSalvaged,
    PartsEndAnnounced,
    PartsEnded,
    RecoveryFailed,
    Stats,
)
from rokuga.recorder.archive.metadata import (
    FileFacts,
    archive_event,
    available_document,
    failed_document,
    kinds_of,
    split_end_document,
    started_document,
)
from rokuga.recorder.archive.names import FileNames, archive_names, split_end_names, split_index, split_names
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.events import Document, Event, EventType
from rokuga.recorder.media import NS_PER_MS, Kind
from rokuga.recorder.models import WHOLE_FILE, ArchiveState, ArchiveStatus, RecordingState


class DocumentFile(NamedTuple):
    """A document and where it is written."""

    names: FileNames
    document: Document


@dataclass(frozen=True, slots=True)
class Journal:
    """One archive: `archive` is stored, the rest is known to this process only.

    `written` has the files whose documents are written, by index. `parts_end` is the split-archive.end that is
    announced after all parts. `reason` is that of `Interrupted`.
    """

    recording: RecordingState
    archive: ArchiveState
    archive_dir: str
    has_whole_file: bool
    written: frozenset[str] = frozenset()
    reason: str = ""
    has_ended_parts: bool = False
    parts_end: Event | None = None

    def media_names(self, index: str) -> FileNames:
        """Return the names of a media file."""
        return self._names(index, container_of(self.recording.parameters).suffix)

    def document_names(self, index: str) -> FileNames:
        """Return the names of the document of a media file."""
        return self._names(index, "json")

    def _names(self, index: str, suffix: str) -> FileNames:
        place = self.archive_dir, self.recording.recording_id, self.archive.connection.connection_id
        if index == WHOLE_FILE:
            return archive_names(*place, suffix, self.archive.number)
        return split_names(*place, int(index), suffix)

    @property
    def parts_end_names(self) -> FileNames:
        """The names of the document of split-archive.end."""
        return split_end_names(self.archive_dir, self.recording.recording_id, self.archive.connection.connection_id)

    @property
    def has_ended(self) -> bool:
        """Whether the archive's own end is decided; its parts may go on in a later one."""
        return self.archive.status is not ArchiveStatus.WRITING

    @property
    def last_part(self) -> int:
        """The highest number of a part with a document, 0 without any; earlier archives of the connection count."""
        return max(int(self.archive.split_last_index or 0), *(int(index or 0) for index in (*self.written, "0")))

    def unwritten_parts(self) -> list[tuple[str, DocumentFile]]:
        """Return the pending documents of parts that are not written yet, by index, in ascending order."""
        return [
            (index, DocumentFile(self.document_names(index), document))
            for index, document in sorted(_pending_parts(self.archive).items(), key=lambda part: int(part[0]))
            if index not in self.written
        ]


class Step(NamedTuple):
    """What a fact leads to: see the module's docstring for the order of the I/O."""

    journal: Journal
    documents: Sequence[DocumentFile] = ()
    events: Sequence[Event] = ()


def apply(journal: Journal, fact: Fact, now_wall_ns: int) -> Step:  # noqa: PLR0911 - one return per fact
    """Return the step that a fact causes; `now_wall_ns` is the time of its events and new documents."""
    match fact:
        case ArchiveOpened():
            document = started_document(journal.recording, journal.archive)
            return Step(journal, events=[_archive_event(journal, EventType.ARCHIVE_STARTED, document, now_wall_ns)])
        case FileFinished():
            journal, file = _with_pending(journal, fact, now_wall_ns)
            return Step(journal, documents=[file])
        case PartSalvaged():
            return Step(_with_pending(journal, fact, now_wall_ns)[0])
        case FilesFound(files, stats):
            return Step(_with_found(journal, files, stats, now_wall_ns))
        case DocumentWritten(index):
            return Step(replace(journal, written=journal.written | {index}))
        case PartAnnounced(index):
            return _announce_part(journal, index, now_wall_ns)
        case PartsEnded():
            return _end_parts(journal, fact, now_wall_ns)
        case PartsEndAnnounced():
            return _announce_parts_end(journal)
        case Interrupted(reason):
            return Step(replace(journal, reason=reason))
        case ArchiveClosed() | ArchiveFailed():
            return _end(journal, fact, now_wall_ns)
        case RecoveryFailed():
            return _give_up(journal, fact, now_wall_ns)


def next_archive(archive: ArchiveState, start_wall_ns: int) -> ArchiveState:
    """Return the next archive of the same connection, which continues the parts of this one, as it begins."""
    pending = _pending_parts(archive)
    has_parts = bool(pending or archive.split_last_index)
    return ArchiveState(
        archive.recording_id,
        archive.connection,
        archive.audio,
        archive.video,
        start_wall_ns,
        split_last_index=archive.split_last_index,
        split_kinds=archive.split_kinds,
        owed=pending,
        number=archive.number + 1,
        parts_before=max(archive.parts_before, int(archive.split_last_index or 0), *map(int, pending)),
        parts_start_wall_ns=archive.parts_start_wall_ns or (archive.start_wall_ns if has_parts else None),
    )


def unfinished(archives: Sequence[ArchiveState]) -> list[ArchiveState]:
    """Return the archives to recover: those being written, and those whose parts have no end yet."""
    newest = {archive.connection.connection_id: archive.number for archive in archives}
    return [
        archive
        for archive in archives
        if archive.status is ArchiveStatus.WRITING
        or (archive.owes_parts_end and archive.number == newest[archive.connection.connection_id])
    ]


def _with_pending(
    journal: Journal, fact: FileFinished | PartSalvaged, now_wall_ns: int
) -> tuple[Journal, DocumentFile]:
    document = _file_document(journal, fact.index, fact.file, fact.stop_wall_ns, fact.stats, now_wall_ns)
    pending = {**journal.archive.owed, fact.index: document}
    journal = replace(journal, archive=replace(journal.archive, owed=pending))
    return journal, DocumentFile(journal.document_names(fact.index), document)


def _with_found(
    journal: Journal, files: dict[str, Document | FinishedFile], stats: Stats, now_wall_ns: int
) -> Journal:
    """Make the documents that are missing. The whole file and the last part end together, other parts at the next."""
    archive = journal.archive
    known_wall_ns = archive.stop_wall_ns or archive.start_wall_ns
    stop_wall_ns = until_wall_ns = max([known_wall_ns, *map(_stop_wall_ns, files.values())])
    documents: dict[str, Document] = {}
    for index, found in reversed(files.items()):
        if isinstance(found, FinishedFile):
            document = _file_document(journal, index, found, until_wall_ns, stats, now_wall_ns)
        else:
            document = found
        documents[index] = document
        if index != WHOLE_FILE:
            until_wall_ns = from_rfc3339(document["start_timestamp"])
    pending = dict(reversed(documents.items()))
    return replace(journal, archive=replace(archive, owed=pending, stop_wall_ns=stop_wall_ns))


def _stop_wall_ns(found: Document | FinishedFile) -> int:
    """Return the end of a file as its document says, or else by its media."""
    if isinstance(found, FinishedFile):
        return found.start_wall_ns + found.duration_ms * NS_PER_MS
    return from_rfc3339(found["stop_timestamp"])


def _file_document(
    journal: Journal, index: str, file: FinishedFile, stop_wall_ns: int, stats: Stats, now_wall_ns: int
) -> Document:
    facts = FileFacts(journal.media_names(index), journal.document_names(index), file, stop_wall_ns)
    part = None if index == WHOLE_FILE else int(index)
    return available_document(journal.recording, journal.archive, facts, stats, now_wall_ns, part, journal.reason)


def _announce_part(journal: Journal, index: str, now_wall_ns: int) -> Step:
    archive = journal.archive
    document = archive.owed.get(index)
    if document is None:  # announced before
        return Step(journal)
    archive = replace(
        archive,
        stop_wall_ns=max(archive.stop_wall_ns or 0, from_rfc3339(document["stop_timestamp"])),
        split_last_index=split_index(max(int(archive.split_last_index or 0), int(index))),
        split_kinds=archive.split_kinds | kinds_of(document),
        owed={key: pending for key, pending in archive.owed.items() if key != index},
    )
    event = _event(journal, EventType.SPLIT_ARCHIVE_AVAILABLE, document, now_wall_ns, index)
    return Step(replace(journal, archive=archive), events=[event])


def _end_parts(journal: Journal, fact: PartsEnded, now_wall_ns: int) -> Step:
    if journal.has_ended_parts:
        return Step(journal)
    journal = replace(journal, has_ended_parts=True, archive=replace(journal.archive, owes_parts_end=False))
    if not journal.last_part:
        return Step(journal)
    document = fact.document
    files = []
    if document is None:
        names = journal.parts_end_names
        parts = replace(
            journal.archive, split_last_index=split_index(journal.last_part), split_kinds=_part_kinds(journal)
        )
        document = split_end_document(journal.recording, parts, names, fact.stop_wall_ns, fact.stats)
        files = [DocumentFile(names, document)]
    event = _event(journal, EventType.SPLIT_ARCHIVE_END, document, now_wall_ns)
    return Step(replace(journal, parts_end=event), documents=files)


def _part_kinds(journal: Journal) -> frozenset[Kind]:
    """Return the kinds that the parts contain, also those that are written and not announced yet."""
    written = [document for index, document in _pending_parts(journal.archive).items() if index in journal.written]
    return journal.archive.split_kinds.union(*map(kinds_of, written))


def _announce_parts_end(journal: Journal) -> Step:
    journal, events = _release_parts_end(journal)
    if journal.has_ended and journal.has_ended_parts:  # what is still pending found no place on the disk
        journal = replace(journal, archive=replace(journal.archive, owed={}))
    return Step(journal, events=events)


def _release_parts_end(journal: Journal) -> tuple[Journal, list[Event]]:
    events = [] if journal.parts_end is None else [journal.parts_end]
    return replace(journal, parts_end=None), events


def _end(journal: Journal, fact: ArchiveClosed | ArchiveFailed, now_wall_ns: int) -> Step:
    """End the archive: available if its whole file is, or, where none is written, one of its own parts."""
    journal, events = _release_parts_end(journal)
    archive = journal.archive
    whole = archive.owed.get(WHOLE_FILE) if WHOLE_FILE in journal.written else None
    has_parts = journal.last_part > archive.parts_before
    failure = fact.failure if isinstance(fact, ArchiveFailed) else None
    if (
        failure is None
        and isinstance(fact, ArchiveClosed)
        and whole is None
        and (journal.has_whole_file or not has_parts)
    ):
        failure = fact.failure_if_empty
    if failure is not None:
        events.append(_failed_event(journal, fact.stop_wall_ns, fact.stats, failure, now_wall_ns))
    elif whole is not None:
        events.append(_archive_event(journal, EventType.ARCHIVE_AVAILABLE, whole, now_wall_ns))
    may_continue = journal.recording.parameters.split_duration is not None and not journal.has_ended_parts
    archive = replace(
        archive,
        status=ArchiveStatus.AVAILABLE if failure is None else ArchiveStatus.FAILED,
        stop_wall_ns=fact.stop_wall_ns,
        document=whole if failure is None else None,
        owed=_pending_parts(archive) if may_continue else {},
        owes_parts_end=may_continue,
    )
    return Step(replace(journal, archive=archive), events=events)


def _give_up(journal: Journal, fact: RecoveryFailed, now_wall_ns: int) -> Step:
    """Fail the archive with archive.failed alone; files stay as they are."""
    archive = replace(journal.archive, owed={}, owes_parts_end=False)
    if journal.has_ended:
        return Step(replace(journal, archive=archive))
    stop_wall_ns = archive.stop_wall_ns or archive.start_wall_ns
    event = _failed_event(journal, stop_wall_ns, fact.stats, fact.failure, now_wall_ns)
    archive = replace(archive, status=ArchiveStatus.FAILED, stop_wall_ns=stop_wall_ns)
    return Step(replace(journal, archive=archive), events=[event])


def _failed_event(journal: Journal, stop_wall_ns: int, stats: Stats, failure: Failure, now_wall_ns: int) -> Event:
    names = journal.media_names(WHOLE_FILE)
    document = failed_document(journal.recording, journal.archive, names, stop_wall_ns, stats, *failure)
    return _archive_event(journal, EventType.ARCHIVE_FAILED, document, now_wall_ns)


def _archive_event(journal: Journal, event_type: EventType, document: Document, now_wall_ns: int) -> Event:
    """Return an event about the archive; the id has its number, unless it is the connection's first one."""
    about = (str(journal.archive.number),) if journal.archive.number > 1 else ()
    return _event(journal, event_type, document, now_wall_ns, *about)


def _event(journal: Journal, event_type: EventType, document: Document, now_wall_ns: int, *about: str) -> Event:
    return archive_event(event_type, journal.recording, journal.archive.connection, now_wall_ns, document, *about)


def _pending_parts(archive: ArchiveState) -> dict[str, Document]:
    return {index: document for index, document in archive.owed.items() if index != WHOLE_FILE}
