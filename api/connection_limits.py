"""Limits on TCP connections and on the time and size of a request, before the application sees anything of it.

uvicorn's parser sets none: a connection that never says anything, or whose header never ends, would stay for good.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rokuga.api.counters import Numbers
from rokuga.recorder.clock import Clock
from rokuga.recorder.media import NS_PER_S

log = structlog.get_logger()

MAX_HEAD_BYTES: Final = 64 << 10
"""Request line and headers."""

TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass
class Refused:
    """The connections that both ports closed at once."""

    too_many: int = 0
    too_often: int = 0

    async def counters(self) -> Numbers:
        """Give them by the limit that they broke."""
        return {"connections_refused": {"max_connections": self.too_many, "max_connects_per_second": self.too_often}}


@dataclass
class ConnectionLimits:
    """Of one port: how many connections there may be, and how many may come from one address in a second.

    A request has `request_s` to be whole, counted from the connect or from its first byte.
    """

    max_connections: int
    max_per_second: int
    clock: Clock
    refused: Refused = field(default_factory=Refused)
    request_s: float = 20.0
    _second: int = 0
    _came: Counter[str] = field(default_factory=Counter)
    _untold: int = 0

    def admits(self, address: str, connections: int) -> bool:
        """Say whether one more may come from an address, now that there are so many with it."""
        second = self.clock.monotonic_ns() // NS_PER_S
        if second != self._second:
            if self._untold:
                log.warning("connections refused", count=self._untold, addresses=len(self._came))
            self._second, self._untold = second, 0
            self._came.clear()
        self._came[address] += 1
        is_too_many = connections > self.max_connections
        is_too_often = not is_too_many and self._came[address] > self.max_per_second
        self.refused.too_many += is_too_many
        self.refused.too_often += is_too_often
        self._untold += is_too_many or is_too_often
        return not (is_too_many or is_too_often)

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """Make the protocol of one connection, as uvicorn asks for it."""
        return _LimitedHttp(self, config, server_state, app_state, _loop)


class _LimitedHttp(HttpToolsProtocol):
    """HTTP whose requests are whole in time, and have heads that end."""

    def __init__(self, limits: ConnectionLimits, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse one too many without a word: a word costs more than the connection."""
        super().connection_made(transport)
        if self._limits.admits(self.client[0] if self.client else "", len(self.connections)):
            self._await_request()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, unless a head has no end."""
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a request."""
        super().on_message_begin()
        self._head_bytes = 0
        if self._deadline is None:
            self._await_request()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop waiting."""
        self._end_wait()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Stop waiting: what comes now is signalling's."""
        self._end_wait()
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # as when it is lost: the parser holds this protocol

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(self._limits.request_s, self.transport.abort)

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
