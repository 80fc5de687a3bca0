"""Connections whose other end does not read: how much is kept for them, and which of them is closed."""

import asyncio
import socket
from typing import Final

MAX_CONNECTIONS: Final = 256
MAX_BYTES: Final = 64 << 20
"""In the buffers of all of them."""


UNREAD_MS: Final = 20_000
"""How long the kernel keeps what is not taken, where nobody waits for it to be."""


def set_user_timeout(transport: asyncio.BaseTransport) -> None:
    """Let the kernel end a connection whose other end takes nothing (tcp(7), TCP_USER_TIMEOUT).

    One that was closed with something in its buffer would else stay for as long as the other end likes.
    """
    connected = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)


class SlowReaders:
    """Those of one port that have to read before more can be written to them, the one that has stood longest first.

    A player that is paused for hours is one, and may be: it is closed only where there are too many of them, or too
    much is kept for all of them.
    """

    def __init__(self, max_connections: int = MAX_CONNECTIONS, max_bytes: int = MAX_BYTES) -> None:
        self._max_connections = max_connections
        self._max_bytes = max_bytes
        self._transports: dict[asyncio.Transport, None] = {}

    def __len__(self) -> int:
        return len(self._transports)

    def add(self, transport: asyncio.Transport) -> None:
        """Note that the buffer of a transport is full, and abort the longest of them while there is too much."""
        self._transports[transport] = None
        kept_bytes = sum(each.get_write_buffer_size() for each in self._transports)
        while len(self._transports) > self._max_connections or kept_bytes > self._max_bytes:
            oldest = next(iter(self._transports))
            kept_bytes -= oldest.get_write_buffer_size()
            self.remove(oldest)
            oldest.abort()

    def remove(self, transport: asyncio.Transport) -> None:
        """Note that the other end has read, or is gone. Safe to repeat."""
        self._transports.pop(transport, None)
