"""uvicorn's HTTP protocol with our parser: a request that is malformed, or not complete in time, is refused."""

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from rokuga.api.http.connection_limits import HttpConnection
from rokuga.api.http.framing import End, RequestReader
from rokuga.api.http.json_response import failure
from rokuga.api.http.request_head import Head, MalformedRequest
from rokuga.api.http.slow_readers import SlowReaders, set_user_timeout
from rokuga.api.http.websocket_protocol import WebsocketProtocol

LINGER_S: Final = 1.0
"""How long received bytes are discarded after a refusal: a reset would destroy the response on its way."""

TIMED_OUT: Final = MalformedRequest("the request was not whole in time", 408)

_ERROR_TYPES: Final = {408: "REQUEST-TIMEOUT", 413: "PAYLOAD-TOO-LARGE", 431: "HEADERS-TOO-LARGE"}


class _Parser:
    """A head with the interface of httptools' parser, which uvicorn reads."""

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
    """Processes requests one by one: the next is parsed after the response to the previous one."""

    def __init__(
        self,
        connection: HttpConnection,
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
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self.client = self._client
        self._connection.end = transport.abort
        self._start_deadline()
        if self._connection.is_closed:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline and release the connection's place in its limits."""
        self._cancel_deadline()
        self._connection.mark_closed()
        self._slow_readers.remove(self.transport)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._slow_readers.add(self.transport)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._slow_readers.remove(self.transport)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        if self._reader.is_between and self._deadline is None and self._is_answered:
            self._start_deadline()
        self._reader.receive(data)
        self._parse()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _parse(self) -> None:
        """Parse received bytes, up to the end of a request that is not answered yet."""
        while not self.transport.is_closing():
            if self._reader.is_between and not self._is_answered:
                if self._reader.unread_bytes:
                    self.flow.pause_reading()
                return
            try:
                found = self._reader.next()
            except MalformedRequest as fault:
                self._connection.limits.counts.malformed += 1
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
        """Start the application with a head, before the body; or switch the connection to WebSocket."""
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
        if head.expects_continue:  # answered early, the client may omit the body (RFC 9110 section 10.1.1)
            self.cycle.keep_alive = False

    def _should_upgrade(self) -> bool:
        """Accept every upgrade to WebSocket; the head was checked by our parser."""
        return True

    def on_body(self, body: bytes) -> None:
        """Pass a piece of a body to the application."""
        self._body_arrived()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Cancel the deadline: the request is complete."""
        self._body_arrived()
        self._cancel_deadline()
        self._connection.mark_busy()
        super().on_message_complete()
        if self.cycle.response_complete:
            self._connection.mark_idle()

    def _body_arrived(self) -> None:
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            set_user_timeout(self.transport)
        if self._reader.is_between:
            self._connection.mark_idle()
        if not self.transport.is_closing() and self._reader.unread_bytes:
            self._unset_keepalive_if_required()
            if self._deadline is None:
                self._start_deadline()
            self.loop.call_soon(self._parse)

    def handle_websocket_upgrade(self) -> None:
        """Switch the connection to WebSocket, with the bytes that follow the head."""
        self._cancel_deadline()
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
        self._cancel_deadline()
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

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self._connection.limits.request_s, self._deadline_passed)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_passed(self) -> None:
        """Close an idle connection; refuse an incomplete request."""
        self._deadline = None
        if self._reader.is_between and not self._reader.unread_bytes:
            self.transport.close()
        elif not self.transport.is_closing():
            self._refuse(TIMED_OUT)
