"""The report of a recording: the data of recording.report, and the file that is written last."""

from collections.abc import Iterable

from rokuga.recorder.archive.metadata import Json, client_document, offset_s, recording_document
from rokuga.recorder.archive.names import report_names
from rokuga.recorder.clock import rfc3339
from rokuga.recorder.states import REPORTED, ArchiveState, ArchiveStatus, RecordingState


def report_document(
    archive_dir: str,
    label: str,
    node_name: str,
    recording: RecordingState,
    archives: Iterable[ArchiveState],
) -> Json:
    """Give the data of recording.report, which is also the report file. `file_written` is set by who writes it.

    `node_name` is ours, for archives that do not say whose they are.
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
        "archives": [
            place(archive) | _reported(recording, archive)
            for archive in listed
            if archive.status is ArchiveStatus.AVAILABLE
        ],
        "failed_archives": [
            place(archive) | client_document(archive.connection)
            for archive in listed
            if archive.status is not ArchiveStatus.AVAILABLE
        ],
    }


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
        entry |= {key: archive.document[key] for key in REPORTED if key in archive.document}
    if archive.split_last_index is not None:
        entry["split_last_index"] = archive.split_last_index
    return entry
