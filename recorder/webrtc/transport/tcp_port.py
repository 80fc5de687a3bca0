"""The TCP listeners of the media port, for peers whose UDP is blocked: passive candidates of RFC 6544.

A connection carries the same datagrams as UDP, each in a frame (RFC 4571), and the demultiplexer takes them as if
they had come by UDP. Who has completed TCP's handshake has not forged its address, so more can be asked of it: until
one of its checks was authenticated it may send nothing but STUN, and has PROOF_S for that. Reading pauses after each
time, as UDP's does, so that a peer wakes us fifty times a second at most.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, cast

from rokuga.recorder.media import NS_PER_S
from rokuga.recorder.webrtc.ice.ice_lite import Address, TransportPath
from rokuga.recorder.webrtc.transport.demultiplexer import MAX_DATAGRAM_BYTES, Demultiplexer

READ_BYTES: Final = 64 * 1024
"""Read at a time: with the pause between, 26 Mbit/s of one connection."""
PAUSE_S: Final = 0.02
PROOF_S: Final = 10.0
"""How long a connection may be without a peer: before its first authenticated check, or after its peer has ended."""
MAX_UNAUTHENTICATED: Final = 256
MAX_UNAUTHENTICATED_PER_ADDRESS: Final = 64
"""Connections that are no peer's, in all and of one address (of IPv6: of one /64); one more is closed at once."""
MAX_FAILED_PER_S: Final = 64
"""Connections of an address that ended without a proof; in the rest of the second it is let in no more.

Who proves itself does not count: of the clients behind one NAT any number may come at the same time.
"""
MAX_UNPROVEN: Final = 32
"""Datagrams that a stranger may send: a client repeats its check until it is answered."""
MAX_FRAMES: Final = 2048
"""Of one read. No honest peer's are so small; of tiny ones it could hold 20,000 and keep all others waiting."""
MAX_UNSENT_BYTES: Final = 64 * 1024
"""What waits for a peer that reads slowly; what comes on top is lost, as with UDP."""

_LENGTH_BYTES: Final = 2


class TcpPort:
    """The listeners, by the index that names them in a path, served while the context is open and then closed."""

    def __init__(self, demultiplexer: Demultiplexer, monotonic_ns: Callable[[], int]) -> None:
        self.buffer = bytearray(_LENGTH_BYTES + MAX_DATAGRAM_BYTES + READ_BYTES)
        self.view = memoryview(self.buffer)
        self.demultiplexer = demultiplexer
        self.monotonic_ns = monotonic_ns
        self.strangers: Counter[str | bytes] = Counter()
        self.failed: Counter[str | bytes] = Counter()
        self._second = 0
        self._listeners: dict[int, _Listener] = {}
        self._paused: list[_Connection] = []

    @property
    def connections(self) -> Sequence["_Connection"]:
        """All open connections."""
        return [each for listener in self._listeners.values() for each in listener.connections.values()]

    async def add(self, listening: socket.socket, index: int) -> Callable[[bytes, Address], None]:
        """Serve one more listener; return what sends a datagram from it to an address. That raises OSError."""
        listener = self._listeners[index] = _Listener(self, listening, index)
        await listener.open()
        return listener.send

    async def remove(self, index: int) -> None:
        """Close a listener and its connections."""
        await self._listeners.pop(index).close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for index in list(self._listeners):
            await self.remove(index)

    def admits(self, key: str | bytes) -> bool:
        """Whether one more stranger may connect from there."""
        second = self.monotonic_ns() // NS_PER_S
        if second != self._second:
            self._second = second
            self.failed.clear()
        self.strangers += Counter()  # drops those that are zero
        return (
            self.failed[key] < MAX_FAILED_PER_S
            and self.strangers[key] < MAX_UNAUTHENTICATED_PER_ADDRESS
            and self.strangers.total() < MAX_UNAUTHENTICATED
        )

    def pause(self, connection: "_Connection") -> None:
        """Read no more of a connection for a while; one timer serves all of them."""
        if not self._paused:
            asyncio.get_running_loop().call_later(PAUSE_S, self._resume)
        self._paused.append(connection)

    def _resume(self) -> None:
        paused, self._paused = self._paused, []
        for connection in paused:
            connection.resume()


