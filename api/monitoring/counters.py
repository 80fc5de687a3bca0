"""Every number that the daemon counts, one row each: GetStatsReport and whatever else monitors read these.

A source gives what it counts by name; what is told apart by a label is a mapping from the label's values. Numbers
grow from the start of the process, gauges say how many there are now.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rokuga.recorder.store import StoreError

SOURCE_S: Final = 2.0
"""How long a source may take."""

Number = int | Mapping[str, int]
Numbers = Mapping[str, Number]
Source = Callable[[], Awaitable[Numbers]]
"""Gives numbers by their names in COUNTERS."""


@dataclass(frozen=True, slots=True)
class Counter:
    """One row. `label` is what tells its parts apart, "" where there are none."""

    name: str
    doc: str
    label: str = ""
    is_gauge: bool = False


COUNTERS: Final[Mapping[str, Counter]] = {
    counter.name: counter
    for counter in (
        # Clients
        Counter("sessions_created", "Channels that somebody entered when nobody was there."),
        Counter("sessions_destroyed", "Channels that the last one left."),
        Counter("connections", "Clients that are connected.", is_gauge=True),
        Counter("connections_created", "Clients that were connected: DTLS was up."),
        Counter("connections_destroyed", "Clients that were connected and are gone."),
        Counter("connections_failed", "Clients that got an offer and were never connected."),
        Counter("connection_seconds", "Time that clients who are gone were connected."),
        Counter("setup_milliseconds", "Time from offer to DTLS of all clients that were connected."),
        Counter("auth_webhook_allowed", "Clients that the authentication webhook let in."),
        Counter("auth_webhook_denied", "Clients that it refused."),
        Counter("auth_webhook_failed", "Clients about whom there was no answer that could be used."),
        # Recordings
        Counter("recordings", "Recordings that are active.", is_gauge=True),
        Counter("archives", "Connections that are being written.", is_gauge=True),
        Counter("events", "Events that were stored, by type.", "type"),
        # Event webhooks
        Counter("event_webhook_delivered", "Attempts to post an event that were answered 2xx."),
        Counter("event_webhook_failed", "Attempts to post an event that failed."),
        Counter("outbox_pending", "Events that are not delivered yet.", is_gauge=True),
        Counter("outbox_parked", "Events that the consumer refuses for good.", is_gauge=True),
        Counter("outbox_dead", "Events that were given up and are kept.", is_gauge=True),
        Counter("outbox_forgotten", "Events that were given up and are not kept any more: too old, or too many."),
        Counter("outbox_oldest_milliseconds", "Age of the oldest event that is not delivered.", is_gauge=True),
        Counter(
            "auth_webhook_log_lines_refused", "Lines of the authentication webhook's logs that the disk did not take."
        ),
        Counter("webhook_log_lines_refused", "Lines of the webhook logs that the disk did not take."),
        # The cluster
        Counter("cluster_majority", "Whether this node sees a majority of its cluster.", is_gauge=True),
        Counter("cluster_nodes", "Nodes of the cluster that are up, as this one sees it.", is_gauge=True),
        Counter("cluster_requests", "Requests to etcd, by what became of them.", "result"),
        Counter("cluster_request_microseconds", "Time that answered requests to etcd took, all together."),
        Counter("cluster_slowest_request_microseconds", "The longest of them since the start.", is_gauge=True),
        # The fronts
        Counter("connections_refused", "TCP connections that were closed for others, by the limit.", "limit"),
        Counter("connections_held", "TCP connections that waited unread: max_connects_per_second."),
        Counter("requests_malformed", "Requests that could not be read as HTTP, or were not whole in time."),
        Counter("requests_refused", "Requests that may not be made, by the error type of the answer.", "reason"),
        # The process and its disk
        Counter("event_loop_lag_microseconds", "How late the event loop was last.", is_gauge=True),
        Counter("event_loop_worst_lag_microseconds", "How late it was at worst since the start.", is_gauge=True),
        Counter("archive_free_bytes", "Free disk under archive_dir.", is_gauge=True),
        # Media
        Counter("srtp_packets", "SRTP and SRTCP packets from connected clients' addresses."),
        Counter("srtp_bytes", "Their size, headers and authentication tags included."),
        Counter("decrypted_packets", "Those of them that were genuine."),
        Counter("decrypted_bytes", "Their size in the clear, headers included."),
        Counter("datagrams", "Datagrams that came to the media port."),
        Counter("datagrams_dropped", "Datagrams that were of no use, by the reason.", "reason"),
        Counter("media_connections", "TCP connections to the media port, by what became of them.", "outcome"),
        Counter("peers_pending", "Clients that have an offer or an answer and whose DTLS is not up.", is_gauge=True),
        Counter("peers_evicted", "Clients that were given up for newer ones before their DTLS was up."),
        Counter("send_errors", "Datagrams that the network did not take."),
        Counter("received_packets", "RTP packets of tracks, by kind.", "kind"),
        Counter("received_bytes", "Their payload.", "kind"),
        Counter("padding_packets", "Packets without payload.", "kind"),
        Counter("lost_packets", "Packets that were given up.", "kind"),
        Counter("repaired_packets", "Packets that came because they were asked for again.", "kind"),
        Counter("duplicate_packets", "Packets that came a second time.", "kind"),
        Counter("late_packets", "Packets that came after they had been given up.", "kind"),
        Counter("malformed_payloads", "Payloads that their format does not allow.", "kind"),
        Counter("nacks", "Packets that were asked for again.", "kind"),
        Counter("plis", "Key frames that were asked for.", "kind"),
        Counter("units", "Pictures and pieces of sound that came whole.", "kind"),
        Counter("keyframes", "Key frames that came whole.", "kind"),
        Counter("dropped_units", "Pictures that did not come whole.", "kind"),
        Counter("undecodable_units", "Pictures that waited in vain for a key frame.", "kind"),
    )
}


async def read_all(sources: Iterable[Source]) -> dict[str, Number]:
    """Ask every source. What one cannot say in time, for its database is locked, is left out."""
    numbers: dict[str, Number] = {}
    for source in sources:
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(SOURCE_S):
                numbers |= await source()
    return numbers


def total(number: Number) -> int:
    """Add up the parts of a number, if it has any."""
    return number if isinstance(number, int) else sum(number.values())
