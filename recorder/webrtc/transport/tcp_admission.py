"""How many TCP connections may be unauthenticated at a time. Pure."""

from collections import Counter
from typing import Final

from rokuga.recorder.media import NS_PER_S

MAX_UNAUTHENTICATED: Final = 256
MAX_UNAUTHENTICATED_PER_ADDRESS: Final = 64
"""Unauthenticated connections, in all and of one address (of IPv6: one /64); one more is closed at once."""
MAX_FAILED_PER_S: Final = 64
"""Connections of an address that ended unauthenticated; until the next second, more from there are closed at once.

Validated connections do not count: any number of clients behind one NAT may connect at the same time.
"""


class TcpAdmission:
    """Counts unauthenticated connections by the network that they come from."""

    def __init__(self) -> None:
        self._open: Counter[bytes] = Counter()
        self._failed: Counter[bytes] = Counter()
        self._second = 0

    @property
    def unauthenticated(self) -> int:
        """Open unauthenticated connections."""
        return self._open.total()

    @property
    def failed(self) -> int:
        """Connections that have ended unauthenticated in this second."""
        return self._failed.total()

    def admit(self, network: bytes, now_ns: int) -> bool:
        """Count one more connection of a network as unauthenticated; return False if it is refused."""
        second = now_ns // NS_PER_S
        if second != self._second:
            self._second = second
            self._failed.clear()
        if (
            self._failed[network] >= MAX_FAILED_PER_S
            or self._open[network] >= MAX_UNAUTHENTICATED_PER_ADDRESS
            or self._open.total() >= MAX_UNAUTHENTICATED
        ):
            return False
        self._open[network] += 1
        return True

    def validate(self, network: bytes) -> None:
        """Count a connection as unauthenticated no more: it has validated its address."""
        self._open[network] -= 1
        if not self._open[network]:
            del self._open[network]

    def end(self, network: bytes) -> None:
        """Count the end of a connection that was unauthenticated to the end."""
        self.validate(network)
        self._failed[network] += 1
