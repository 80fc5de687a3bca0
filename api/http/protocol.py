"""One connection of HTTP: uvicorn's protocol on our own reading of requests, which are whole in time or refused."""

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from rokuga.api.http.connection_limits import TcpConnection
from rokuga.api.http.framing import End, Head, MalformedRequest, RequestReader
from rokuga.api.http.json_response import failure
from rokuga.api.http.slow_readers import SlowReaders, set_user_timeout
from rokuga.api.http.websocket_protocol import WebsocketProtocol

LINGER_S: Final = 1.0
"""How long what still comes is read and thrown away after a refusal: a reset could overtake the answer."""

TIMED_OUT: Final = MalformedRequest("the request was not whole in time", 408)

_ERROR_TYPES: Final = {408: "REQUEST-TIMEOUT", 413: "PAYLOAD-TOO-LARGE", 431: "HEADERS-TOO-LARGE"}


class _Parser:
    """A head in the form in which uvicorn asks httptools for it."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def get_http_version(self) -> str:
        return self._head.version

    def get_method(self) -> bytes:
        return self._head.method

    def should_keep_alive(self) -> bool:
        return self._head.keeps_alive

    def should_upgrade(self) -> bool:
        return self._head.asks_for_websocket


class HttpProtocol(HttpToolsProtocol):
    """Reads one request after the other: the next is not looked at before the last is answered."""

    def __init__(
        self,
        connection: TcpConnection,
        client: tuple[str, int],
        slow_readers: SlowReaders,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._connection = connection
        self._slow_readers = slow_readers
        self._reader = RequestReader()
        self._deadline: asyncio.TimerHandle | None = None
        self._keeps_alive = False
        self._is_refused = False
        self._client = client

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self.client = self._client
        self._connection.end = transport.abort
        self._await_request()
        if self._connection.is_closed:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline, and give the connection's place back."""
        self._end_wait()
        self._connection.mark_closed()
        self._slow_readers.remove(self.transport)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the other end does not read."""
        super().pause_writing()
        self._slow_readers.add(self.transport)

    def resume_writing(self) -> None:
        """Note that it has read."""
        super().resume_writing()
        self._slow_readers.remove(self.transport)

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        if self._reader.is_between and self._deadline is None and self._is_answered:
            self._await_request()
        self._reader.receive(data)
        self._read_on()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _read_on(self) -> None:
        """Go through what has come, up to the end of a request that is not answered yet."""
        while not self.transport.is_closing():
            if self._reader.is_between and not self._is_answered:
                if self._reader.unread_bytes:
                    self.flow.pause_reading()
                return
            try:
                found = self._reader.next()
            except MalformedRequest as fault:
                self._connection.limits.refused.malformed += 1
                self._refuse(fault)
                return
            match found:
                case None:
                    return
                case Head():
                    self._begin(found)
                    if found.asks_for_websocket:
                        return
                case End():
                    self.on_message_complete()
                case piece:
                    self.on_body(piece)

    def _begin(self, head: Head) -> None:
        """Start the application on a request, its body still to come; or hand the connection over to a WebSocket."""
        self.on_message_begin()
        self.url = head.target
        self.headers.extend(head.headers)
        self.expect_100_continue = head.expects_continue
        self.parser = _Parser(head)  # type: ignore[assignment]
        self.on_headers_complete()
        if head.asks_for_websocket:
            self.handle_websocket_upgrade()
            return
        self._keeps_alive = self.cycle.keep_alive
        if head.expects_continue:  # who is answered before may send the body or not (RFC 9110 section 10.1.1)
            self.cycle.keep_alive = False

    def _should_upgrade(self) -> bool:
        """Say whether a request that asks for a WebSocket may have one."""
        return True

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._has_come()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting: the request is whole."""
        self._has_come()
        self._end_wait()
        self._connection.mark_busy()
        super().on_message_complete()
        if self.cycle.response_complete:
            self._connection.mark_idle()

    def _has_come(self) -> None:
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    def on_response_complete(self) -> None:
        """Look at the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            set_user_timeout(self.transport)
        if self._reader.is_between:
            self._connection.mark_idle()
        if not self.transport.is_closing() and self._reader.unread_bytes:
            self._unset_keepalive_if_required()
            if self._deadline is None:
                self._await_request()
            self.loop.call_soon(self._read_on)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, with what has come behind the head: it is signalling's."""
        self._end_wait()
        self.connections.discard(self)
        lines = [b"GET %b HTTP/1.1\r\n" % self.url, *(b"%b: %b\r\n" % header for header in self.headers), b"\r\n"]
        self.parser = None  # type: ignore[assignment]
        protocol = WebsocketProtocol(
            self._connection,
            self._client,
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
        )
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(b"".join(lines))
        rest = self._reader.rest()
        if rest and not self.transport.is_closing():
            protocol.data_received(rest)

    def _refuse(self, fault: MalformedRequest) -> None:
        """JsonResponse what cannot be read on, unless an answer has begun, and close."""
        self._is_refused = True
        self._end_wait()
        self._unset_keepalive_if_required()
        begun = self.cycle is not None and self.cycle.response_started and not self._reader.is_between
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if begun:
            self.transport.close()
            return
        body = failure(_ERROR_TYPES.get(fault.status, "MALFORMED-REQUEST"), {"request": str(fault)}).body
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = [STATUS_LINE[fault.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body]
        self.transport.write(b"".join(lines))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            self.transport.close()

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(self._connection.limits.request_s, self._give_up)

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """End a request that is not whole in time."""
        self._deadline = None
        if self._reader.is_between and not self._reader.unread_bytes:
            self.transport.close()
        elif not self.transport.is_closing():
            self._refuse(TIMED_OUT)
