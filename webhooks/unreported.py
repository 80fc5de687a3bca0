"""Restore recordings without a report from event_webhook.jsonl, for a daemon whose database is lost.

The log has every event: recording.started has a recording's parameters, archive.started the ids and tracks of a
connection. What is missing from it, or was redacted, cannot be restored. Other lines are skipped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from rokuga.recorder.archive.metadata import kinds_of
from rokuga.recorder.clock import from_rfc3339
from rokuga.recorder.codecs.table import CODECS
from rokuga.recorder.models import ArchiveState, ArchiveStatus, RecordingParameters, RecordingState
from rokuga.recorder.negotiation import ConnectionIdentity, TrackConfig
from rokuga.webhooks.log import BACKUPS

NAME: Final = "event_webhook.jsonl"

Json = Mapping[str, Any]


@dataclass(slots=True)
class Unreported:
    """A recording without a report in the log, and its archives by their connections."""

    recording: RecordingState
    archives: dict[str, ArchiveState] = field(default_factory=dict)


def read_unreported(log_dir: Path) -> list[Unreported]:
    """Return the recordings that were started and not reported, the oldest first. Reads all of the log's files."""
    found: dict[str, Unreported] = {}
    for event in _events(log_dir):
        try:
            _apply(found, event["type"], event["data"])
        except (KeyError, TypeError, ValueError, OverflowError):  # another line
            continue
    return list(found.values())


def _events(log_dir: Path) -> Iterator[Json]:
    for name in (*(f"{NAME}.{number}" for number in range(BACKUPS, 0, -1)), NAME):
        try:
            with (log_dir / name).open("rb") as lines:
                yield from (event for line in lines if (event := _decode(line)) is not None)
        except OSError:
            continue


def _decode(line: bytes) -> Json | None:
    if b"recording_id" not in line:
        return None
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _apply(found: dict[str, Unreported], event_type: str, data: Json) -> None:
    """Apply one event. Raises KeyError, TypeError, ValueError or OverflowError for any other JSON."""
    recording_id = data["recording_id"]
    if event_type == "recording.started":
        found[recording_id] = Unreported(_recording(data))
    elif event_type == "recording.report":
        found.pop(recording_id, None)
    elif recording_id in found and "connection_id" in data:
        archives, connection_id = found[recording_id].archives, data["connection_id"]
        if event_type == "archive.started":
            archives[connection_id] = _archive(data)
        elif connection_id in archives:
            archives[connection_id] = _after(archives[connection_id], event_type, data)


def _recording(data: Json) -> RecordingState:
    metadata = msgspec.json.encode(data["metadata"]).decode() if "metadata" in data else None
    parameters = RecordingParameters(
        data["channel_id"], data["expire_time"], data.get("split_duration"), data["split_only"], metadata
    )
    return RecordingState(data["recording_id"], parameters, from_rfc3339(data["start_timestamp"]))


def _archive(data: Json) -> ArchiveState:
    names = ("channel_id", "session_id", "client_id", "bundle_id", "connection_id")
    identity = ConnectionIdentity(*(data[name] for name in names))
    tracks = _track(data, "audio"), _track(data, "video")
    return ArchiveState(data["recording_id"], identity, *tracks, from_rfc3339(data["start_timestamp"]))


def _track(data: Json, kind: str) -> TrackConfig | None:
    if not data[kind]:
        return None
    codec_type = data[f"{kind}_codec_type"]
    params = data.get(f"{kind}_{CODECS[codec_type].params_key}", {})
    return TrackConfig(codec_type, data.get(f"{kind}_bit_rate"), params)


def _after(archive: ArchiveState, event_type: str, data: Json) -> ArchiveState:
    """Return an archive after one more of its events."""
    stop_wall_ns = max(archive.stop_wall_ns or 0, from_rfc3339(data["stop_timestamp"]))
    if event_type == "split-archive.available":
        kinds = archive.split_kinds | kinds_of(data)
        last = max(archive.split_last_index or "", data["split_index"])
        return replace(archive, stop_wall_ns=stop_wall_ns, split_last_index=last, split_kinds=kinds)
    if event_type == "archive.available":
        return replace(archive, status=ArchiveStatus.AVAILABLE, stop_wall_ns=stop_wall_ns, document=dict(data))
    if event_type == "archive.failed":
        return replace(archive, status=ArchiveStatus.FAILED, stop_wall_ns=stop_wall_ns)
    return archive
