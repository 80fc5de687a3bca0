"""Queues datagrams of DTLS and passes one to its peer in each iteration of the event loop.

A handshake step takes milliseconds; reading media has priority.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.transport.flow import Flow

MAX_QUEUED_DTLS: Final = 512
DTLS_PER_S: Final = 64
"""Datagrams of DTLS accepted from one peer. A handshake has a dozen, and each costs as much as ten of media."""


class DtlsQueue:
    """The queue of all peers. `on_fault` is called with what a peer's handler raised."""

    def __init__(self, on_fault: Callable[[Flow, Exception], None]) -> None:
        self._on_fault = on_fault
        self._waiting: deque[tuple[Flow, bytes]] = deque()

    def admit(self, flow: Flow, now_ns: int) -> bool:
        """Count one more datagram of this peer and return whether it may be queued."""
        second = now_ns // NS_PER_S
        if second != flow.dtls_second:
            flow.dtls_second, flow.dtls_count = second, 0
        flow.dtls_count += 1
        return flow.dtls_count <= DTLS_PER_S and len(self._waiting) < MAX_QUEUED_DTLS

    def put(self, flow: Flow, data: bytes) -> None:
        """Queue a datagram."""
        self._waiting.append((flow, data))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._pass_one)

    def clear(self) -> None:
        """Drop all datagrams."""
        self._waiting.clear()

    def _pass_one(self) -> None:
        if not self._waiting:
            return
        flow, data = self._waiting.popleft()
        try:
            flow.handler.receive_dtls(data)
        except Exception as error:  # an internal error: the peer logs it and ends
            self._on_fault(flow, error)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._pass_one)
