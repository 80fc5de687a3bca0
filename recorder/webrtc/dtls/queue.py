"""Datagrams of DTLS wait here, and one is handed over a turn of the loop.

A handshake step takes milliseconds, and reading comes first.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.transport.flow import Flow

MAX_QUEUED_DTLS: Final = 512
DTLS_PER_S: Final = 64
"""Datagrams of DTLS that one peer is heard for: a handshake has a dozen, and each costs as much as ten of media."""


class DtlsQueue:
    """The queue of all peers. `on_fault` is told of what a peer's call raised."""

    def __init__(self, on_fault: Callable[[Flow, Exception], None]) -> None:
        self._on_fault = on_fault
        self._waiting: deque[tuple[Flow, bytes]] = deque()

    def takes(self, flow: Flow, now_ns: int) -> bool:
        """Whether there is room for one more datagram of this peer; it is counted."""
        second = now_ns // NS_PER_S
        if second != flow.dtls_second:
            flow.dtls_second, flow.dtls_count = second, 0
        flow.dtls_count += 1
        return flow.dtls_count <= DTLS_PER_S and len(self._waiting) < MAX_QUEUED_DTLS

    def put(self, flow: Flow, data: bytes) -> None:
        """Let a datagram wait for its turn."""
        self._waiting.append((flow, data))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._hand_over)

    def clear(self) -> None:
        """Hand nothing over any more."""
        self._waiting.clear()

    def _hand_over(self) -> None:
        if not self._waiting:
            return
        flow, data = self._waiting.popleft()
        try:
            flow.on_dtls(data)
        except Exception as error:  # our fault, told to the peer that it ends
            self._on_fault(flow, error)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._hand_over)
