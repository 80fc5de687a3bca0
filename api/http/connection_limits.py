"""How many connections a port has, and which of them has to go where there are too many.

A connection is unproven until a request of it was whole, or signalling has accepted its `connect`. Unproven ones have
a budget of their own, and where it is used up, the address that has most of them loses its oldest: nobody keeps
others out by connections that say nothing. One that is at work is never closed for the sake of another; one that
rests between two requests only where there are max_connections in all.
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

_PROOF: Final = "rokuga.proof"


@dataclass
class ConnectionCounts:
    """What both ports closed, held back or could not read."""

    too_many: int = 0
    evicted: int = 0
    delayed: int = 0
    malformed: int = 0

    async def counters(self) -> Numbers:
        """Give them by the names of the daemon's table of counters."""
        return {
            "connections_refused": {"max_connections": self.too_many, "unverified": self.evicted},
            "connections_delayed": self.delayed,
            "requests_malformed": self.malformed,
        }


class ConnectionState(Enum):
    """What a connection has shown, and whether it waits for us."""

    UNVERIFIED = auto()
    BUSY = auto()
    IDLE = auto()
    CLOSED = auto()


def _nothing() -> None:
    """End what has ended."""


@dataclass(eq=False, slots=True)
class TcpConnection:
    """One TCP connection in the books of its port. `end` closes it at once; it may change with what it is."""

    limits: "ConnectionLimits"
    owner: str
    end: Callable[[], None]
    standing: ConnectionState = ConnectionState.UNVERIFIED

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, or about to be."""
        return self.standing is ConnectionState.CLOSED

    def mark_busy(self) -> None:
        """Prove it: something whole was asked of us, and is being done."""
        if self.standing is not ConnectionState.CLOSED:
            self.limits.move(self, ConnectionState.BUSY)

    def mark_idle(self) -> None:
        """Note that what was asked is done."""
        if self.standing is ConnectionState.BUSY:
            self.limits.move(self, ConnectionState.IDLE)

    def mark_closed(self) -> None:
        """Note that it is closed, and hold nothing of it any more. Safe to repeat."""
        self.limits.move(self, ConnectionState.CLOSED)
        self.end = _nothing

    def set_owner(self, owner: str) -> None:
        """Note that somebody else is at the other end: whom a proxy names."""
        standing = self.standing
        self.limits.move(self, ConnectionState.CLOSED)
        self.owner = owner
        self.limits.move(self, standing)


@dataclass
class ConnectionLimits:
    """Of one port. A request has `request_s` to be whole, counted from the connect or from its first byte."""

    max_connections: int
    max_per_second: int
    clock: Clock
    refused: ConnectionCounts = field(default_factory=ConnectionCounts)
    request_s: float = 20.0
    _all: int = 0
    _unproven: ItemsByOwner[TcpConnection] = field(default_factory=ItemsByOwner)
    _resting: ItemsByOwner[TcpConnection] = field(default_factory=ItemsByOwner)
    _next_line_ns: int = 0
    _untold: int = 0

    @property
    def max_unverified(self) -> int:
        """How many connections may be unproven at a time."""
        return max(self.max_connections // 2, 1)

    def admit(self, owner: str, end: Callable[[], None]) -> TcpConnection | None:
        """Take one more connection, and close another for it where that has to be; None where it cannot be taken."""
        connection = TcpConnection(self, owner, end, ConnectionState.CLOSED)
        self.move(connection, ConnectionState.UNVERIFIED)
        if len(self._unproven) > self.max_unverified:
            self.evict()
        elif self._all > self.max_connections and not self._make_room():
            connection.mark_closed()
            self.refused.too_many += 1
            self._tell()
            return None
        return connection

    def _make_room(self) -> bool:
        if len(self._unproven) > 1:
            return self.evict()
        return self._end(self._resting.oldest_of_largest())

    def evict(self) -> bool:
        """Close the unproven connection that has the least right to stay; False where there is none."""
        is_done = self._end(self._unproven.oldest_of_largest())
        self.refused.evicted += is_done
        self._tell()
        return is_done

    def _end(self, connection: TcpConnection | None) -> bool:
        if connection is None:
            return False
        end = connection.end
        connection.mark_closed()
        end()
        return True

    def move(self, connection: TcpConnection, standing: ConnectionState) -> None:
        """Write down what a connection is now."""
        before = connection.standing
        if before is standing:
            return
        connection.standing = standing
        self._all += (before is ConnectionState.CLOSED) - (standing is ConnectionState.CLOSED)
        for shares, kind in ((self._unproven, ConnectionState.UNVERIFIED), (self._resting, ConnectionState.IDLE)):
            if before is kind:
                shares.remove(connection.owner, connection)
            elif standing is kind:
                shares.add(connection.owner, connection)

    def _tell(self) -> None:
        """Log what was closed: one line a second."""
        self._untold += 1
        now_ns = self.clock.monotonic_ns()
        if now_ns >= self._next_line_ns:
            log.warning("connections closed", count=self._untold, connections=self._all, unproven=len(self._unproven))
            self._next_line_ns, self._untold = now_ns + NS_PER_S, 0


def add_verification(scope: MutableMapping[str, Any], connection: TcpConnection) -> None:
    """Let an application mark_verified the connection of an ASGI scope."""
    scope[_PROOF] = connection.mark_busy


def mark_verified(scope: MutableMapping[str, Any]) -> None:
    """Prove the connection of an ASGI scope; nothing happens where its server keeps no books."""
    proof = scope.get(_PROOF)
    if proof is not None:
        proof()
