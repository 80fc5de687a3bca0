"""JSON objects for the page: recordings, archives, webhooks. Times are in Unix milliseconds."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rokuga.api.protocols import RecordingService
from rokuga.api.targets.recordings import RecordingLimits, track_object
from rokuga.recorder.connection import ArchiveProgress
from rokuga.recorder.media import NS_PER_MS
from rokuga.recorder.models import RecordingState
from rokuga.webhooks.delivery import Delivery


def state_document(
    recorder: RecordingService, limits: RecordingLimits, version: str, webhooks: Mapping[str, int], now_wall_ns: int
) -> dict[str, Any]:
    """Return the current state; `webhooks` are the numbers of entries by state."""
    return {
        "version": version,
        "now_ms": now_wall_ns // NS_PER_MS,
        "max_expire_time": limits.max_expire_time,
        "max_split_duration": limits.max_split_duration,
        "connections": sum(connection.connected.is_set() for connection in recorder.connections()),
        "recordings": [_recording(state) for state in recorder.recordings()],
        "archives": [_archive(progress) for progress in recorder.archives()],
        "webhooks": dict(webhooks),
    }


def entry_document(entry: Delivery) -> dict[str, Any]:
    """Return one webhook without its body. `due_ms` is 0 where it is due at once, or never."""
    return {
        "event_id": entry.event_id,
        "type": entry.type,
        "channel_id": entry.channel_id,
        "connection_id": entry.connection_id,
        "created_ms": entry.created_wall_ns // NS_PER_MS,
        "state": entry.state,
        "attempts": entry.attempts,
        "due_ms": entry.due_wall_ns // NS_PER_MS,
        "last_error": entry.last_error,
    }


def _recording(state: RecordingState) -> dict[str, Any]:
    parameters = state.parameters
    return {
        "recording_id": state.recording_id,
        "channel_id": parameters.channel_id,
        "start_ms": state.start_wall_ns // NS_PER_MS,
        "expire_time": parameters.expire_time,
        "split_duration": parameters.split_duration,
        "split_only": bool(parameters.split_only),
        "metadata": msgspec.Raw((parameters.metadata_json or "null").encode()),
    }


def _archive(progress: ArchiveProgress) -> dict[str, Any]:
    """Return an archive that is being written; packets are those of all kinds."""
    identity, written = progress.identity, progress.written
    kinds = written.counters.values()
    return {
        "recording_id": written.recording_id,
        "channel_id": identity.channel_id,
        "client_id": identity.client_id,
        "connection_id": identity.connection_id,
        "start_ms": written.start_wall_ns // NS_PER_MS,
        "seconds": progress.seconds,
        "size": written.size_bytes,
        "part": written.part,
        "width": written.width,
        "height": written.height,
        "received_packets": sum(counters.get("received_packets", 0) for counters in kinds),
        "lost_packets": sum(counters.get("lost_packets", 0) for counters in kinds),
        "audio": track_object(progress.audio),
        "video": track_object(progress.video),
    }
