"""Events to the documented JSON: the envelope of Sora's event webhooks around an event's document.

Field names and types are those of Sora's own types (sora-server-sdk-ts types/webhook/event_webhook.d.ts, 2023.2).
A body is made once, when the event is taken over, and sent unchanged at every attempt.
"""

from typing import Any, assert_never

import msgspec

from rokuga.recorder.clock import rfc3339
from rokuga.recorder.events import Event, EventType
from rokuga.webhooks.config import WebhookConfig


def make_body(event: Event, config: WebhookConfig, *, log_written: bool = True) -> bytes:
    """Write the body of an event's webhook, compact; `log_written` says whether event_webhook.jsonl has it."""
    envelope: dict[str, Any] = {
        "type": event.type,
        "id": event.id,
        "timestamp": rfc3339(event.wall_ns),
        "log_written": log_written,
        "version": config.version,
        "label": config.label,
        "node_name": config.node_name,
        "channel_id": event.channel_id,
    }
    return msgspec.json.encode(envelope | _rest(event))


def _rest(event: Event) -> dict[str, Any]:
    """Give what the type adds: whose event it is, and its data."""
    match event.type:
        case EventType.RECORDING_STARTED | EventType.RECORDING_REPORT:
            return {"data": event.document}
        case (
            EventType.ARCHIVE_STARTED
            | EventType.ARCHIVE_AVAILABLE
            | EventType.ARCHIVE_FAILED
            | EventType.SPLIT_ARCHIVE_AVAILABLE
            | EventType.SPLIT_ARCHIVE_END
        ):
            return _identity(event) | {"data": event.document}
        case EventType.CONNECTION_CREATED | EventType.CONNECTION_DESTROYED:
            flags = {"multistream": True, "simulcast": False, "spotlight": False}
            role = {"role": event.document["role"]} if "role" in event.document else {}
            return _identity(event) | flags | role | {"data": event.document}
    assert_never(event.type)


def _identity(event: Event) -> dict[str, Any]:
    connection = event.connection
    if connection is None:
        return {}
    names: dict[str, Any] = {
        "session_id": connection.session_id,
        "client_id": connection.client_id,
        "bundle_id": connection.bundle_id,
        "connection_id": connection.connection_id,
    }
    if connection.event_metadata_json is not None:
        names["event_metadata"] = msgspec.Raw(connection.event_metadata_json.encode())
    return names
