"""Limits on WHIP sessions: publishes per address and second, and sessions in total.

The limits on TCP connections do not limit sessions: one connection can make any number of them, and they outlive it.
"""

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus

from rokuga.api.whip.problem import Problem
from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.transport.addresses import remote_network_of


class PublishLimits:
    """At most `max_per_second` POSTs of an address, loopback excepted, and `max_sessions` connected publishers."""

    def __init__(self, monotonic_ns: Callable[[], int], max_per_second: int, max_sessions: int) -> None:
        self._monotonic_ns = monotonic_ns
        self._max_per_second = max_per_second
        self._max_sessions = max_sessions
        self._second = 0
        self._posted: Counter[bytes] = Counter()

    def check(self, address: str, connected: int) -> None:
        """Count a POST. `connected` is the number of connected publishers. Raises Problem if a limit is exceeded."""
        second = self._monotonic_ns() // NS_PER_S
        if second != self._second:
            self._second = second
            self._posted.clear()
        network = remote_network_of(address)
        self._posted[network] += 1
        if network and self._posted[network] > self._max_per_second:
            detail = f"TOO-MANY-REQUESTS: more than {self._max_per_second} a second from this address"
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": "1"})
        if connected >= self._max_sessions:
            detail = f"TOO-MANY-SESSIONS: {self._max_sessions} are connected"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "5"})
