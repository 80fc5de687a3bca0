"""Takes the TCP connections of one listening socket, and gives each to a protocol once it has something to say.

Until then it is a socket and nothing else: who connects and says nothing costs no transport, no protocol and no turn.
A connection that speaks has to wait for a turn of its address (`max_connects_per_second`), unread, unless it comes
from this machine or from a trusted proxy. A trusted proxy may say by the PROXY protocol who connected to it.
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

from rokuga.api.http.authority import Network, client_network, is_loopback, is_within
from rokuga.api.http.connection_limits import ConnectionLimits, TcpConnection
from rokuga.api.http.proxy_protocol import MAX_HEADER_BYTES, MalformedProxyHeader, read_proxy_header
from rokuga.api.http.round_robin import RoundRobinQueue

log = structlog.get_logger()

HANDSHAKE_S: Final = 10.0
"""How long a TLS handshake may take."""

ACCEPTED_AT_ONCE: Final = 64
"""Connections that are accepted before anything else has its turn in the event loop."""
TURN_S: Final = 0.01
TURNS_AT_ONCE: Final = 8
PEEK_S: Final = 0.05
"""How long the rest of a PROXY header is waited for before it is looked for again."""
EXHAUSTED_S: Final = 0.1

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER by which a socket is closed with a reset: nothing of it is left in the kernel."""

Client = tuple[str, int]
MakeProtocol = Callable[[TcpConnection, Client], asyncio.Protocol]


@dataclass(eq=False, slots=True)
class _Accepted:
    """A connection that has no protocol yet."""

    socket: socket.socket
    peer: Client
    client: Client
    is_trusted: bool
    deadline: asyncio.TimerHandle | None = None
    connection: TcpConnection | None = None
    is_over: bool = False


class Acceptor:
    """Accepts from its making until `close`; the listening socket stays its owner's."""

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
        self._turns: RoundRobinQueue[_Accepted] = RoundRobinQueue(limits.max_per_second)
        self._waiting: set[_Accepted] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more, and close what has no protocol yet."""
        self._is_closed = True
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()
        for accepted in list(self._waiting):
            self._drop(accepted)
        for task in self._starting:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until nothing is being started any more."""
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
                    self._relieve(error)
                    return
                continue  # it is gone again (accept(2))
            connected.setblocking(False)
            self._admit(connected, (str(address[0]), int(address[1])))

    def _relieve(self, error: OSError) -> None:
        """Wait a moment where there are no descriptors left, and close whoever has shown nothing."""
        log.error("no connection can be accepted", reason=str(error))
        self._limits.evict()
        self._loop.remove_reader(self._listener)
        self._loop.call_later(EXHAUSTED_S, self._listen)

    def _admit(self, connected: socket.socket, peer: Client) -> None:
        accepted = _Accepted(connected, peer, peer, is_within(peer[0], self._trusted))
        accepted.connection = self._limits.admit(client_network(peer[0]), lambda: self._drop(accepted))
        if accepted.connection is None:
            _reset(connected)
            return
        self._waiting.add(accepted)
        accepted.deadline = self._loop.call_later(self._limits.request_s, self._drop, accepted)
        self._loop.add_reader(connected, self._speaks, accepted)

    def _speaks(self, accepted: _Accepted) -> None:
        """Go on with a connection that has something to be read, or has ended."""
        self._loop.remove_reader(accepted.socket)
        try:
            if not accepted.socket.recv(1, socket.MSG_PEEK):
                self._drop(accepted)
                return
            if accepted.is_trusted and not self._take_proxy_header(accepted):
                return
        except (MalformedProxyHeader, OSError):
            self._drop(accepted)
            return
        if is_loopback(accepted.client[0]) or (accepted.is_trusted and accepted.client == accepted.peer):
            self._start(accepted)
            return
        self._turns.add(client_network(accepted.client[0]), accepted)
        self._take_turns()
        self._limits.refused.delayed += accepted in self._waiting

    def _take_proxy_header(self, accepted: _Accepted) -> bool:
        """Read who is behind a proxy; False where that is not all there yet. Raises OSError, MalformedProxyHeader."""
        data = accepted.socket.recv(MAX_HEADER_BYTES, socket.MSG_PEEK)
        header = read_proxy_header(data)
        if header is None:
            self._loop.call_later(PEEK_S, self._look_again, accepted)
            return False
        if header.length:
            accepted.socket.recv(header.length)
        if header.client is not None and accepted.connection is not None:
            accepted.client = header.client
            accepted.connection.set_owner(client_network(header.client[0]))
        return True

    def _look_again(self, accepted: _Accepted) -> None:
        if not accepted.is_over:
            self._speaks(accepted)

    def _take_turns(self) -> None:
        """Start those whose turn it is; while somebody waits, at most TURNS_AT_ONCE each TURN_S."""
        if self._timer is not None or self._is_closed:
            return
        for accepted in self._turns.pop_due(self._limits.clock.monotonic_ns(), TURNS_AT_ONCE):
            self._start(accepted)
        if self._turns:
            self._timer = self._loop.call_later(TURN_S, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._take_turns()

    def _start(self, accepted: _Accepted) -> None:
        """Give a connection its protocol, after a TLS handshake where there is one."""
        self._waiting.discard(accepted)
        if accepted.deadline is not None:
            accepted.deadline.cancel()
        if accepted.connection is not None:
            task = self._loop.create_task(self._connect(accepted, accepted.connection))
            accepted.connection.end = task.cancel  # type: ignore[assignment]  # what it gives is overlooked
            self._starting.add(task)
            task.add_done_callback(lambda task: self._started(accepted, task))

    async def _connect(self, accepted: _Accepted, connection: TcpConnection) -> None:
        def make() -> asyncio.Protocol:
            return self._make_protocol(connection, accepted.client)

        patience_s = None if self._tls is None else HANDSHAKE_S
        try:
            await self._loop.connect_accepted_socket(
                make, accepted.socket, ssl=self._tls, ssl_handshake_timeout=patience_s
            )
        except OSError:  # no handshake, in time or at all; ssl.SSLError and TimeoutError are some
            _reset(accepted.socket)
            connection.mark_closed()

    def _started(self, accepted: _Accepted, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if task.cancelled():
            _reset(accepted.socket)

    def _drop(self, accepted: _Accepted) -> None:
        """Close a connection that has no protocol."""
        if accepted.is_over or accepted not in self._waiting:
            return
        accepted.is_over = True
        self._waiting.discard(accepted)
        self._turns.remove(client_network(accepted.client[0]), accepted)
        if accepted.deadline is not None:
            accepted.deadline.cancel()
        if accepted.connection is not None:
            accepted.connection.mark_closed()
        self._loop.remove_reader(accepted.socket)
        _reset(accepted.socket)


def _reset(connected: socket.socket) -> None:
    if connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connected.close()
