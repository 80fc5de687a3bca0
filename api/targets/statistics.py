"""GetStatsReport and GetLicense, in the form that sora_exporter reads (collector/sora_api.go, license.go).

Only values that are counted are present; the exporter reads missing ones as 0.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from rokuga.api.monitoring.metrics import Numbers, Source, read_all, total
from rokuga.api.protocols import RecordingService
from rokuga.api.targets.json_schema import COUNT, TEXT, JsonSchema, object_of
from rokuga.recorder.media import NS_PER_MS

SORA_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "total_session_created": ("sessions_created",),
    "total_session_destroyed": ("sessions_destroyed",),
    "total_connection_created": ("connections_created",),
    "total_connection_destroyed": ("connections_destroyed",),
    "total_successful_connections": ("connections_created",),
    "total_ongoing_connections": ("connections",),
    "total_failed_connections": ("connections_failed",),
    "total_duration_sec": ("connection_seconds",),
    "total_auth_webhook_allowed": ("auth_webhook_allowed",),
    "total_auth_webhook_denied": ("auth_webhook_denied",),
    "total_successful_auth_webhook": ("auth_webhook_allowed", "auth_webhook_denied"),
    "total_failed_auth_webhook": ("auth_webhook_failed",),
    "total_successful_event_webhook": ("event_webhook_delivered",),
    "total_failed_event_webhook": ("event_webhook_failed",),
    "total_received_srtp": ("srtp_packets",),
    "total_received_srtp_byte_size": ("srtp_bytes",),
    "total_decrypted_srtp": ("decrypted_packets",),
    "total_decrypted_srtp_byte_size": ("decrypted_bytes",),
}
"""Sora's names, and the metrics whose sum is the value."""

AVERAGES: Final[Mapping[str, tuple[str, str, int]]] = {
    "average_duration_sec": ("connection_seconds", "connections_destroyed", 1),
    "average_setup_time_msec": ("connection_setup_ns", "connections_created", NS_PER_MS),
}
"""Sora's names, and: a sum, the number that it is divided by, and the factor between our unit and Sora's."""

STATS: Final[JsonSchema] = {**object_of({"version": TEXT}), "additionalProperties": COUNT}
LICENSE: Final = object_of(
    {
        **dict.fromkeys(("expired_at", "product_name", "serial_code", "type"), TEXT),
        "max_connections": COUNT,
        "max_nodes": {"type": ["integer", "null"]},
    }
)

NO_LIMIT: Final = 2**31 - 1


def stats_report(
    version: str, sources: Sequence[Source]
) -> Callable[[RecordingService, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]:
    """Return the handler of GetStatsReport."""

    async def handle(_recorder: RecordingService, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"version": version, **sora_statistics(await read_all(sources))}

    return handle


def sora_statistics(numbers: Numbers) -> Mapping[str, int]:
    """Return the numbers that Sora has names for, without those that no source counts."""
    report = {
        sora_name: sum(total(numbers[name]) for name in names)
        for sora_name, names in SORA_NAMES.items()
        if all(name in numbers for name in names)
    }
    for sora_name, (name, count, unit) in AVERAGES.items():
        if name in numbers and count in numbers:
            report[sora_name] = total(numbers[name]) // unit // max(total(numbers[count]), 1)
    return report


async def get_license(_recorder: RecordingService, _request: Mapping[str, Any]) -> Mapping[str, Any]:
    """GetLicense: a license without end and limits."""
    return {
        "expired_at": "9999-12",
        "max_connections": NO_LIMIT,
        "max_nodes": None,
        "product_name": "Rokuga",
        "serial_code": "",
        "type": "Apache-2.0",
    }
