"""The documents: JSON objects that are written beside the media files and are the `data` of the events.

Fields and types are those of Sora's own types of webhooks (sora-server-sdk-ts, 2023.2). `*_time` is unix seconds,
`*_offset` whole seconds since the recording's `created_at`, `*_timestamp` RFC 3339 with microseconds.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from rokuga.recorder.archive.container import FinishedFile
from rokuga.recorder.archive.container_table import container_of
from rokuga.recorder.archive.names import FileNames, split_index
from rokuga.recorder.clock import rfc3339
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.events import Document, Event, EventType, event_id
from rokuga.recorder.media import NS_PER_S, Kind
from rokuga.recorder.models import ArchiveState, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A finished file with its names and its end."""

    names: FileNames
    metadata_names: FileNames
    file: FinishedFile
    stop_wall_ns: int


def encode_document(document: Mapping[str, Any]) -> bytes:
    """Encode a document as it is on the disk: compact, keys in alphabetical order."""
    return msgspec.json.encode(document, order="deterministic")


def recording_document(recording: RecordingState) -> Json:
    """Return the data of recording.started."""
    parameters = recording.parameters
    document: Json = {
        "channel_id": parameters.channel_id,
        "recording_id": recording.recording_id,
        "split_only": bool(parameters.split_only),
        "created_at": recording.created_at,
        "expire_time": parameters.expire_time,
        "start_timestamp": rfc3339(recording.start_wall_ns),
    }
    if parameters.split_duration is not None:
        document["split_duration"] = parameters.split_duration
    if recording.expired_at is not None:
        document["expired_at"] = recording.expired_at
    if parameters.metadata_json is not None:
        document["metadata"] = msgspec.json.decode(parameters.metadata_json)
    return document


def started_document(recording: RecordingState, archive: ArchiveState) -> Json:
    """Return the data of archive.started."""
    return {
        **_identity(recording, archive.connection),
        **tracks_document(archive.audio, archive.video),
        **_start(recording, archive.start_wall_ns),
        "created_at": archive.start_wall_ns // NS_PER_S,
    }


def available_document(
    recording: RecordingState,
    archive: ArchiveState,
    facts: FileFacts,
    stats: Mapping[str, Any],
    created_wall_ns: int,
    split: int | None = None,
    reason: str = "",
) -> Json:
    """Return the data of archive.available, or with the number of a part that of split-archive.available.

    `reason` is why the file ended although its connection went on, else "".
    """
    file = facts.file
    document = {
        **_identity(recording, archive.connection),
        **_file(facts.names, facts.metadata_names),
        **_tracks_of(archive, file.kinds),
        **_start(recording, file.start_wall_ns),
        **_stop(recording, facts.stop_wall_ns),
        "created_at": created_wall_ns // NS_PER_S,
        "format": container_of(recording.parameters).name,
        "size": file.size_bytes,
        "stats": dict(stats),
    }
    if "video" in file.kinds:
        document |= {"video_width": file.width, "video_height": file.height}
    if split is not None:
        document["split_index"] = split_index(split)
    if reason:
        document["reason"] = reason
    return document


def split_end_document(
    recording: RecordingState,
    archive: ArchiveState,
    names: FileNames,
    stop_wall_ns: int,
    stats: Mapping[str, Any],
) -> Json:
    """Return the data of split-archive.end."""
    return {
        **_identity(recording, archive.connection),
        **_tracks_of(archive, archive.split_kinds),
        **_start(recording, archive.parts_start_wall_ns or archive.start_wall_ns),
        **_stop(recording, stop_wall_ns),
        "file_path": names.path,
        "filename": names.name,
        "split_last_index": archive.split_last_index or split_index(0),
        "stats": dict(stats),
    }


def failed_document(
    recording: RecordingState,
    archive: ArchiveState,
    names: FileNames,
    stop_wall_ns: int,
    stats: Mapping[str, Any],
    reason: str,
    errno: int | None,
    path: str,
) -> Json:
    """Return the data of archive.failed; `reason`, `errno` and `path` (what could not be written) are not Sora's."""
    document = {
        **_identity(recording, archive.connection),
        **tracks_document(archive.audio, archive.video),
        **_start(recording, archive.start_wall_ns),
        **_stop(recording, stop_wall_ns),
        "file_path": names.path,
        "filename": names.name,
        "stats": dict(stats),
        "reason": reason,
    }
    if errno is not None:
        document["errno"] = errno
    if path:
        document["path"] = path
    return document


def archive_event(
    event_type: EventType,
    recording: RecordingState,
    connection: ConnectionIdentity,
    wall_ns: int,
    document: Document,
    *about: str,
) -> Event:
    """Return an event of this connection's archive in this recording; `about` is its part or its number."""
    return Event(
        id=event_id(event_type, recording.recording_id, connection.connection_id, *about),
        type=event_type,
        wall_ns=wall_ns,
        channel_id=connection.channel_id,
        document=document,
        connection=connection,
    )


def client_document(connection: ConnectionIdentity) -> Json:
    """Return the ids of a client and its connection."""
    return {
        "client_id": connection.client_id,
        "bundle_id": connection.bundle_id,
        "connection_id": connection.connection_id,
    }


def _identity(recording: RecordingState, connection: ConnectionIdentity) -> Json:
    return {
        "recording_id": recording.recording_id,
        "channel_id": connection.channel_id,
        "session_id": connection.session_id,
        **client_document(connection),
    }


def _file(names: FileNames, metadata: FileNames) -> Json:
    return {
        "file_path": names.path,
        "filename": names.name,
        "metadata_file_path": metadata.path,
        "metadata_filename": metadata.name,
    }


def tracks_document(audio: TrackConfig | None, video: TrackConfig | None) -> Json:
    """Return what is sent of each kind: `audio` and `video` true or false, and the flat fields of each."""
    return _track("audio", audio) | _track("video", video)


def kinds_of(document: Document) -> frozenset[Kind]:
    """Return the kinds that a file contains, from its document."""
    kinds: tuple[Kind, ...] = ("audio", "video")
    return frozenset(kind for kind in kinds if document[kind])


def _tracks_of(archive: ArchiveState, kinds: Collection[Kind]) -> Json:
    """Return the tracks of an archive that are in a file, or in any of the parts."""
    return tracks_document(archive.audio if "audio" in kinds else None, archive.video if "video" in kinds else None)


def _track(kind: Kind, track: TrackConfig | None) -> Json:
    """Return a track in the flat fields of Sora 2023.2: video, video_codec_type, video_bit_rate, video_vp9_params."""
    if track is None:
        return {kind: False}
    document: Json = {kind: True, f"{kind}_codec_type": track.codec_type}
    if track.bit_rate_kbps is not None:
        document[f"{kind}_bit_rate"] = track.bit_rate_kbps
    if track.params:
        document[f"{kind}_{CODECS[track.codec_type].params_key}"] = dict(track.params)
    return document


def _start(recording: RecordingState, wall_ns: int) -> Json:
    return {
        "start_time": wall_ns // NS_PER_S,
        "start_time_offset": offset_s(recording, wall_ns),
        "start_timestamp": rfc3339(wall_ns),
    }


def _stop(recording: RecordingState, wall_ns: int) -> Json:
    return {
        "stop_time": wall_ns // NS_PER_S,
        "stop_time_offset": offset_s(recording, wall_ns),
        "stop_timestamp": rfc3339(wall_ns),
    }


def offset_s(recording: RecordingState, wall_ns: int) -> int:
    """Return whole seconds since the recording's `created_at`."""
    return max(wall_ns // NS_PER_S - recording.created_at, 0)
