"""The table of metrics: every number that the daemon counts, one row each.

A source returns numbers by their names in METRICS. GetStatsReport and /metrics read all sources.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.store import StoreError

SOURCE_TIMEOUT_S: Final = 2.0

Number = int | Mapping[str, int]
"""An integer, or one for each value of the row's label."""
Numbers = Mapping[str, Number]
Source = Callable[[], Awaitable[Numbers]]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric. A counter grows from the start of the process; a gauge is the value now.

    A row whose `name` ends in `_ns` holds nanoseconds and is exported in seconds. `label` is "" where there is none.
    """

    name: str
    help: str
    label: str = ""
    is_gauge: bool = False

    @property
    def exported_name(self) -> str:
        """The name that Prometheus reads, without the `_total` of a counter."""
        return f"rokuga_{self.name.removesuffix('_ns')}{'_seconds' if self._is_time else ''}"

    def exported(self, value: int) -> float:
        """Return a value in base units."""
        return value / NS_PER_S if self._is_time else value

    @property
    def _is_time(self) -> bool:
        return self.name.endswith("_ns")


METRICS: Final[Mapping[str, MetricRow]] = {
    row.name: row
    for row in (
        # Clients
        MetricRow("sessions_created", "Sessions begun: the first client of an empty channel connected."),
        MetricRow("sessions_destroyed", "Sessions ended: the last client of a channel disconnected."),
        MetricRow("connections", "Clients that are connected.", is_gauge=True),
        MetricRow("connections_created", "Clients that completed DTLS."),
        MetricRow("connections_destroyed", "Clients that completed DTLS and disconnected."),
        MetricRow("connections_failed", "Clients that received an offer and never completed DTLS."),
        MetricRow("connection_seconds", "Time that disconnected clients were connected, in total."),
        MetricRow("connection_setup_ns", "Time from offer to DTLS of all clients that completed it, in total."),
        MetricRow("auth_webhook_allowed", "Clients that the authentication webhook allowed."),
        MetricRow("auth_webhook_denied", "Clients that the authentication webhook denied."),
        MetricRow("auth_webhook_failed", "Clients for which the authentication webhook returned no valid answer."),
        # Recordings
        MetricRow("recordings", "Active recordings.", is_gauge=True),
        MetricRow("archives", "Connections that are being written to files.", is_gauge=True),
        MetricRow("events", "Events stored, by type.", "type"),
        # Event webhooks
        MetricRow("event_webhook_delivered", "Attempts to deliver an event that were answered with 2xx."),
        MetricRow("event_webhook_failed", "Attempts to deliver an event that failed."),
        MetricRow("outbox_pending", "Events that are not delivered yet.", is_gauge=True),
        MetricRow("outbox_parked", "Events that the consumer refused for good.", is_gauge=True),
        MetricRow("outbox_dead", "Events whose delivery was given up, and that are kept.", is_gauge=True),
        MetricRow("outbox_pruned", "Events whose delivery was given up, and that were deleted for age or number."),
        MetricRow("outbox_oldest_ns", "Age of the oldest event that is not delivered.", is_gauge=True),
        MetricRow(
            "auth_webhook_log_lines_refused", "Lines of the authentication webhook's log that were not written."
        ),
        MetricRow("webhook_log_lines_refused", "Lines of the event webhook's logs that were not written."),
        # The cluster
        MetricRow("cluster_majority", "Whether this node sees a majority of its cluster: 1 or 0.", is_gauge=True),
        MetricRow("cluster_nodes", "Nodes of the cluster that are up, as this one sees it.", is_gauge=True),
        MetricRow("cluster_requests", "Requests to etcd, by result.", "result"),
        MetricRow("cluster_request_ns", "Time that answered requests to etcd took, in total."),
        MetricRow("cluster_slowest_request_ns", "Longest answered request to etcd since the start.", is_gauge=True),
        # HTTP
        MetricRow("connections_refused", "TCP connections closed because of a limit, by limit.", "limit"),
        MetricRow("connections_delayed", "TCP connections that waited because of max_connects_per_second."),
        MetricRow("requests_malformed", "Requests that are not HTTP/1.1, or did not arrive in time."),
        MetricRow("requests_refused", "Requests that the request policy refused, by error type.", "reason"),
        # The process and its disk
        MetricRow("event_loop_lag_ns", "Last delay of the event loop.", is_gauge=True),
        MetricRow("event_loop_max_lag_ns", "Longest delay of the event loop since the start.", is_gauge=True),
        MetricRow("archive_free_bytes", "Free disk space below archive_dir.", is_gauge=True),
        # Media
        MetricRow("srtp_packets", "SRTP and SRTCP packets received from the addresses of connected clients."),
        MetricRow("srtp_bytes", "Bytes of these packets, headers and authentication tags included."),
        MetricRow("decrypted_packets", "SRTP and SRTCP packets that were authentic."),
        MetricRow("decrypted_bytes", "Bytes of the authentic packets after decryption, headers included."),
        MetricRow("datagrams", "Datagrams received on the media port."),
        MetricRow("datagrams_dropped", "Datagrams dropped, by reason.", "reason"),
        MetricRow("media_connections", "TCP connections to the media port, by outcome.", "outcome"),
        MetricRow("peers_pending", "Clients with an offer or an answer that have not completed DTLS.", is_gauge=True),
        MetricRow("peers_evicted", "Clients ended before DTLS in favour of newer ones."),
        MetricRow("send_errors", "Datagrams that could not be sent."),
        MetricRow("received_packets", "RTP packets received, by kind.", "kind"),
        MetricRow("received_bytes", "Payload bytes of the received RTP packets, by kind.", "kind"),
        MetricRow("padding_packets", "RTP packets without payload, by kind.", "kind"),
        MetricRow("lost_packets", "RTP packets given up as lost, by kind.", "kind"),
        MetricRow("repaired_packets", "RTP packets received after a NACK, by kind.", "kind"),
        MetricRow("duplicate_packets", "RTP packets received more than once, by kind.", "kind"),
        MetricRow("late_packets", "RTP packets received after they were given up, by kind.", "kind"),
        MetricRow("malformed_payloads", "RTP payloads that their format does not allow, by kind.", "kind"),
        MetricRow("nacks", "RTP packets requested again, by kind.", "kind"),
        MetricRow("plis", "Key frames requested, by kind.", "kind"),
        MetricRow("units", "Complete access units, by kind.", "kind"),
        MetricRow("keyframes", "Complete key frames, by kind.", "kind"),
        MetricRow("dropped_units", "Incomplete access units, by kind.", "kind"),
        MetricRow("undecodable_units", "Access units dropped while waiting for a key frame, by kind.", "kind"),
    )
}


async def read_all(sources: Iterable[Source]) -> dict[str, Number]:
    """Return the numbers of all sources. A source that fails or times out (a locked database) is left out."""
    numbers: dict[str, Number] = {}
    for source in sources:
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(SOURCE_TIMEOUT_S):
                numbers |= await source()
    return numbers


def total(number: Number) -> int:
    """Return the sum over all values of the label."""
    return number if isinstance(number, int) else sum(number.values())
