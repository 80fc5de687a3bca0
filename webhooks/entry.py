"""The outbox's nouns: an event on its way, what became of an attempt, what is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class EntryState(StrEnum):
    """Where an entry stands: of all but PENDING none is waited for.

    PARKED is what the consumer refuses for good, for as long as it may be tried again; DEAD is given up.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    PARKED = "parked"
    DEAD = "dead"
    SKIPPED = "unsent"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event on its way. `body` is what is sent, byte for byte, at each attempt.

    `is_away`: the consumer was not there at the last attempt. `created_uptime_ns` is for how long the outbox had been
    in use when the entry came. `is_ours`: this node tried it, and then the cluster was told that nobody has to.
    """

    seq: int
    event_id: str
    type: str
    channel_id: str
    session_id: str
    connection_id: str
    body: bytes
    created_wall_ns: int
    state: EntryState
    attempts: int = 0
    due_wall_ns: int = 0
    last_error: str = ""
    is_away: bool = False
    recording_id: str = ""
    created_uptime_ns: int = 0
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of an entry: its state, pending until `due_wall_ns`; after how many attempts: 0 or 1."""

    seq: int
    state: EntryState
    due_wall_ns: int = 0
    error: str = ""
    is_away: bool = False
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Due:
    """What to send now, and when the next entry becomes due by itself (None: none does)."""

    entries: Sequence[Entry]
    next_wall_ns: int | None
