"""The report of a recording: the data of recording.report, and the file that is written last."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rokuga.recorder.archive.metadata import Json, client_document, offset_s, recording_document
from rokuga.recorder.archive.names import report_names, split_index
from rokuga.recorder.clock import rfc3339
from rokuga.recorder.models import REPORT_FIELDS, ArchiveState, ArchiveStatus, RecordingState


def report_document(
    archive_dir: str,
    label: str,
    node_name: str,
    recording: RecordingState,
    archives: Iterable[ArchiveState],
) -> Json:
    """Return the data of recording.report, which is also the report file; the caller sets `file_written`.

    `node_name` is that of archives without one of their own.
    """
    names = report_names(archive_dir, recording.recording_id)
    listed = list(archives)

    def place(archive: ArchiveState) -> Json:
        return {"label": label, "node_name": archive.node_name or node_name}

    return {
        **recording_document(recording),
        "file_path": names.path,
        "filename": names.name,
        "file_written": True,
        "stop_timestamp": rfc3339(recording.stop_wall_ns or recording.start_wall_ns),
        "archives": [place(archive) | _reported(recording, archive) for archive in _available(listed)],
        "failed_archives": [
            place(archive) | client_document(archive.connection)
            for archive in listed
            if archive.status is not ArchiveStatus.AVAILABLE
        ],
    }


def _available(archives: Sequence[ArchiveState]) -> Iterable[ArchiveState]:
    """Yield the available archives so that the parts of a connection are listed once.

    A reader derives the names of all parts, from 0001 on, from `split_last_index`. So only the last one of a
    connection's archives has it, for all of them; with `split_only` that one is the only entry.
    """
    available = [archive for archive in archives if archive.status is ArchiveStatus.AVAILABLE]
    newest = {archive.connection.connection_id: archive for archive in available}
    for archive in available:
        connection_id = archive.connection.connection_id
        if archive is not newest[connection_id]:
            if archive.document is not None:
                yield replace(archive, split_last_index=None)
            continue
        parts = [
            int(other.split_last_index)
            for other in archives
            if other.connection.connection_id == connection_id and other.split_last_index is not None
        ]
        last = split_index(max(parts)) if parts else None
        start_wall_ns = archive.start_wall_ns
        if archive.document is None:
            start_wall_ns = archive.parts_start_wall_ns or start_wall_ns
        yield replace(archive, split_last_index=last, start_wall_ns=start_wall_ns)


def _reported(recording: RecordingState, archive: ArchiveState) -> Json:
    stop_wall_ns = archive.stop_wall_ns or archive.start_wall_ns
    entry = {
        **client_document(archive.connection),
        "start_time_offset": offset_s(recording, archive.start_wall_ns),
        "start_timestamp": rfc3339(archive.start_wall_ns),
        "stop_time_offset": offset_s(recording, stop_wall_ns),
        "stop_timestamp": rfc3339(stop_wall_ns),
    }
    if archive.document is not None:
        entry |= {key: archive.document[key] for key in REPORT_FIELDS if key in archive.document}
    if archive.split_last_index is not None:
        entry["split_last_index"] = archive.split_last_index
    return entry
