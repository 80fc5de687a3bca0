"""Targets that monitoring calls, in the shape that sora_exporter reads (collector/sora_api.go, license.go).

Only what is really counted is there; the exporter takes what is missing for 0.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from rokuga.api.ports import RecordingService

Counters = Mapping[str, int]
Source = Callable[[], Awaitable[Counters]]
"""Gives counters under the names that GetStatsReport has for them."""

NO_LIMIT: Final = 2**31 - 1


def stats_report(
    version: str, sources: Sequence[Source]
) -> Callable[[RecordingService, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]:
    """Give the handler of GetStatsReport."""

    async def handle(recorder: RecordingService, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        ongoing = sum(connection.connected.is_set() for connection in recorder.connections())
        report: dict[str, Any] = {"version": version, "total_ongoing_connections": ongoing}
        for source in sources:
            report.update(await source())
        return report

    return handle


async def get_license(_recorder: RecordingService, _request: Mapping[str, Any]) -> Mapping[str, Any]:
    """GetLicense: there is nothing to buy, no end and no limit."""
    return {
        "expired_at": "9999-12",
        "max_connections": NO_LIMIT,
        "max_nodes": None,
        "product_name": "Rokuga",
        "serial_code": "",
        "type": "Apache-2.0",
    }
