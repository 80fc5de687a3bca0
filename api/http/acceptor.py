"""Accepts the TCP connections of a listening socket, and makes the protocol of each once its first bytes arrive.

Until then a connection is a bare socket: idle ones cost no transport and no protocol. The first bytes stay unread
until the client's address is within `max_connects_per_second`; loopback and trusted proxies are exempt. A trusted
proxy may report its client by the PROXY protocol.
"""

import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from rokuga.api.http.address_text import Network, client_network, is_loopback, is_within
from rokuga.api.http.connection_limits import ConnectionLimits, HttpConnection
from rokuga.api.http.proxy_protocol import MAX_HEADER_BYTES, MalformedProxyHeader, read_proxy_header
from rokuga.api.http.round_robin import RoundRobinQueue

log = structlog.get_logger()

HANDSHAKE_TIMEOUT_S: Final = 10.0

ACCEPTED_AT_ONCE: Final = 64
"""Connections pending in one callback of the event loop."""
START_INTERVAL_S: Final = 0.01
MAX_STARTED_AT_ONCE: Final = 8
"""Connections started in each interval, while others wait."""
PEEK_S: Final = 0.05
"""Pause before an incomplete PROXY header is read again."""
EXHAUSTED_S: Final = 0.1
"""Pause of accepting after the process has run out of file descriptors."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that closes a socket with a reset, so that the kernel keeps nothing of it."""

Client = tuple[str, int]
MakeProtocol = Callable[[HttpConnection, Client], asyncio.Protocol]


@dataclass(eq=False, slots=True)
class _Pending:
    """A connection without a protocol."""

    socket: socket.socket
    peer: Client
    client: Client
    is_trusted: bool
    deadline: asyncio.TimerHandle | None = None
    connection: HttpConnection | None = None
    is_dropped: bool = False


class Acceptor:
    """Accepts connections until `close`. The caller closes the listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        limits: ConnectionLimits,
        trusted: Sequence[Network],
        make_protocol: MakeProtocol,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listener = listener
        self._limits = limits
        self._trusted = trusted
        self._make_protocol = make_protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._queue: RoundRobinQueue[_Pending] = RoundRobinQueue(limits.max_per_second)
        self._waiting: set[_Pending] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Stop accepting, and close connections without a protocol."""
        self._is_closed = True
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()
        for pending in list(self._waiting):
            self._drop(pending)
        for task in self._starting:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until no connection is being started."""
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _listen(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connected, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause_accepting(error)
                    return
                continue  # the client has closed it already (accept(2))
            connected.setblocking(False)
            self._admit(connected, (str(address[0]), int(address[1])))

    def _pause_accepting(self, error: OSError) -> None:
        """Pause after running out of file descriptors, and close an unverified connection."""
        log.error("accepting connections failed, retrying", reason=str(error))
        self._limits.evict()
        self._loop.remove_reader(self._listener)
        self._loop.call_later(EXHAUSTED_S, self._listen)

    def _admit(self, connected: socket.socket, peer: Client) -> None:
        pending = _Pending(connected, peer, peer, is_within(peer[0], self._trusted))
        pending.connection = self._limits.admit(client_network(peer[0]), lambda: self._drop(pending))
        if pending.connection is None:
            _reset(connected)
            return
        self._waiting.add(pending)
        pending.deadline = self._loop.call_later(self._limits.request_s, self._drop, pending)
        self._loop.add_reader(connected, self._on_readable, pending)

    def _on_readable(self, pending: _Pending) -> None:
        """Continue with a connection that has bytes to read, or was closed."""
        self._loop.remove_reader(pending.socket)
        try:
            if not pending.socket.recv(1, socket.MSG_PEEK):
                self._drop(pending)
                return
            if pending.is_trusted and not self._read_proxy_header(pending):
                return
        except (MalformedProxyHeader, OSError):
            self._drop(pending)
            return
        if is_loopback(pending.client[0]) or (pending.is_trusted and pending.client == pending.peer):
            self._start(pending)
            return
        self._queue.add(client_network(pending.client[0]), pending)
        self._start_due()
        self._limits.counts.delayed += pending in self._waiting

    def _read_proxy_header(self, pending: _Pending) -> bool:
        """Read a PROXY header; False where it is incomplete. Raises OSError, MalformedProxyHeader."""
        data = pending.socket.recv(MAX_HEADER_BYTES, socket.MSG_PEEK)
        header = read_proxy_header(data)
        if header is None:
            self._loop.call_later(PEEK_S, self._retry, pending)
            return False
        if header.length:
            pending.socket.recv(header.length)
        if header.client is not None and pending.connection is not None:
            pending.client = header.client
            pending.connection.set_owner(client_network(header.client[0]))
        return True

    def _retry(self, pending: _Pending) -> None:
        if not pending.is_dropped:
            self._on_readable(pending)

    def _start_due(self) -> None:
        """Start connections within their rate; while others wait, MAX_STARTED_AT_ONCE each START_INTERVAL_S."""
        if self._timer is not None or self._is_closed:
            return
        for pending in self._queue.pop_due(self._limits.clock.monotonic_ns(), MAX_STARTED_AT_ONCE):
            self._start(pending)
        if self._queue:
            self._timer = self._loop.call_later(START_INTERVAL_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._start_due()

    def _start(self, pending: _Pending) -> None:
        """Start a task that makes the protocol, after a TLS handshake if TLS is configured."""
        self._waiting.discard(pending)
        if pending.deadline is not None:
            pending.deadline.cancel()
        if pending.connection is not None:
            task = self._loop.create_task(self._connect(pending, pending.connection))
            pending.connection.end = task.cancel  # type: ignore[assignment]  # its result is ignored
            self._starting.add(task)
            task.add_done_callback(lambda task: self._started(pending, task))

    async def _connect(self, pending: _Pending, connection: HttpConnection) -> None:
        def make() -> asyncio.Protocol:
            return self._make_protocol(connection, pending.client)

        timeout_s = None if self._tls is None else HANDSHAKE_TIMEOUT_S
        try:
            await self._loop.connect_accepted_socket(
                make, pending.socket, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except OSError:  # the handshake failed; ssl.SSLError and TimeoutError are subclasses
            _reset(pending.socket)
            connection.mark_closed()

    def _started(self, pending: _Pending, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if task.cancelled():
            _reset(pending.socket)

    def _drop(self, pending: _Pending) -> None:
        """Close a connection without a protocol."""
        if pending.is_dropped or pending not in self._waiting:
            return
        pending.is_dropped = True
        self._waiting.discard(pending)
        self._queue.remove(client_network(pending.client[0]), pending)
        if pending.deadline is not None:
            pending.deadline.cancel()
        if pending.connection is not None:
            pending.connection.mark_closed()
        self._loop.remove_reader(pending.socket)
        _reset(pending.socket)


def _reset(connected: socket.socket) -> None:
    if connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connected.close()
