"""Validation of documents that recovery finds beside media files. Pure."""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from rokuga.recorder.clock import from_rfc3339

IDENTITY: Final[Mapping[str, type]] = {
    "recording_id": str,
    "channel_id": str,
    "session_id": str,
    "client_id": str,
    "connection_id": str,
    "filename": str,
}
TIMES: Final = ("start_timestamp", "stop_timestamp")

AVAILABLE: Final[Mapping[str, type]] = {
    **IDENTITY,
    "file_path": str,
    "metadata_file_path": str,
    "metadata_filename": str,
    "size": int,
    "audio": bool,
    "video": bool,
}
"""The members that recovery reads of archive.available and split-archive.available."""

SPLIT_END: Final[Mapping[str, type]] = {**IDENTITY, "split_last_index": str, "audio": bool, "video": bool}
"""The members that recovery reads of split-archive.end."""


def is_document(
    value: object, shape: Mapping[str, type], recording_id: str, connection_id: str
) -> TypeGuard[dict[str, Any]]:
    """Return whether a JSON value has the members of a shape and both times, and is of this connection's archive."""
    if not isinstance(value, dict) or any(type(value.get(name)) is not kind for name, kind in shape.items()):
        return False
    return (
        value["recording_id"] == recording_id
        and value["connection_id"] == connection_id
        and all(_is_time(value.get(name)) for name in TIMES)
    )


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and from_rfc3339(value) > 0
    except (ValueError, OverflowError):
        return False
