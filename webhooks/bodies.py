"""Bodies of event webhooks: the envelope of Sora's event webhooks around the document of an event. Pure.

Field names and types are those of Sora's own types (sora-server-sdk-ts types/webhook/event_webhook.d.ts, 2023.2). A
body is made once, at ingest, and sent unchanged at every attempt.
"""

from typing import Any

import msgspec

from rokuga.recorder.clock import rfc3339
from rokuga.recorder.events import Event
from rokuga.webhooks.config import WebhookConfig


def make_body(event: Event, config: WebhookConfig, *, log_written: bool = True) -> bytes:
    """Return the body of an event as compact JSON; `log_written`: whether event_webhook.jsonl has the event."""
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
    return msgspec.json.encode(
        envelope | _connection_ids(event) | _connection_flags(event) | {"data": event.document}
    )


def _connection_ids(event: Event) -> dict[str, Any]:
    connection = event.connection
    if connection is None:
        return {}
    ids: dict[str, Any] = {
        "session_id": connection.session_id,
        "client_id": connection.client_id,
        "bundle_id": connection.bundle_id,
        "connection_id": connection.connection_id,
    }
    if connection.event_metadata_json is not None:
        ids["event_metadata"] = msgspec.Raw(connection.event_metadata_json.encode())
    return ids


def _connection_flags(event: Event) -> dict[str, Any]:
    """Return what only `connection.created` and `connection.destroyed` have."""
    if not event.type.startswith("connection."):
        return {}
    role = {"role": event.document["role"]} if "role" in event.document else {}
    return {"multistream": True, "simulcast": False, "spotlight": False} | role
