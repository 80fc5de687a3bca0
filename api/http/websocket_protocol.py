"""uvicorn's WebSocket, as signalling needs it: bounded in what it keeps and in what it does for one client."""

import asyncio
import logging
from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from rokuga.api.http.connection_limits import TcpConnection, add_verification
from rokuga.api.http.protective_headers import PROTECTIVE_HEADERS
from rokuga.api.http.slow_readers import set_user_timeout

MAX_MESSAGE_BYTES: Final = 1 << 20

STALLED_S: Final = 10.0
"""A client that does not read for so long is gone."""

FRAMES_AT_ONCE: Final = 500
FRAMES_PER_SECOND: Final = 100
"""What is read of one client's frames, of all kinds together; more of them have to wait, unread."""

READ_BYTES: Final = 1024
"""Read of what has come before the frames in it are counted."""


class _Handshake(ServerProtocol):
    """A WebSocket whose refusals have the headers of every other answer."""

    def send_response(self, response: Response) -> None:
        for name, value in PROTECTIVE_HEADERS:
            if name not in response.headers:
                response.headers[name] = value
        super().send_response(response)


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """One connection. Compression is best left off: it keeps 45 kB a client for a few messages each.

    What has come is looked at in small pieces, and no further than the application has taken the last message.
    """

    def __init__(self, connection: TcpConnection, client: tuple[str, int], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.conn.parser.close()  # a generator that would hold the first one for ever
        self.conn = _Handshake(max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error"))
        self._connection = connection
        self._client = client
        self._unread = bytearray()
        self._frames = float(FRAMES_AT_ONCE)
        self._counted_s = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.client = self._client
        set_user_timeout(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the parser, a generator that holds its protocol and is held by it, and waits for ever."""
        super().connection_lost(exc)
        self._connection.mark_closed()
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._timer = self._stalled = None
        self._unread.clear()
        self.conn.parser.close()

    def pause_writing(self) -> None:
        """Give a client that does not read some time."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it has read."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def handle_connect(self, event: Request) -> None:
        """Begin signalling, which can say that the client is one."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            add_verification(self.scope, self._connection)  # type: ignore[arg-type]  # a TypedDict

    def handle_ping(self) -> None:
        """Answer, unless the answers before are not read: RFC 6455 section 5.5.3 allows to leave some out."""
        output = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(output)

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        self._unread += data
        self._read_on()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says, and look at what has come meanwhile: before the handshake nothing is."""
        await super().send(message)
        self._read_on()

    async def receive(self) -> ASGIReceiveEvent:
        """Give the application what happened, and look at what has come meanwhile."""
        message = await super().receive()
        self._read_on()
        return message

    def handle_events(self) -> None:
        """Count frames."""
        self._frames -= len(self.conn.events)
        super().handle_events()

    def _read_on(self) -> None:
        """Look at what has come, as far as the client may go on."""
        while self._unread and self._may_read and not self.transport.is_closing():
            if self._timer is not None or not self._may_go_on():
                self.transport.pause_reading()
                return
            piece = bytes(self._unread[:READ_BYTES])
            del self._unread[:READ_BYTES]
            super().data_received(piece)
        if self.transport.is_closing():
            self._unread.clear()

    @property
    def _may_read(self) -> bool:
        """Whether the application is ready for what comes."""
        return not self.read_paused and self.handshake_complete is self.handshake_initiated

    def _may_go_on(self) -> bool:
        """Say whether the client has frames left; if not, look again when it has."""
        now_s = self.loop.time()
        earned = (now_s - self._counted_s) * FRAMES_PER_SECOND
        self._frames, self._counted_s = min(self._frames + earned, FRAMES_AT_ONCE), now_s
        if self._frames >= 1:
            return True
        self._timer = self.loop.call_later((1 - self._frames) / FRAMES_PER_SECOND, self._wait_is_over)
        return False

    def _wait_is_over(self) -> None:
        self._timer = None
        self._read_on()
        if self._timer is None and not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
