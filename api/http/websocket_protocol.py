"""uvicorn's WebSocket protocol, with limits on the memory and the time that one client takes."""

import asyncio
import logging
from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from rokuga.api.http.connection_limits import HttpConnection, add_verification
from rokuga.api.http.protective_headers import PROTECTIVE_HEADERS
from rokuga.api.http.slow_readers import set_user_timeout

MAX_MESSAGE_BYTES: Final = 1 << 20

STALLED_S: Final = 10.0
"""A client that does not read for so long is disconnected."""

FRAMES_AT_ONCE: Final = 500
FRAMES_PER_SECOND: Final = 100
"""Frames of all kinds that one client may send: a burst, then a rate. More are left unread until the rate allows."""

READ_BYTES: Final = 1024
"""Parsed at a time, before its frames are counted."""


class _Handshake(ServerProtocol):
    """The handshake; refusals have the headers of all other responses."""

    def send_response(self, response: Response) -> None:
        for name, value in PROTECTIVE_HEADERS:
            if name not in response.headers:
                response.headers[name] = value
        super().send_response(response)


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """One connection. It needs compression turned off, which would keep 45 kB for each client.

    Received bytes are parsed in small pieces, and only after the application has received the last message.
    """

    def __init__(self, connection: HttpConnection, client: tuple[str, int], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.conn.parser.close()  # this generator would keep the first parser alive
        self.conn = _Handshake(max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error"))
        self._connection = connection
        self._client = client
        self._unread = bytearray()
        self._frames = float(FRAMES_AT_ONCE)
        self._counted_s = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the socket."""
        super().connection_made(transport)
        self.client = self._client
        set_user_timeout(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the parser: a generator in a reference cycle with its protocol."""
        super().connection_lost(exc)
        self._connection.mark_closed()
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._timer = self._stalled = None
        self._unread.clear()
        self.conn.parser.close()

    def pause_writing(self) -> None:
        """Start the timeout of a client that does not read."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the timeout: the client has read."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def handle_connect(self, event: Request) -> None:
        """Start the application, which may mark the connection as verified."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            add_verification(self.scope, self._connection)  # type: ignore[arg-type]  # a TypedDict

    def handle_ping(self) -> None:
        """Send a pong, unless earlier ones are unread: RFC 6455 section 5.5.3 allows to omit some."""
        output = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(output)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        self._unread += data
        self._parse()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message, then parse received bytes: none are parsed before the handshake is complete."""
        await super().send(message)
        self._parse()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next event to the application, then parse received bytes."""
        message = await super().receive()
        self._parse()
        return message

    def handle_events(self) -> None:
        """Count frames."""
        self._frames -= len(self.conn.events)
        super().handle_events()

    def _parse(self) -> None:
        """Parse received bytes, as far as the frame rate and the application allow."""
        while self._unread and self._is_ready and not self.transport.is_closing():
            if self._timer is not None or not self._is_within_rate():
                self.transport.pause_reading()
                return
            piece = bytes(self._unread[:READ_BYTES])
            del self._unread[:READ_BYTES]
            super().data_received(piece)
        if self.transport.is_closing():
            self._unread.clear()

    @property
    def _is_ready(self) -> bool:
        """Whether the application is ready for the next message."""
        return not self.read_paused and self.handshake_complete is self.handshake_initiated

    def _is_within_rate(self) -> bool:
        """Return whether the client is within its frame rate; if not, set a timer that continues."""
        now_s = self.loop.time()
        earned = (now_s - self._counted_s) * FRAMES_PER_SECOND
        self._frames, self._counted_s = min(self._frames + earned, FRAMES_AT_ONCE), now_s
        if self._frames >= 1:
            return True
        self._timer = self.loop.call_later((1 - self._frames) / FRAMES_PER_SECOND, self._on_timer)
        return False

    def _on_timer(self) -> None:
        self._timer = None
        self._parse()
        if self._timer is None and not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
