"""Limits on connections whose client does not read: how many there are, and how much is buffered for them."""

import asyncio
import socket
from typing import Final

MAX_CONNECTIONS: Final = 256
MAX_BYTES: Final = 64 << 20
"""In the write buffers of all of them."""

USER_TIMEOUT_MS: Final = 20_000


def set_user_timeout(transport: asyncio.BaseTransport) -> None:
    """Have the kernel end a connection whose client acknowledges nothing for so long (tcp(7), TCP_USER_TIMEOUT).

    Otherwise a connection that is closed with unsent data stays for as long as the client wants.
    """
    connected = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


class SlowReaders:
    """The connections of one port whose write buffer is full, those that have been full longest first.

    They are closed only if there are too many, or too much is buffered: a paused player may stay for hours.
    """

    def __init__(self, max_connections: int = MAX_CONNECTIONS, max_bytes: int = MAX_BYTES) -> None:
        self._max_connections = max_connections
        self._max_bytes = max_bytes
        self._transports: dict[asyncio.Transport, None] = {}

    def __len__(self) -> int:
        return len(self._transports)

    def add(self, transport: asyncio.Transport) -> None:
        """Add a transport whose buffer is full, and abort the oldest ones while a limit is exceeded."""
        self._transports[transport] = None
        buffered_bytes = sum(each.get_write_buffer_size() for each in self._transports)
        while len(self._transports) > self._max_connections or buffered_bytes > self._max_bytes:
            oldest = next(iter(self._transports))
            buffered_bytes -= oldest.get_write_buffer_size()
            self.remove(oldest)
            oldest.abort()

    def remove(self, transport: asyncio.Transport) -> None:
        """Remove a transport whose client has read or disconnected. Safe to repeat."""
        self._transports.pop(transport, None)
