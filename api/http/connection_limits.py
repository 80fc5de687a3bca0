"""Limits on the connections of a port, and the choice of those that are closed when a limit is exceeded.

A connection is unverified until one of its requests was complete, or signalling has accepted its `connect`.
Unverified connections have a limit of their own; when it is exceeded, the client with most of them loses its oldest,
so that silent connections keep nobody out. A busy connection is never closed for another one; an idle one, between
two requests, only when `max_connections` is reached.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import structlog

from rokuga.api.http.items_by_owner import ItemsByOwner
from rokuga.api.monitoring.metrics import Numbers
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S

log = structlog.get_logger()

_MARK_VERIFIED: Final = "rokuga.mark_verified"


@dataclass
class ConnectionCounts:
    """Connections of both ports that were closed or delayed, and requests that are malformed."""

    too_many: int = 0
    evicted: int = 0
    delayed: int = 0
    malformed: int = 0

    async def counters(self) -> Numbers:
        """Return the counts by their names in the table of metrics."""
        return {
            "connections_refused": {"max_connections": self.too_many, "unverified": self.evicted},
            "connections_delayed": self.delayed,
            "requests_malformed": self.malformed,
        }


class ConnectionState(Enum):
    """Whether a connection is verified, and whether a request of it is being answered."""

    UNVERIFIED = auto()
    BUSY = auto()
    IDLE = auto()
    CLOSED = auto()


def _do_nothing() -> None:
    """Replace `end` once a connection is closed."""


@dataclass(eq=False, slots=True)
class HttpConnection:
    """One TCP connection. `owner` is the client's network; `end` closes it at once, and changes with its protocol."""

    limits: "ConnectionLimits"
    owner: str
    end: Callable[[], None]
    state: ConnectionState = ConnectionState.UNVERIFIED

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, or about to be."""
        return self.state is ConnectionState.CLOSED

    def mark_busy(self) -> None:
        """Note that a request is complete and being answered. This verifies the connection."""
        if self.state is not ConnectionState.CLOSED:
            self.limits.move(self, ConnectionState.BUSY)

    def mark_idle(self) -> None:
        """Note that the request was answered."""
        if self.state is ConnectionState.BUSY:
            self.limits.move(self, ConnectionState.IDLE)

    def mark_closed(self) -> None:
        """Release its place, and its reference to the protocol. Safe to repeat."""
        self.limits.move(self, ConnectionState.CLOSED)
        self.end = _do_nothing

    def set_owner(self, owner: str) -> None:
        """Count it for another client: the one that a proxy reports."""
        state = self.state
        self.limits.move(self, ConnectionState.CLOSED)
        self.owner = owner
        self.limits.move(self, state)


@dataclass
class ConnectionLimits:
    """The limits of one port. A request must be complete `request_s` after the connect or its first byte."""

    max_connections: int
    max_per_second: int
    clock: Clock
    counts: ConnectionCounts = field(default_factory=ConnectionCounts)
    request_s: float = 20.0
    _all: int = 0
    _unverified: ItemsByOwner[HttpConnection] = field(default_factory=ItemsByOwner)
    _idle: ItemsByOwner[HttpConnection] = field(default_factory=ItemsByOwner)
    _next_line_ns: int = 0
    _unlogged: int = 0

    @property
    def max_unverified(self) -> int:
        """The number of connections that may be unverified at a time."""
        return max(self.max_connections // 2, 1)

    def admit(self, owner: str, end: Callable[[], None]) -> HttpConnection | None:
        """Add a connection, and close another one if a limit is exceeded; None where none can be closed."""
        connection = HttpConnection(self, owner, end, ConnectionState.CLOSED)
        self.move(connection, ConnectionState.UNVERIFIED)
        if len(self._unverified) > self.max_unverified:
            self.evict()
        elif self._all > self.max_connections and not self._close_another():
            connection.mark_closed()
            self.counts.too_many += 1
            self._log_closed()
            return None
        return connection

    def _close_another(self) -> bool:
        if len(self._unverified) > 1:
            return self.evict()
        return self._end(self._idle.oldest_of_largest())

    def evict(self) -> bool:
        """Close the oldest unverified connection of the client with most of them; False where there is none."""
        is_done = self._end(self._unverified.oldest_of_largest())
        self.counts.evicted += is_done
        self._log_closed()
        return is_done

    def _end(self, connection: HttpConnection | None) -> bool:
        if connection is None:
            return False
        end = connection.end
        connection.mark_closed()
        end()
        return True

    def move(self, connection: HttpConnection, state: ConnectionState) -> None:
        """Change the state of a connection."""
        before = connection.state
        if before is state:
            return
        connection.state = state
        self._all += (before is ConnectionState.CLOSED) - (state is ConnectionState.CLOSED)
        for items, kind in ((self._unverified, ConnectionState.UNVERIFIED), (self._idle, ConnectionState.IDLE)):
            if before is kind:
                items.remove(connection.owner, connection)
            elif state is kind:
                items.add(connection.owner, connection)

    def _log_closed(self) -> None:
        """Log closed connections, at most one line a second."""
        self._unlogged += 1
        now_ns = self.clock.monotonic_ns()
        if now_ns >= self._next_line_ns:
            counts = {"connections": self._all, "unverified": len(self._unverified)}
            log.warning("connection limit reached, connections closed", count=self._unlogged, **counts)
            self._next_line_ns, self._unlogged = now_ns + NS_PER_S, 0


def add_verification(scope: MutableMapping[str, Any], connection: HttpConnection) -> None:
    """Let the application of an ASGI scope call `mark_verified`."""
    scope[_MARK_VERIFIED] = connection.mark_busy


def mark_verified(scope: MutableMapping[str, Any]) -> None:
    """Mark the connection of an ASGI scope as verified. Nothing happens if its server has no limits."""
    mark = scope.get(_MARK_VERIFIED)
    if mark is not None:
        mark()
