"""Values of the outbox: a delivery, the result of an attempt, what is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

EVENT_WEBHOOK: Final = "webhooks"
"""The consumer that posts events to webhook URLs."""

DEFAULT: Final = "default"
"""The destination `event_webhook_url`."""


class DeliveryState(StrEnum):
    """State of a delivery. Later deliveries wait for those that are PENDING and for no others.

    PARKED: rejected as if for good; one of each type is tried now and then. DEAD: given up. SKIPPED: sent by another
    node of the cluster, or no URL is configured.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    PARKED = "parked"
    DEAD = "dead"
    SKIPPED = "unsent"


class DestinationKey(NamedTuple):
    """A destination as it is stored: the name of its consumer and its own."""

    consumer: str
    destination: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one destination. `body` is sent byte for byte at each attempt.

    `is_away`: the last attempt found no server that could respond. `created_uptime_ns`: uptime at ingest.
    `is_ours`: this node attempted it and has released its ownership since; no other node will deliver it.
    """

    seq: int
    event_id: str
    type: str
    channel_id: str
    session_id: str
    connection_id: str
    body: bytes
    created_wall_ns: int
    state: DeliveryState
    attempts: int = 0
    due_wall_ns: int = 0
    last_error: str = ""
    is_away: bool = False
    recording_id: str = ""
    created_uptime_ns: int = 0
    is_ours: bool = False
    consumer: str = EVENT_WEBHOOK
    destination: str = DEFAULT

    @property
    def destination_key(self) -> DestinationKey:
        """Where it is delivered to."""
        return DestinationKey(self.consumer, self.destination)


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """New state of a delivery; PENDING until `due_wall_ns`. `attempts` were made for it: 0 or 1."""

    seq: int
    state: DeliveryState
    due_wall_ns: int = 0
    error: str = ""
    is_away: bool = False
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Due:
    """Deliveries to attempt now, and when the next one becomes due by itself (None: none does)."""

    deliveries: Sequence[Delivery]
    next_wall_ns: int | None