class _Listener:
    """One listening socket and its connections, by the address that they come from."""

    def __init__(self, port: TcpPort, listening: socket.socket, index: int) -> None:
        self.port = port
        self.index = index
        self.connections: dict[Address, _Connection] = {}
        self.flows = port.demultiplexer.checks.at(index)
        self._socket = listening
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=self._socket)

    async def close(self) -> None:
        for connection in list(self.connections.values()):
            connection.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def send(self, data: bytes, address: Address) -> None:
        connection = self.connections.get(address)
        if connection is None:
            raise ConnectionResetError("the connection is no more")
        connection.send(data)

    def lose(self, address: Address) -> None:
        self.port.demultiplexer.checks.lose(TransportPath(self.index, address))


class _Connection(asyncio.BufferedProtocol):
    """One TCP connection: frames in and out. `_rest` is the beginning of a frame whose end is still to come."""

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self._port = listener.port
        self._rest = b""
        self._unproven = 0
        self._stranger_key: str | bytes | None = None
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._address: Address | None = transport.get_extra_info("peername")
        counters = self._port.demultiplexer.counters
        if self._address is None or not self._port.admits(key := _key_of(self._address[0])):
            counters.refused += 1
            self.abort()
            return
        counters.connections += 1
        self._stranger_key = key
        self._port.strangers[key] += 1
        before = self._listener.connections.pop(self._address, None)
        if before is not None:  # it has ended, or this one could not be from there; its end was not read yet
            before.abort()
            self._listener.lose(self._address)
        self._listener.connections[self._address] = self
        self._expiry = asyncio.get_running_loop().call_later(PROOF_S, self._expire)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._stranger_key is not None:
            self._port.failed[self._stranger_key] += 1
        self._end_unauthenticated()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._address is not None and self._listener.connections.get(self._address) is self:
            del self._listener.connections[self._address]
            self._listener.lose(self._address)

    def get_buffer(self, _size: int) -> memoryview:
        """Read behind what is left of before. The buffer is everybody's: it is used up before anybody else reads."""
        self._port.buffer[: len(self._rest)] = self._rest
        return self._port.view[len(self._rest) :]

    def buffer_updated(self, size: int) -> None:
        if self._address is None:
            return
        end = len(self._rest) + size
        place = self._take_frames(end, self._address)
        self._rest = bytes(self._port.view[place:end])
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self._port.pause(self)

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def unsent_bytes(self) -> int:
        """What waits for the peer to read."""
        return self._transport.get_write_buffer_size()

    def send(self, data: bytes) -> None:
        if self.unsent_bytes + _LENGTH_BYTES + len(data) > MAX_UNSENT_BYTES:
            raise BlockingIOError("the peer reads too slowly")
        self._transport.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def abort(self) -> None:
        self._transport.abort()

    def _take_frames(self, end: int, address: Address) -> int:
        """Take every whole frame before `end`; give the place after the last."""
        demultiplexer, read = self._port.demultiplexer, self._port.view
        place = frames = 0
        while end - place >= _LENGTH_BYTES and not self._transport.is_closing():
            size = read[place] << 8 | read[place + 1]
            frames += 1
            if not 0 < size <= MAX_DATAGRAM_BYTES or frames > MAX_FRAMES:
                demultiplexer.counters.bad_size += 1
                self.abort()
                break
            begin = place + _LENGTH_BYTES
            if begin + size > end:
                break
            place = begin + size
            if self._stranger_key is not None and not self._may_say(read[begin]):
                demultiplexer.counters.from_strangers += 1
                self.abort()
                break
            demultiplexer.buffer.data[:size] = read[begin:place]
            demultiplexer.counters.received += 1
            demultiplexer.take(size, self._listener.index, address, self._port.monotonic_ns())
            if self._stranger_key is not None and address in self._listener.flows:
                self._end_unauthenticated()
        return place

    def _may_say(self, first: int) -> bool:
        """Whether a stranger may send a datagram with this first byte."""
        self._unproven += 1
        return first < 4 and self._unproven <= MAX_UNPROVEN

    def _end_unauthenticated(self) -> None:
        if self._stranger_key is not None:
            self._port.strangers[self._stranger_key] -= 1
            self._stranger_key = None

    def _expire(self) -> None:
        if self._address in self._listener.flows:
            self._expiry = asyncio.get_running_loop().call_later(PROOF_S, self._expire)
        else:
            self.abort()


def _key_of(host: str) -> str | bytes:
    """What counts as one address: an IPv4 address, or the /64 of IPv6 that a host has to itself."""
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8] if ":" in host else host
