"""uvicorn's WebSocket, as signalling needs it: nothing is left of it once its connection is gone."""

from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES: Final = 1 << 20


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """One connection. Compression is best left off: it keeps 45 kB a client for a few messages each."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the parser, a generator that holds its protocol and is held by it, and waits for ever."""
        super().connection_lost(exc)
        self.conn.parser.close()
